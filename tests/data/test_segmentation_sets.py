from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch

from tutelage.data import Arrays, DataSet, images, load, pixel_pairs
from tutelage.data.segmentation_layouts import OBJECTS, SIXTEEN, STREETS
from tutelage.data.segmentation_sets import pixel_set
from tutelage.errors import DataError, OptionError, SpecError

Image = pytest.importorskip("PIL.Image")

RAW = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' ids of the 19 classes, in the order of their train ids."""


def noise(seed, height=6, width=10):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if mode == "P":
        image.putpalette([(37 * k) % 256 for k in range(768)])
    image.save(path)


def save_16_bit(path, array):
    """Write colours of 16 bits, which Pillow cannot, row by row without a filter and with that which subtracts the line above."""
    height, width, _ = array.shape
    lines = [array[y].astype(">u2").tobytes() for y in range(height)]
    above = [bytes(len(lines[0])), *lines[:-1]]
    filtered = [
        b"\2" + bytes((a - b) % 256 for a, b in zip(line, up, strict=True)) if y % 2 else b"\0" + line
        for y, (line, up) in enumerate(zip(lines, above, strict=True))
    ]

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(filtered))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def gta5(root, count=12):
    for i in range(count):
        save(root / "images" / f"{i + 1:05d}.png", noise(i))
        save(root / "labels" / f"{i + 1:05d}.png", np.random.default_rng(i).integers(0, 35, (6, 10), dtype=np.uint8), "P")
    return root


def cityscapes(root, splits=(("train", "aachen", 5), ("train", "bremen", 4), ("val", "frankfurt", 3))):
    for split, city, count in splits:
        for i in range(count):
            name = f"{city}_{i:06d}_000019"
            save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", noise(i))
            ids = np.random.default_rng(i).choice(np.array([0, 4, *RAW], np.uint8), (6, 10))
            save(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", ids)
            if split == "train" and i % 2:
                train = np.full(256, 255, np.uint8)
                train[list(RAW)] = np.arange(19)
                save(root / "gtFine" / split / city / f"{name}_gtFine_labelTrainIds.png", train[ids])
    return root


def voc(root, count=10, sbd=True):
    names = [f"2007_{i:06d}" for i in range(count)]
    for i, name in enumerate(names):
        height, width = (6 + i % 3, 8)
        save(root / "JPEGImages" / f"{name}.jpg", noise(i, height, width))
        label = np.random.default_rng(i).choice(np.array([*range(21), 255], np.uint8), (height, width))
        save(root / "SegmentationClassAug" / f"{name}.png", label) if sbd else None
        if i < 6:
            save(root / "SegmentationClass" / f"{name}.png", label, "P")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[2:6]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[:2]) + "\n")
    return root


def test_gta5_has_the_19_classes_of_cityscapes_and_cuts_its_parts(tmp_path):
    data = load(f"gta5:{gta5(tmp_path)}", validation=2, test=3, seed=1)
    assert data.classes == STREETS
    assert [len(part) for part in data.parts.values()] == [7, 2, 3]
    rows = torch.cat([part.index for part in data.parts.values()])
    assert sorted(rows.tolist()) == list(range(12))
    batch = data.train.gather([0])
    i = int(batch["index"])
    assert torch.equal(batch["input"], torch.from_numpy(noise(i).transpose(2, 0, 1).copy())[None].float() / 255)
    raw = np.random.default_rng(i).integers(0, 35, (6, 10), dtype=np.uint8)
    expected = np.array([[RAW.index(v) if v in RAW else 255 for v in line] for line in raw])
    assert batch["label"].dtype == torch.int64
    assert torch.equal(batch["label"][0], torch.from_numpy(expected))


