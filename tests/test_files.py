from __future__ import annotations

import hashlib
import os

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


def test_the_checksum_counted_while_flushing_is_the_files(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 9000)
    assert files.flushed_sha256(file) == files.sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(OSError, match="gone"):
        files.flushed_sha256(tmp_path / "gone")
