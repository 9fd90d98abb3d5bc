from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tutelage import store

PROGRAMS = Path(__file__).parents[1] / "programs"


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(("keep", "seed"), [("logits", 0), ("logits", 1), ("text", 2), ("text", 3)])
def test_a_labelling_killed_again_and_again_ends_with_the_same_bytes(tmp_path, keep, seed):
    program = [sys.executable, PROGRAMS / "label_killed.py", tmp_path, str(seed), keep]
    done = subprocess.run(program, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    _, kills, _, asked, _, needed = done.stdout.split()
    assert int(kills) >= 3
    assert tree(tmp_path / "whole") == tree(tmp_path / "parts")
    assert store.verify(tmp_path / "parts") == []
    # A kill costs at most the shard (or, of texts, the batch) that was being answered; the two rows of the probe come on top.
    assert int(asked) <= int(needed) + int(kills) * ((8 if keep == "logits" else 4) + 2)


def test_two_ranks_write_what_one_process_writes(tmp_path):
    done = subprocess.run([sys.executable, PROGRAMS / "label_ranks.py", tmp_path], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "serial") == tree(tmp_path / "ranks")
    assert store.Store.open(tmp_path / "ranks").complete


def test_a_rank_without_a_first_one_says_so(tmp_path, monkeypatch):
    import torch
    from torch import nn

    from tutelage.data import Arrays
    from tutelage.errors import StoreError
    from tutelage.store import prepare

    monkeypatch.setattr(prepare, "WAIT", 0.1)
    with pytest.raises(StoreError, match=r"Rank 1 of 2 waited .* for rank 0"):
        store.label(nn.Linear(2, 2), Arrays({"input": torch.rand(4, 2)}), tmp_path / "s", rank=1, world=2)