def test_synthia_has_its_class_in_the_first_16_bit_channel(tmp_path):
    numbers = (3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11)
    label = np.zeros((4, 6, 3), np.int64)
    label[..., 0] = np.arange(24).reshape(4, 6) % 23
    label[..., 1] = 1000 * np.arange(24).reshape(4, 6)  # the instance
    for name in ("0000000", "0000001"):
        save(tmp_path / "RGB" / f"{name}.png", noise(0, 4, 6))
        save_16_bit(tmp_path / "GT" / "LABELS" / f"{name}.png", label)
    found = pixel_set(f"synthia:{tmp_path}")
    assert found.train.classes == SIXTEEN
    assert len(SIXTEEN) == 16
    expected = np.array([[numbers.index(v) if v in numbers else 255 for v in line] for line in label[..., 0]])
    assert torch.equal(found.train.gather([1])["label"][0], torch.from_numpy(expected))


def test_cityscapes_reads_train_ids_and_ids_alike_and_tests_on_val(tmp_path):
    data = load(f"cityscapes:{cityscapes(tmp_path)}", validation=2)
    assert [len(part) for part in data.parts.values()] == [7, 2, 3]
    whole = pixel_set(f"cityscapes:{tmp_path}").train
    aachen, bremen = whole.gather(range(5)), whole.gather(range(5, 9))
    assert torch.equal(aachen["label"][:4], bremen["label"])
    for i in range(4):  # odd ones have train ids
        raw = np.random.default_rng(i).choice(np.array([0, 4, *RAW]), (6, 10))
        assert (aachen["label"][i] == 255).sum() == np.isin(raw, (0, 4)).sum()
    # With SYNTHIA's classes terrain, truck and train are none, and the others keep their names.
    fewer = pixel_set(f"cityscapes:{tmp_path}?classes=16").train
    assert fewer.classes == SIXTEEN
    for old, new in zip(whole.gather()["label"].flatten().tolist(), fewer.gather()["label"].flatten().tolist(), strict=True):
        name = STREETS[old] if old < 255 else ""
        assert (SIXTEEN[new] if new < 255 else "") == (name if name in SIXTEEN else "")


def test_voc_takes_sbd_where_it_is_and_pads_pictures_of_different_sizes(tmp_path):
    spec = f"voc:{voc(tmp_path)}?size=8x9&fit=pad"
    found = pixel_set(spec)
    assert (len(found.train), len(found.test), found.unlabelled) == (8, 2, None)
    assert found.train.classes == OBJECTS
    batch = found.test.gather([1])
    label = np.random.default_rng(1).choice(np.array([*range(21), 255], np.uint8), (7, 8))
    assert torch.equal(batch["label"][0, :7, :8], torch.from_numpy(label.astype(np.int64)))
    assert (batch["label"][0, 7:] == 255).all()
    assert (batch["label"][0, :, 8:] == 255).all()
    assert (batch["input"][0, :, 7:] == 0).all()
    assert len(pixel_set(f"{spec}&train=train").train) == 4
    assert len(pixel_set(f"voc:{voc(tmp_path / 'plain', sbd=False)}?size=8").train) == 4


def test_lists_choose_what_is_labelled_in_every_published_form(tmp_path):
    root = voc(tmp_path / "voc")
    (tmp_path / "few.txt").write_text("2007_000004\n\nJPEGImages/2007_000006.jpg SegmentationClassAug/2007_000006.png\n")
    found = pixel_set(f"voc:{root}?size=8&labelled={tmp_path / 'few.txt'}")
    assert (len(found.train), len(found.unlabelled)) == (2, 6)
    assert torch.equal(found.train.gather([0])["input"], pixel_set(f"voc:{root}?size=8").train.gather([2])["input"])
    assert len(load(f"voc:{root}?size=8&labelled={tmp_path / 'few.txt'}", validation=1).train) == 1

    root = cityscapes(tmp_path / "city")
    (root / "186.txt").write_text("leftImg8bit/train/bremen/bremen_000001_000019_leftImg8bit.png\n")
    (root / "rest.txt").write_text("leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png\naachen_000002_000019\n")
    found = pixel_set(f"cityscapes:{root}?labelled=186.txt&unlabelled=rest.txt")
    assert (len(found.train), len(found.unlabelled), len(found.test)) == (1, 2, 3)


