from __future__ import annotations

import io
import shutil

import pytest
import torch
from rich.console import Console
from torch import nn

from tutelage import store
from tutelage.data import Arrays
from tutelage.errors import OptionError, StoreError

QUIET = Console(file=io.StringIO())
DATA = Arrays({"input": torch.rand(50, 3, generator=torch.Generator().manual_seed(0))}, classes=("a", "b"), name="fifty")


def label(out, seed=1, **options):
    torch.manual_seed(seed)
    return store.label(nn.Linear(3, 2), DATA, out, **({"shard_rows": 10, "console": QUIET, "data_name": "fifty.npz"} | options))


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def ranks(tmp_path, count=3):
    for rank in range(count):
        if rank:
            shutil.copytree(tmp_path / "rank-0", tmp_path / f"rank-{rank}", ignore=shutil.ignore_patterns("view-0"))
        label(tmp_path / f"rank-{rank}", rank=rank, world=count)
    return [tmp_path / f"rank-{rank}" for rank in range(count)]


def test_merging_the_shares_gives_the_whole(tmp_path):
    label(tmp_path / "serial")
    shares = ranks(tmp_path)
    before = [tree(s) for s in shares]
    merged = store.merge(shares, tmp_path / "merged")
    assert merged.complete
    assert tree(tmp_path / "merged") == tree(tmp_path / "serial")
    assert [tree(s) for s in shares] == before
    partial = store.merge([*shares[:2], shares[0]], tmp_path / "partial")  # the same shard twice is no conflict
    assert partial.missing() == ["train/view-0/00002.safetensors"]


def test_what_does_not_belong_together_is_refused(tmp_path):
    shares = ranks(tmp_path, 2)
    label(tmp_path / "other", seed=2)
    label(tmp_path / "wide", dtype="fp32")
    for name, words in (("other", "teacher: Linear"), ("wide", "dtype: 'fp16', here 'fp32'")):
        with pytest.raises(StoreError, match=rf"{name} does not belong to .*rank-0: .*{words}"):
            store.merge([*shares, tmp_path / name], tmp_path / "merged")
    with pytest.raises(StoreError, match="exists"):
        store.merge(shares, tmp_path / "other")
    with pytest.raises(OptionError, match="nothing to merge"):
        store.merge([], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_one_shard_with_two_contents_is_refused(tmp_path):
    from tutelage.store.layout import seal, shards

    shares = ranks(tmp_path, 2)
    shutil.copytree(shares[0], tmp_path / "twin")
    twin = store.Store.open(tmp_path / "twin")
    first = next(shards(twin.about))
    content = bytearray(first.file(twin.path).read_bytes())
    content[-1] ^= 1
    first.file(twin.path).write_bytes(content)
    seal(twin.path, first)
    with pytest.raises(StoreError, match=r"00000\.safetensors is in .*rank-0 and in .*twin with different contents"):
        store.merge([*shares, twin.path], tmp_path / "merged")


def test_a_damaged_shard_is_not_merged(tmp_path):
    shares = ranks(tmp_path, 2)
    file = shares[1] / "train/view-0/00003.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"rank-1: shard train/view-0/00003\.safetensors is corrupt"):
        store.merge(shares, tmp_path / "merged")
    file.write_bytes(b"short")
    with pytest.raises(StoreError, match=r"00003\.safetensors is corrupt: it has 5 bytes"):
        store.merge(shares, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".merged*"))


def test_info_counts_what_is_there(tmp_path):
    label(tmp_path / "s")
    facts = store.info(tmp_path / "s")
    assert (facts["rows"], facts["shards"], facts["whole"], facts["missing"]) == (50, 5, 5, {"train": 0})
    assert facts["bytes"] == sum(p.stat().st_size for p in (tmp_path / "s/train/view-0").glob("*.safetensors"))
    (tmp_path / "s/train/view-0/00004.safetensors").unlink()
    facts = store.info(tmp_path / "s")
    assert (facts["rows"], facts["whole"], facts["missing"]) == (40, 4, {"train": 10})


def test_verify_lists_every_shard_that_is_not_there(tmp_path):
    label(tmp_path / "s", rank=0, world=2)
    assert store.verify(tmp_path / "s") == [
        f"train/view-0/0000{n}.safetensors is not labelled yet (10 rows): finish with --resume" for n in (1, 3)
    ]
