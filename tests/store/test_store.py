from __future__ import annotations

import copy
import io
import json
import pickle
import shutil
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

from tutelage import store
from tutelage.data import Arrays, DataSet
from tutelage.errors import OptionError, StoreError

QUIET = Console(file=io.StringIO())
ROWS = 53


class Table(nn.Module):
    """Answers each input, a number, with a row of a table."""

    def __init__(self, rows=2000, seed=0):
        super().__init__()
        self.table = nn.Parameter(torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed)))

    def forward(self, x):
        return self.table[x[:, 0].long()]


def numbered(index) -> Arrays:
    index = torch.as_tensor(index)
    return Arrays({"input": (index % 2000).float()[:, None], "index": index}, classes=tuple("abcd"))


NUMBERINGS = {
    "in order": range(ROWS),
    "scattered": torch.randperm(300, generator=torch.Generator().manual_seed(1))[:ROWS],
    "far apart": torch.randperm(300, generator=torch.Generator().manual_seed(1))[:ROWS] * 10**12,
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    made = {}
    for number, (name, index) in enumerate(NUMBERINGS.items()):
        for dtype in ("fp32", "bf16"):
            out = tmp_path_factory.mktemp("s") / f"{number}-{dtype}"
            made[name, dtype] = store.label(Table(), numbered(index), out, dtype=dtype, shard_rows=7, batch_size=4, console=QUIET)
    return made


@pytest.mark.parametrize("name", NUMBERINGS)
@settings(max_examples=40)
@given(positions=st.lists(st.integers(0, ROWS - 1), max_size=80))
def test_gather_is_indexing(stores, name, positions):
    index = torch.as_tensor(NUMBERINGS[name])[torch.tensor(positions, dtype=torch.int64)]
    expected = Table().table.detach()[index % 2000]
    assert torch.equal(stores[name, "fp32"].gather("train", index)["logits"], expected)
    assert torch.equal(stores[name, "bf16"].gather("train", index)["logits"], expected.bfloat16())


@pytest.mark.parametrize("name", NUMBERINGS)
@pytest.mark.parametrize("wrong", [-1, 301, 10**15, -(10**15)])
def test_a_sample_that_is_not_there_is_named(stores, name, wrong):
    good = int(torch.as_tensor(NUMBERINGS[name])[0])
    with pytest.raises(OptionError, match=rf"Sample {wrong} is not in part 'train' .* 53 rows"):
        stores[name, "fp32"].gather("train", torch.tensor([good, wrong]))


def test_unknown_parts_are_offered_the_nearest(stores):
    with pytest.raises(OptionError, match=r"no part 'trian'.* 'train'"):
        stores["in order", "fp32"].gather("trian", torch.tensor([0]))
    with pytest.raises(OptionError, match="not texts"):
        stores["in order", "fp32"].texts("train", torch.tensor([0]))


def test_copies_and_pickles_open_the_store_again(stores):
    kept = stores["scattered", "fp32"]
    index = torch.as_tensor(NUMBERINGS["scattered"])[:9]
    expected = kept.gather("train", index)["logits"]
    for twin in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert twin.path == kept.path
        assert torch.equal(twin.gather("train", index)["logits"], expected)
    assert len(pickle.dumps(kept)) < 500


def test_what_is_read_is_a_copy(stores):
    kept, index = stores["in order", "fp32"], torch.tensor([3])
    kept.gather("train", index)["logits"].zero_()
    assert bool(kept.gather("train", index)["logits"].any())


def test_shards_are_ordinary_safetensors(stores):
    from safetensors.torch import load_file

    kept = stores["in order", "fp32"]
    whole = torch.cat([load_file(p)["logits"] for p in sorted((kept.path / "train/view-0").glob("*.safetensors"))])
    assert torch.equal(whole, Table().table.detach()[:ROWS])


@pytest.fixture
def mine(stores, tmp_path):
    """A copy to damage."""
    shutil.copytree(stores["in order", "fp32"].path, tmp_path / "s")
    return tmp_path / "s"


def reseal(file):
    """Declare a damaged shard whole, as an attacker or a broken tool might."""
    seal = json.loads(file.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps(seal | {"bytes": file.stat().st_size}))


def header(content: bytes) -> tuple[dict, int]:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), 8 + length


def with_header(content: bytes, change) -> bytes:
    found, start = header(content)
    text = json.dumps(change(found)).encode()
    return struct.pack("<Q", len(text)) + text + content[start:]