def test_labels_are_scaled_to_the_nearest_pixel_over_the_same_window_as_pictures(tmp_path):
    label = np.repeat(np.repeat(np.array([[7, 8, 11, 0]], np.uint8), 8, 0), 4, 1)  # stripes 4 wide, 8x16
    for name in "ab":
        save(tmp_path / "images" / f"{name}.png", np.repeat(label[..., None] * 20, 3, 2))
        save(tmp_path / "labels" / f"{name}.png", label)
    found = pixel_set(f"gta5:{tmp_path}?size=4").train.gather([0])
    expected = torch.tensor([0, 0, 1, 1, 2, 2, 255, 255])[2:6]  # scaled by a half, the middle 4 of 8 columns
    assert torch.equal(found["label"][0], expected.expand(4, 4))
    assert found["input"].shape == (1, 3, 4, 4)
    assert (255 * found["input"][0, 0, :, 0] - 160).abs().max() < 5  # the stripe beside it has 140
    padded = pixel_set(f"gta5:{tmp_path}?size=8&fit=pad").train.gather([0])
    assert torch.equal(padded["label"][0, 0], torch.tensor([0, 0, 1, 1, 2, 2, 255, 255]))
    assert (padded["label"][0, 4:] == 255).all()


def test_many_pictures_stay_in_their_files_and_give_the_same_batches(tmp_path, monkeypatch):
    spec = f"gta5:{gta5(tmp_path)}?size=4x8"
    held = load(spec, validation=2, test=2)
    monkeypatch.setattr(pixel_pairs, "IN_MEMORY", 0)
    lazy = load(spec, validation=2, test=2)
    assert not isinstance(lazy.train.column("input"), torch.Tensor)
    assert lazy.train.shape == (3, 4, 8)
    assert lazy.fingerprint() == held.fingerprint()
    batch, again = held.train.subset([5, 1, 1]).gather(), lazy.train.subset([5, 1, 1]).gather()
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    file = tmp_path / "images" / "00003.png"
    file.write_bytes(file.read_bytes()[:150])
    whole = pixel_set(spec).train
    whole.gather([0, 1])
    with pytest.raises(DataError, match=r"00003.png' is truncated or damaged .*Restore the file, or leave it out"):
        whole.gather([0, 2])


def faults(root):
    """Make one fault of each kind that a pair of files can have."""
    (root / "labels" / "00002.png").unlink()
    (root / "images" / "00004.png").unlink()
    save(root / "labels" / "00005.png", np.zeros((6, 9), np.uint8))
    save(root / "labels" / "00006.png", np.full((6, 10), 40, np.uint8))
    save(root / "labels" / "00007.png", noise(0))
    for file in (root / "images" / "00008.png", root / "labels" / "00009.png"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    (root / "images" / "00010.png").write_bytes(b"")


@pytest.mark.parametrize("kept", [1 << 30, 0])
def test_bad_files_are_left_out_by_name(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(pixel_pairs, "IN_MEMORY", kept)
    faults(gta5(tmp_path))
    found = pixel_set(f"gta5:{tmp_path}", skip_bad=True)
    assert len(found.train) == 4
    reasons = {"00002": "has no labels", "00004": "does not exist", "00005": "has 6x9 pixels, its picture '00005.png' 6x10"}
    reasons |= {"00006": "has the number 40 in line 0, column 0: expected 0 to 34, or 255", "00007": "holds colours"}
    reasons |= {"00008": "is truncated", "00009": "is truncated", "00010": "is not an image"}
    assert len(found.skipped_names) == len(reasons)
    for name, reason in reasons.items():
        assert sum(name in text and reason in text for text in found.skipped_names) == 1, (name, found.skipped_names)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda r: (r / "labels" / "00002.png").unlink(), r"1 of the 12 files .*images/00002.png' has no labels: expected '.*labels/00002"),
        (lambda r: (r / "images" / "00004.png").unlink(), r"images/00004.png' does not exist, but its labels do"),
        (lambda r: save(r / "labels" / "00005.png", np.zeros((6, 9), np.uint8)), r"labels/00005.png' has 6x9 pixels, .* 6x10"),
        (lambda r: save(r / "labels" / "00006.png", np.full((6, 10), 40, np.uint8)), r"labels/00006.png' has the number 40 .*0 to 34"),
        (lambda r: save(r / "labels" / "00007.png", noise(0)), r"labels/00007.png' holds colours \(RGB\)"),
        (lambda r: (r / "images" / "00008.png").write_bytes(b"GIF89a"), r"images/00008.png' is not an image"),
        (
            lambda r: (save(r / "images" / "00001.png", noise(0, 6, 11)), save(r / "labels" / "00001.png", noise(0, 6, 11)[..., 0] % 9)),
            "6x11 ",
        ),
    ],
)
def test_bad_files_are_named(tmp_path, fault, message):
    fault(gta5(tmp_path))
    with pytest.raises(DataError, match=message):
        load(f"gta5:{tmp_path}")


