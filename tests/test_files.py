from __future__ import annotations

import hashlib
import os
import random

import pytest
import torch
from safetensors.torch import save_file

from tutelage import files


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path):
    files.write_bytes(tmp_path / "a.txt", b"old")

    def fail():
        with files.replacing(tmp_path / "a.txt") as temporary:
            temporary.write_bytes(b"ne")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    usual = os.stat(tmp_path / "plain").st_mode
    with files.replacing(tmp_path / "one.safetensors") as temporary:
        save_file({"x": torch.zeros(2)}, temporary)
    with files.replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        save_file({"x": torch.zeros(2)}, temporary / "two.safetensors")
    assert os.stat(tmp_path / "one.safetensors").st_mode == usual
    assert os.stat(tmp_path / "folder/two.safetensors").st_mode == usual


def test_a_folder_is_replaced_whole(tmp_path):
    for name in ("first", "second"):
        with files.replacing(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["second"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("size", [0, 1, 1 << 24, (1 << 24) + 1, (3 << 24) - 7])
def test_blocks_are_counted_apart_and_then_together(tmp_path, size):
    file = tmp_path / "file"
    content = random.Random(size).randbytes(size)
    file.write_bytes(content)
    blocks = [content[start : start + (1 << 24)] for start in range(0, size, 1 << 24)] or [b""]
    expected = hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()
    assert files.block_sha256(file) == files.block_sha256(file, flush=True) == expected


def test_a_change_of_any_block_changes_the_checksum(tmp_path):
    file = tmp_path / "file"
    found = set()
    for place in (None, 0, 1 << 24, (1 << 25) + 9):
        content = bytearray(1 << 26)
        if place is not None:
            content[place] = 1
        file.write_bytes(content)
        found.add(files.block_sha256(file))
    assert len(found) == 4
    with pytest.raises(OSError, match="gone"):
        files.block_sha256(tmp_path / "gone")
