from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tutelage.data.coop import coop_split
from tutelage.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """A split as CoOp writes it: paths relative to the image folder, labels in the order of class names."""
    rows = {
        "train": [
            ["accordion/image_0001.jpg", 0, "accordion"],
            ["yin_yang/image_0001.jpg", 1, "yin_yang"],
            ["yin_yang/image_0002.jpg", 1, "yin_yang"],
        ],
        "val": [["accordion/image_0002.jpg", 0, "accordion"]],
        "test": [["yin_yang/image_0003.jpg", 1, "yin_yang"]],
    }
    shade = 0
    for part in rows.values():
        for path, _, _ in part:
            file = tmp_path / "images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 30, 3), shade, np.uint8)).save(file, quality=100)
            shade += 40
    (tmp_path / "split_zhou_Tiny.json").write_text(json.dumps(rows))
    return tmp_path


def change(folder, edit):
    path = folder / "split_zhou_Tiny.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def test_parts_labels_names_and_pixels(folder):
    data = coop_split(folder / "split_zhou_Tiny.json", folder / "images", size=16)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3, 1, 1]
    assert data.classes == ("accordion", "yin_yang")
    assert data.train.labels.tolist() == [0, 1, 1]
    assert data.train.column("path")[2] == "yin_yang/image_0002.jpg"
    assert data.shape == (3, 16, 16)
    shades = data.train.gather()["input"].mean((1, 2, 3)) * 255
    assert shades.tolist() == pytest.approx([0, 40, 80], abs=1)
    assert data.name == "split_zhou_Tiny"


def test_grey_and_oblong_frames(folder):
    data = coop_split(folder / "split_zhou_Tiny.json", folder / "images", size=(8, 12), grey=True)
    assert data.shape == (1, 8, 12)


def test_bad_images_are_named_or_counted(folder):
    (folder / "images/yin_yang/image_0002.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="image_0002"):
        coop_split(folder / "split_zhou_Tiny.json", folder / "images")
    data = coop_split(folder / "split_zhou_Tiny.json", folder / "images", size=8, skip_bad=True)
    assert len(data.train) == 2
    assert data.skipped == 1
    with pytest.raises(DataError, match="root"):
        coop_split(folder / "split_zhou_Tiny.json")


def test_malformed_files_are_named(folder):
    with pytest.raises(DataError, match="cannot be read"):
        coop_split(folder / "absent.json")
    path = change(folder, lambda c: c["train"].append(["a.jpg", "1", "yin_yang"]))
    with pytest.raises(DataError, match="Entry 3 of 'train'"):
        coop_split(path)
    path = change(folder, lambda c: (c["train"].pop(), c["val"].append(["a.jpg", 1, "drum"])))
    with pytest.raises(DataError, match="both 'yin_yang' and 'drum'"):
        coop_split(path)
    path = change(folder, lambda c: (c["val"].pop(), c["val"].append(["a.jpg", 3, "drum"])))
    with pytest.raises(DataError, match=r"none with \[2\]"):
        coop_split(path)
    path = change(folder, lambda c: c.pop("test"))
    with pytest.raises(DataError, match="expected"):
        coop_split(path)
