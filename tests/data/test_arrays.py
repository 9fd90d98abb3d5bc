from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.data import Arrays, DataSet, Mapped
from tutelage.errors import DataError, OptionError


def images(count: int = 12) -> Arrays:
    pixels = torch.arange(count * 4, dtype=torch.uint8).reshape(count, 1, 2, 2)
    return Arrays({"input": pixels, "label": torch.arange(count) % 3}, ("a", "b", "c"), "pixels")


def test_gather_scales_bytes_and_tells_rows():
    batch = images().gather([3, 0])
    assert batch["input"].dtype == torch.float32
    assert torch.equal(batch["input"][0, 0], torch.tensor([[12, 13], [14, 15]]) / 255)
    assert batch["label"].tolist() == [0, 0]
    assert batch["index"].tolist() == [3, 0]


def test_gather_leaves_floats_and_integer_tables_alone():
    arrays = Arrays({"input": np.full((2, 3), 7, np.float32), "mask": np.ones((2, 5), np.uint8)})
    batch = arrays.gather()
    assert torch.equal(batch["input"], torch.full((2, 3), 7.0))
    assert batch["mask"].dtype == torch.uint8


def test_subsets_of_subsets_keep_the_original_rows():
    part = images().subset([5, 7, 9, 11]).subset(torch.tensor([False, True, False, True]))
    assert part.gather()["index"].tolist() == [7, 11]
    assert torch.equal(part.gather()["input"], images().gather([7, 11])["input"])


def test_negative_rows_count_from_the_end_and_others_are_refused():
    assert images().gather([-1])["index"].tolist() == [11]
    with pytest.raises(OptionError, match="Row 12"):
        images().gather([12])
    with pytest.raises(OptionError, match=r"mask of shape \(3,\)"):
        images().subset(np.array([True, False, True]))


def test_text_is_a_list():
    arrays = Arrays({"input": ["one", "two", "three"], "label": torch.tensor([0, 1, 0])}, ("x", "y"))
    assert arrays.gather([2, 0])["input"] == ["three", "one"]
    assert arrays.subset([1]).columns["input"] == ["two"]
    assert arrays.shape == ()


def test_mapped_columns_give_what_memory_gives(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    labels = np.arange(50) % 2
    mapped = Arrays({"input": np.load(tmp_path / "x.npy", mmap_mode="r"), "label": labels}, ("a", "b"))
    memory = Arrays({"input": pixels, "label": labels}, ("a", "b"))
    chosen = mapped.subset(range(49, 9, -3)).subset([0, 4, 2])
    assert isinstance(chosen.columns["input"], Mapped)
    assert chosen.columns["input"].base.base is mapped.columns["input"].base.base  # no rows were read
    assert torch.equal(chosen.gather()["input"], memory.subset(range(49, 9, -3)).subset([0, 4, 2]).gather()["input"])
    assert mapped.fingerprint() == memory.fingerprint()
    assert mapped.shape == memory.shape == (3, 4, 4)
    assert isinstance(mapped.to("cpu").columns["input"], Mapped)


def test_arrays_are_not_copied_and_read_only_ones_are():
    values = np.zeros((4, 2), np.float32)
    assert Arrays({"input": values}).columns["input"].data_ptr() == values.ctypes.data
    values.flags.writeable = False
    kept = Arrays({"input": values}).columns["input"]
    kept += 1
    assert values.sum() == 0


def test_replace_adds_columns_and_shares_others():
    before = images()
    after = before.replace(clean_label=before.labels.numpy())
    assert set(after.columns) == {"input", "label", "clean_label"}
    assert after.columns["input"] is before.columns["input"]
    assert "clean_label" not in before.columns


def test_unequal_columns_are_refused():
    with pytest.raises(DataError, match="lengths are"):
        Arrays({"input": torch.zeros(3, 2), "label": torch.zeros(4, dtype=torch.int64)})


def test_a_missing_column_is_named_with_the_nearest():
    with pytest.raises(DataError, match="Did you mean 'label'"):
        images().column("lable")


def test_fingerprint_sees_contents_classes_and_shapes_but_not_names():
    base = images()
    changed = base.columns["input"].clone()
    changed[11, 0, 1, 1] += 1
    same = Arrays(dict(base.columns), base.classes, "another name")
    assert same.fingerprint() == base.fingerprint()
    others = [
        base.replace(input=changed),
        Arrays(base.columns, ("a", "b", "d")),
        base.replace(input=base.columns["input"].reshape(12, 1, 4, 1)),
        base.subset(range(11)),
        Arrays({**base.columns, "input": base.columns["input"].view(torch.int8)}, base.classes),
    ]
    assert len({arrays.fingerprint() for arrays in (base, *others)}) == 6


def test_data_set_refuses_parts_that_do_not_fit():
    part = images()
    data = DataSet("d", part, part, part)
    assert data.num_classes == 3
    assert data.shape == (1, 2, 2)
    assert data.skipped == 0
    with pytest.raises(DataError, match="test part of 'd' has classes"):
        DataSet("d", part, part, Arrays(part.columns, ("a", "b")))
    with pytest.raises(DataError, match="validation part of 'd' has shape"):
        DataSet("d", part, part.replace(input=torch.zeros(12, 3, 2, 2)), part)


def test_data_set_fingerprint_depends_on_every_part():
    part, other = images(), images().replace(label=torch.zeros(12, dtype=torch.int64))
    prints = {
        DataSet("d", *parts).fingerprint() for parts in ((part, part, part), (other, part, part), (part, other, part), (part, part, other))
    }
    assert len(prints) == 4