DAMAGE = {
    "truncated": lambda b: b[:-5],
    "empty": lambda b: b"",
    "no header": lambda b: b"\xff" * len(b),
    "other file": lambda b: b"%PDF-1.7 " + b,
    "header beyond the end": lambda b: struct.pack("<Q", len(b)) + b[8:],
    "other name": lambda b: with_header(b, lambda h: {"probs": h["logits"]}),
    "other type": lambda b: with_header(b, lambda h: {"logits": h["logits"] | {"dtype": "F64"}}),
    "other shape": lambda b: with_header(b, lambda h: {"logits": h["logits"] | {"shape": [7, 3]}}),
    "fewer rows": lambda b: with_header(b, lambda h: {"logits": h["logits"] | {"shape": [6, 4], "data_offsets": [0, 96]}}),
    "bytes outside": lambda b: with_header(b, lambda h: {"logits": h["logits"] | {"data_offsets": [64, 176]}}),
    "no list": lambda b: with_header(b, lambda h: [h]),
    "more rows than bytes": lambda b: with_header(b, lambda h: {"logits": h["logits"] | {"shape": [7 * 2**40, 4]}}),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("declared", [False, True])
def test_a_damaged_shard_is_named_and_the_others_are_read(mine, how, declared):
    file = mine / "train/view-0/00002.safetensors"
    file.write_bytes(DAMAGE[how](file.read_bytes()))
    if declared:
        reseal(file)
    kept = store.Store.open(mine)
    if not declared and how not in ("no header", "header beyond the end"):  # same size
        assert list(kept.problems) == ["train/view-0/00002.safetensors"]
        assert kept.missing() == ["train/view-0/00002.safetensors"]
    elif declared:
        assert kept.problems == {}
    assert torch.equal(kept.gather("train", torch.tensor([0, 13, 21]))["logits"], Table().table.detach()[[0, 13, 21]])
    with pytest.raises(StoreError, match=r"00002\.safetensors is corrupt: .*Delete .*00002\.safetensors and run .*--resume"):
        kept.gather("train", torch.tensor([0, 14]))
    assert any("00002.safetensors is corrupt" in line for line in store.verify(mine))


def test_an_altered_shard_is_found_by_its_checksum(mine):
    file = mine / "train/view-0/00001.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert store.Store.open(mine).problems == {}
    (problem,) = store.verify(mine)
    assert "00001.safetensors is corrupt: its checksum" in problem


def test_a_damaged_declaration_is_named(mine):
    (mine / "train/view-0/00001.json").write_text("{")
    kept = store.Store.open(mine)
    assert "damaged" in kept.problems["train/view-0/00001.safetensors"]
    (mine / "train/view-0/00001.json").write_text(json.dumps({"rows": 6, "bytes": 1, "sha256": ""}))
    assert "it holds 6 rows" in store.Store.open(mine).problems["train/view-0/00001.safetensors"]
    (mine / "train/view-0/00001.json").write_text("[]")
    assert "damaged" in store.Store.open(mine).problems["train/view-0/00001.safetensors"]


def test_row_numbers_that_were_altered_are_refused(mine):
    from safetensors.torch import save_file

    save_file({"index": torch.arange(ROWS).flip(0).contiguous()}, mine / "train/index.safetensors")
    with pytest.raises(StoreError, match=r"index\.safetensors was altered.*--resume"):
        store.Store.open(mine).gather("train", torch.tensor([0]))
    (mine / "train/index.safetensors").write_bytes(b"no")
    assert "cannot be read" in store.verify(mine)[0]
    (mine / "train/index.safetensors").unlink()
    assert "is missing" in store.verify(mine)[0]
    store.label(Table(), numbered(range(ROWS)), mine, dtype="fp32", shard_rows=7, batch_size=4, resume=True, console=QUIET)
    assert store.verify(mine) == []


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "cannot be read"),
        ("[1]", "is not the manifest of a label store"),
        ('{"version": 3}', "is not the manifest of a label store"),
        ('{"format": "zarr"}', "is not the manifest of a label store"),
        ('{"version": 2, "keep": "logits"}', "a store of version 2, .* reads version 1"),
        ('{"version": 1, "keep": "logits"}', "'dtype' is missing"),
    ],
)
def test_foreign_and_damaged_manifests_are_refused(mine, manifest, message):
    (mine / "store.json").write_text(manifest)
    with pytest.raises(StoreError, match=message):
        store.Store.open(mine)


@pytest.mark.parametrize(
    ("name", "value"),
    [("shard_rows", 0), ("parts", {"train": {}}), ("parts", {"../../etc": {"rows": 1, "fingerprint": "", "index": ""}}), ("keep", "all")]
    + [("outputs", {"logits": {"shape": [4], "dtype": "OBJECT"}}), ("views", -1), ("teacher", {})],
)
def test_a_manifest_that_makes_no_sense_is_refused(mine, name, value):
    about = json.loads((mine / "store.json").read_text())
    (mine / "store.json").write_text(json.dumps(about | {name: value}))
    with pytest.raises(StoreError, match=name):
        store.Store.open(mine)


def test_no_store_at_all(tmp_path):
    with pytest.raises(StoreError, match="is no label store"):
        store.Store.open(tmp_path / "nowhere")


def test_check_names_everything_that_differs(tmp_path):
    parts = {"train": numbered(range(0, 30)), "validation": numbered(range(30, 40)), "test": numbered(range(40, 53))}
    source = DataSet("numbers", *parts.values())
    cut = {"validation": 0.2, "seed": 4}
    kept = store.label(Table(), source, tmp_path / "s", shard_rows=7, data_name="numbers.npz", load=cut, console=QUIET)
    kept.check(source, teacher=Table(), view=None, keep=("logits", "top-k"), classes=tuple("abcd"))
    other = DataSet("numbers", parts["train"].subset(np.arange(30)[::-1]), parts["validation"], parts["test"])
    with pytest.raises(StoreError) as error:
        kept.check(other, teacher=Table(seed=3), view="crop", keep=("features",), classes=("x",))
    for words in (
        "train data",
        "classes: a, b, c, d, here x",
        "what is kept: logits, here features",
        "view: none, here crop",
        "teacher: Table",
    ):
        assert words in str(error.value)
    assert "validation data" not in str(error.value)
    assert "numbers.npz --validation 0.2 --seed 4" in str(error.value)
    (tmp_path / "s/train/view-0/00001.json").unlink()
    with pytest.raises(StoreError, match=r"not whole: 1 of 9 shards .*train/view-0/00001"):
        kept.check(source)
    kept.check(source, complete=False)
