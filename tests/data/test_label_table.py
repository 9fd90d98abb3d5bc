from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.data import Batches
from tutelage.data.label_table import label_table, open_images
from tutelage.errors import DataError

pil = pytest.importorskip("PIL.Image")


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pil.fromarray(np.full((12, 10, 3), value, np.uint8)).save(path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / "a.png", 0)
    picture(tmp_path / "images" / "b.png", 255)
    (tmp_path / "tree.csv").write_text("child,parent\nrobin,bird\nvan,car\n")
    (tmp_path / "verticals.csv").write_text("label,vertical\nbird,Birds\ncar,Cars\n")
    (tmp_path / "table.csv").write_text("image_path,labels\nimages/a.png,robin\nimages/b.png,robin; van\n")
    return tmp_path


def test_table_of_paths_and_label_ids(table: Path) -> None:
    read = label_table(table / "table.csv", table / "tree.csv", table / "verticals.csv", size=(6, 5))
    assert read.arrays.classes == ("robin", "bird", "van", "car")
    assert read.verticals.names == ("Birds", "Cars")
    assert read.arrays.column("target").tolist() == [[True, True, False, False], [True, True, True, True]]
    assert read.arrays.column("vertical").tolist() == [[True, False], [True, True]]
    batch = next(Batches(read.arrays, 2, shuffle=False).epoch(0))
    assert batch["input"].shape == (2, 3, 6, 5)
    assert batch["input"].dtype == torch.float32
    assert batch["input"].mean((1, 2, 3)).tolist() == [0.0, 1.0]


def test_roots_are_the_verticals_by_default(table: Path) -> None:
    assert label_table(table / "table.csv", table / "tree.csv", grey=True).verticals.names == ("bird", "car")


def test_bad_images_are_named_or_skipped(table: Path) -> None:
    (table / "images" / "a.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a\.png.*skip_bad"):
        label_table(table / "table.csv", table / "tree.csv")
    read = label_table(table / "table.csv", table / "tree.csv", skip_bad=True)
    assert len(read.arrays) == 1
    assert "a.png" in read.skipped_names[0]
    (table / "images" / "b.png").unlink()
    with pytest.raises(DataError, match="no image that can be read; 2 could not"):
        label_table(table / "table.csv", table / "tree.csv", skip_bad=True)


def test_unknown_label_is_named(table: Path) -> None:
    (table / "table.csv").write_text("image_path,labels\nimages/a.png,robbin\n")
    with pytest.raises(DataError, match=r"images/a\.png the label 'robbin'.*Did you mean 'robin'"):
        label_table(table / "table.csv", table / "tree.csv")


def test_open_images(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "0001.jpg", 10)
    picture(tmp_path / "train" / "0002.jpg", 200)
    (tmp_path / "hierarchy.json").write_text(
        '{"LabelName": "/m/0bl9f", "Subcategory": [{"LabelName": "/m/0jbk", "Subcategory": [{"LabelName": "/m/01yrx"}]}, '
        '{"LabelName": "/m/0k4j"}]}'
    )
    (tmp_path / "labels.csv").write_text(
        "ImageID,Source,LabelName,Confidence\n0001,verification,/m/01yrx,1\n0001,verification,/m/0k4j,0\n0002,machine,/m/0k4j,0.7\n"
        "0002,verification,/m/notintree,1\n0003,verification,/m/0k4j,1\n"
    )
    (tmp_path / "names.csv").write_text('/m/01yrx,Cat\n/m/0jbk,Animal\n/m/0k4j,"Car, motor"\n')
    read = open_images(
        tmp_path / "labels.csv", tmp_path / "train", tmp_path / "hierarchy.json", descriptions=tmp_path / "names.csv", size=(8, 8)
    )
    assert read.arrays.classes == ("Animal", "Cat", "Car, motor")
    assert read.arrays.column("target").tolist() == [[True, True, False], [False, False, True]]
    assert read.arrays.column("vertical").tolist() == [[True, False], [False, True]]
    strict = open_images(tmp_path / "labels.csv", tmp_path / "train", tmp_path / "hierarchy.json", min_confidence=0.9)
    assert len(strict.arrays) == 1
    assert strict.arrays.classes == ("/m/0jbk", "/m/01yrx", "/m/0k4j")


def test_open_images_refuses_a_confidence_that_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "h.json").write_text('{"LabelName": "top", "Subcategory": [{"LabelName": "/m/a"}]}')
    (tmp_path / "labels.csv").write_text("ImageID,LabelName,Confidence\n0001,/m/a,high\n")
    with pytest.raises(DataError, match="0001 the confidence 'high'"):
        open_images(tmp_path / "labels.csv", tmp_path, tmp_path / "h.json")
