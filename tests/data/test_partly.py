from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.data import Arrays
from tutelage.data.partly import few_labels_of, partly_labelled
from tutelage.errors import DataError

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        place = folder / ("deep" if number % 2 else ".") / f"{number}.png"
        Image.fromarray(np.full((4, 4), 40 * number, np.uint8)).save(place)
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n0.png,cat\ndeep/1.png,dog\n")
    return folder, table


def test_a_few_images_have_labels_and_the_rest_has_none(photos):
    found = partly_labelled(*photos)
    assert found.labelled.classes == ("cat", "dog")
    assert found.labelled.labels.tolist() == [0, 1]
    assert found.labelled.gather()["input"].amax((1, 2, 3)).mul(255).round().tolist() == [0, 40]
    assert "label" not in found.unlabelled.columns
    assert sorted(found.unlabelled.gather()["input"].amax((1, 2, 3)).mul(255).round().tolist()) == [80, 120, 160, 200]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("path,label\n0.png,cat\n", "two different labels"),
        ("file,label\n0.png,cat\n", "expected path and label"),
        ("path,label\n0.png,cat\n0.png,dog\n", "a second time"),
        ("path,label\n0.png,\n", "lacks a path or a label"),
        ("path,label\n0.png,cat\nnone.png,dog\n", "is not an image below"),
    ],
)
def test_wrong_tables_are_named(photos, table, words):
    folder, file = photos
    file.write_text(table)
    with pytest.raises(DataError, match=words):
        partly_labelled(folder, file)


def test_missing_files_and_bad_images_may_be_left_out(photos):
    folder, file = photos
    file.write_text("path,label\n0.png,cat\ndeep/1.png,dog\nnone.png,dog\n")
    (folder / "broken.png").write_bytes(b"no image")
    found = partly_labelled(folder, file, skip_bad=True)
    assert len(found.skipped) == 2
    assert len(found.labelled) == 2


def test_everything_labelled_is_refused(photos):
    folder, file = photos
    names = [f.relative_to(folder) for f in sorted(folder.rglob("*.png"))]
    file.write_text("path,label\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names)))
    with pytest.raises(DataError, match="none is without a label"):
        partly_labelled(folder, file)


def test_labels_are_taken_away_from_all_but_the_chosen():
    arrays = Arrays({"input": torch.arange(5.0)[:, None], "label": torch.tensor([0, 1, 0, 1, 0])}, ("a", "b"))
    found = few_labels_of(arrays, np.array([1, 4]))
    assert found.labelled.labels.tolist() == [1, 0]
    assert set(found.unlabelled.columns) == {"input", "index"}