def test_folders_and_lists_that_are_not_as_published_say_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        load(f"gta5:{tmp_path / 'gone'}")
    with pytest.raises(DataError, match=r"has no folder 'images': expected images/NAME.png and labels/NAME.png"):
        load(f"gta5:{tmp_path}")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"The train part of 'gta5:.*' has no picture. Expected images/NAME.png"):
        load(f"gta5:{tmp_path}")
    with pytest.raises(OptionError, match=r"no option 'sise'. Did you mean 'size'"):
        load(f"gta5:{tmp_path}?sise=3")
    with pytest.raises(SpecError, match="no set with labels of pixels: expected one of gta5:DIR"):
        pixel_set("digits")
    root = cityscapes(tmp_path / "city")
    for file in (root / "gtFine").rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="has no labels"):
        load(f"cityscapes:{root}")
    with pytest.raises(DataError, match=r"val/frankfurt/.* has no labels"):  # a target needs none to learn from, but its test part does
        pixel_set(f"cityscapes:{root}", labels=False)


def test_an_unlabelled_target_needs_no_labels_to_learn_from(tmp_path):
    root = cityscapes(tmp_path)
    for file in (root / "gtFine" / "train").rglob("*.png"):
        file.unlink()
    found = pixel_set(f"cityscapes:{root}", labels=False)
    assert set(found.train.columns) == {"input"}
    assert set(found.test.columns) == {"input", "label"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "few.txt' is empty"),
        ("2007_000004\n2007_000004\n", "names '2007_000004' twice"),
        ("2007_000001\n", "1 test pictures .* are also learned from: '2007_000001'"),
        ("2008_000001\n", "2008_000001' is listed, but there is no picture of that name"),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, message):
    root = voc(tmp_path)
    (root / "few.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        pixel_set(f"voc:{root}?size=8&labelled=few.txt")


def test_load_checks_pixel_labels_of_ones_own_and_other_doors_refuse_them(tmp_path):
    x, y = torch.rand(9, 3, 4, 5), torch.randint(0, 2, (9, 4, 5))
    y[0, 0, 0] = 255
    arrays = Arrays({"input": x, "label": y}, ("a", "b"), "mine")
    assert [len(part) for part in load(arrays, validation=2, test=2).parts.values()] == [5, 2, 2]
    with pytest.raises(OptionError, match="none left to train on"):
        load(arrays, validation=5, test=4)
    y[4, 1, 1] = 2
    with pytest.raises(DataError, match=r"1 of the 9 samples of 'mine' have a label outside 0..1 and 255; the first is row 4"):
        load(arrays)
    assert load(arrays, skip_bad=True).skipped == 1
    with pytest.raises(DataError, match="one for every pixel"):
        load(DataSet("d", *(Arrays({"input": x, "label": y[:, :3]}, ("a", "b"), "d"),) * 3))
    with pytest.raises(DataError, match="a class for every pixel, but one for each image is needed"):
        _ = arrays.labels
    found = images(f"gta5:{gta5(tmp_path)}")
    assert found.labelled is None
    assert set(found.train.columns) == {"input"}
