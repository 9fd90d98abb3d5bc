from __future__ import annotations

import io

import numpy as np
import pytest

from tutelage.data import load
from tutelage.errors import DataError, OptionError, SpecError

datasets = pytest.importorskip("datasets")
Image = pytest.importorskip("PIL.Image")


def png(value, size=(5, 4)):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0]), value, np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def pictures(path, replace=None):
    images = [png(i) for i in range(40)]
    if replace is not None:
        images[6] = replace
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in range(40)]}, features=features)
    datasets.DatasetDict({"train": rows, "test": rows.select(range(10))}).save_to_disk(path)
    return f"hf:{path}"


def test_images_with_named_classes(tmp_path):
    data = load(pictures(tmp_path / "p"))
    assert data.classes == ("cat", "dog")
    assert [len(part) for part in data.parts.values()] == [36, 4, 10]
    assert data.shape == (1, 4, 5)
    batch = data.train.gather()
    assert np.allclose(batch["input"][:, 0, 0, 0].numpy() * 255, batch["index"].numpy(), atol=1e-3)


def test_bad_images_are_named_or_skipped(tmp_path):
    spec = pictures(tmp_path / "p", replace={"bytes": b"nothing", "path": None})
    with pytest.raises(DataError, match="Row 6"):
        load(spec)
    data = load(spec, skip_bad=True)
    assert data.skipped == 2  # in the training split and in its copy, the test split
    with pytest.raises(DataError, match=r"Row 6 .*\(9, 9\) pixels.*\?size=32"):
        load(pictures(tmp_path / "s", replace=png(3, (9, 9))))
    assert load(pictures(tmp_path / "t", replace=png(3, (9, 9))) + "?size=8&color=rgb").shape == (3, 8, 8)


def test_text_from_files_with_columns_found_or_named(tmp_path):
    rows = datasets.Dataset.from_dict({"text": [f"line {i}" for i in range(30)], "mood": ["sad", "glad", "calm"] * 10})
    (tmp_path / "d").mkdir()
    rows.to_parquet(tmp_path / "d" / "train.parquet")
    spec = f"hf:{tmp_path / 'd'}"
    with pytest.raises(OptionError, match="columns text, mood: name that of the label"):
        load(spec)
    data = load(spec + "?label=mood")
    assert data.classes == ("calm", "glad", "sad")
    batch = data.train.gather([3])
    assert batch["input"] == [f"line {int(batch['index'][0])}"]
    with pytest.raises(OptionError, match=r"no split 'trian'. Did you mean 'train'"):
        load(spec + "?label=mood&train=trian")
    with pytest.raises(OptionError, match=r"no column 'mod'. Did you mean 'mood'"):
        load(spec + "?label=mod")


def test_names_that_do_not_load_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SpecError, match="could not be loaded"):
        load(f"hf:{tmp_path / 'gone'}")
