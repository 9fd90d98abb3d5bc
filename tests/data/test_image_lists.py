from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.data import decoded, load
from tutelage.data.image_lists import IMAGES256, VOC_CLASSES, class_names, image_list, read_list, voc2007
from tutelage.errors import DataError, OptionError

Image = pytest.importorskip("PIL.Image")
SCENES = ("a/abbey", "c/corn_field", "f/field/wild")


def picture(path, value, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


@pytest.fixture
def places(tmp_path):
    """Places205 in small: grey levels 0, 100 and 200 stand for the scenes."""
    for part, count, mark in (("train", 5, " "), ("val", 2, ",")):
        lines = []
        for label, scene in enumerate(SCENES):
            for i in range(count):
                name = f"{scene}/gsun_{part}_{i}.jpg"
                picture(tmp_path / IMAGES256 / name, 100 * label)
                lines.append(f"{name}{mark}{label}\n")
        folder = tmp_path / "trainvalsplit_places205"
        folder.mkdir(exist_ok=True)
        (folder / f"{part}_places205.csv").write_text("".join(lines[::-1]))
    return tmp_path


def test_places205_is_read_as_released_and_its_val_images_are_the_test_part(places):
    data = load(f"places205:{places}?size=8", validation=3)
    assert data.classes == ("abbey", "corn_field", "field/wild")
    assert [len(data.train), len(data.validation), len(data.test)] == [12, 3, 6]
    assert data.shape == (3, 8, 8)
    assert data.test.labels.tolist() == [2, 2, 1, 1, 0, 0]  # the order of the list
    for part in data.parts.values():
        batch = part.gather()
        assert ((batch["input"].mean((1, 2, 3)) * 2.55).round().long() == batch["label"]).all()
    assert load(f"places205:{places}", validation=3).shape == (3, 256, 256)


def test_large_lists_are_decoded_into_the_cache_once(places, monkeypatch):
    small = load(f"places205:{places}?size=8", validation=3)
    monkeypatch.setattr(decoded, "MAPPED_FROM", 1)
    for _ in range(2):
        mapped = load(f"places205:{places}?size=8", validation=3)
        assert mapped.fingerprint() == small.fingerprint()
    monkeypatch.setattr("tutelage.data.pictures.to_array", None)
    assert load(f"places205:{places}?size=8", validation=3).fingerprint() == small.fingerprint()


def test_missing_and_damaged_images_are_named_or_skipped(places):
    first, second = places / IMAGES256 / "a/abbey/gsun_train_0.jpg", places / IMAGES256 / "a/abbey/gsun_train_1.jpg"
    first.unlink()
    with pytest.raises(DataError, match=r"1 of the 15 files.*gsun_train_0\.jpg' does not exist.*--skip-bad"):
        load(f"places205:{places}?size=8")
    second.write_bytes(b"no image")
    data = load(f"places205:{places}?size=8", validation=3, skip_bad=True)
    assert data.skipped == 2
    assert len(data.train) == 10
    assert (data.train.gather()["input"].mean((1, 2, 3)) * 2.55).round().long().tolist() == data.train.labels.tolist()


def test_what_is_not_places205_is_refused(places, tmp_path):
    with pytest.raises(OptionError, match="no option 'colour'"):
        load(f"places205:{places}?colour=grey")
    with pytest.raises(DataError, match="images256"):
        load(f"places205:{tmp_path / 'nothing'}")
    (places / "train_places205.csv").write_text("a/abbey/gsun_train_0.jpg\n")
    with pytest.raises(DataError, match=r"line 1, reads 'a/abbey/gsun_train_0\.jpg'"):
        load(f"places205:{places}")
    (places / "train_places205.csv").write_text("a/abbey/gsun_train_0.jpg 0\nc/corn_field/gsun_train_0.jpg 1\n")
    with pytest.raises(DataError, match="the label 2: expected 0 to 1"):
        load(f"places205:{places}")
    (places / "train_places205.csv").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        load(f"places205:{places}")
    (places / "train_places205.csv").unlink()
    (places / "trainvalsplit_places205" / "train_places205.csv").unlink()
    with pytest.raises(DataError, match=r"train_places205.csv' cannot be read"):
        load(f"places205:{places}")


def test_lines_may_have_commas_or_spaces_and_classes_their_folders_names(tmp_path):
    (tmp_path / "list.txt").write_text("b/bar/a 1.jpg, 1\n/a/abbey/x,y.jpg 0\n\nf/field/wild/1.jpg\t2\n")
    rows = read_list(tmp_path / "list.txt")
    assert rows == [("b/bar/a 1.jpg", 1), ("a/abbey/x,y.jpg", 0), ("f/field/wild/1.jpg", 2)]
    assert class_names(rows) == ("abbey", "bar", "field/wild")
    assert class_names([("1.jpg", 0), ("x/1.jpg", 2), ("y/2.jpg", 2), ("same/1.jpg", 3), ("same/2.jpg", 4)]) == tuple("01234")
    picture(tmp_path / "b/bar/a 1.jpg", 10)
    picture(tmp_path / "a/abbey/x,y.jpg", 20)
    picture(tmp_path / "f/field/wild/1.jpg", 30)
    read = image_list(tmp_path / "list.txt", tmp_path, size=(6, 4), grey=True)
    assert read.column("input").shape == (3, 1, 6, 4)
    assert read.column("input").float().mean((1, 2, 3)).tolist() == [10, 20, 30]
    assert image_list(tmp_path / "list.txt", tmp_path, size=4, classes="abc").classes == ("a", "b", "c")


@pytest.fixture
def voc(tmp_path):
    """VOC 2007 in small: image n shows class n, and class n + 1 only in difficult objects."""
    top = tmp_path / "VOCdevkit" / "VOC2007"
    (top / "ImageSets" / "Main").mkdir(parents=True)
    for part, numbers in (("trainval", range(20)), ("test", range(20, 26))):
        for n in numbers:
            picture(top / "JPEGImages" / f"{n:06}.jpg", 5 * n, size=(30 + n, 40))
        for c, name in enumerate(VOC_CLASSES):
            marks = [1 if c == n % 20 else 0 if c == n % 20 + 1 else -1 for n in numbers]
            lines = [f"{n:06} {mark:2d}\n" for n, mark in zip(numbers, marks, strict=True)]
            (top / "ImageSets" / "Main" / f"{name}_{part}.txt").write_text("".join(lines))
    return tmp_path


def test_voc2007_has_several_targets_and_passes_over_difficult_ones(voc):
    for root in (voc, voc / "VOCdevkit", voc / "VOCdevkit" / "VOC2007"):
        read = voc2007(root, size=(10, 12))
        assert read.column("input").shape == (20, 3, 10, 12)
    assert read.classes == VOC_CLASSES
    assert torch.equal(read.column("target"), torch.eye(20).bool())
    assert torch.equal(~read.column("counted"), torch.eye(20).bool().roll(1, 1) & (torch.arange(20)[:, None] < 19))
    test = voc2007(voc, "test", size=8, grey=True)
    assert test.column("id") == [f"{n:06}" for n in range(20, 26)]
    assert test.column("target").int().argmax(1).tolist() == [0, 1, 2, 3, 4, 5]
    assert test.column("input").float().mean((1, 2, 3)).tolist() == [100, 105, 110, 115, 120, 125]


def test_rows_of_voc2007_stay_together_when_images_are_skipped(voc):
    images = voc / "VOCdevkit" / "VOC2007" / "JPEGImages"
    (images / "000021.jpg").unlink()
    (images / "000023.jpg").write_bytes(b"\xff\xd8no")
    with pytest.raises(DataError, match=r"000021\.jpg' does not exist"):
        voc2007(voc, "test", size=8)
    test = voc2007(voc, "test", size=8, skip_bad=True)
    assert test.column("id") == ["000020", "000022", "000024", "000025"]
    assert test.column("target").int().argmax(1).tolist() == [0, 2, 4, 5]
    assert (test.column("input").float().mean((1, 2, 3)) / 5 - 20).round().tolist() == [0, 2, 4, 5]


def test_what_is_not_voc2007_is_refused(voc, tmp_path):
    main = voc / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    with pytest.raises(OptionError, match=r"no part 'trainvalid'.*Did you mean 'trainval'"):
        voc2007(voc, "trainvalid")
    with pytest.raises(DataError, match="VOCdevkit/VOC2007 as it is unpacked"):
        voc2007(voc / "VOCdevkit" / "VOC2007" / "JPEGImages")
    (main / "cow_test.txt").write_text("000020 -1\n")
    with pytest.raises(DataError, match=r"'cow_test\.txt' and 'aeroplane_test\.txt'"):
        voc2007(voc, "test")
    (main / "cow_test.txt").write_text("000020 maybe\n")
    with pytest.raises(DataError, match="the line '000020 maybe'"):
        voc2007(voc, "test")
    (main / "cow_test.txt").unlink()
    with pytest.raises(DataError, match=r"cow_test\.txt' cannot be read"):
        voc2007(voc, "test")
    with pytest.raises(DataError, match=r"aeroplane_val\.txt"):
        voc2007(voc, "val")
