from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.data import load
from tutelage.errors import DataError, OptionError

RANDOM = np.random.default_rng(0)
LABELS = np.arange(60) % 3


def write(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("input", "label"), ("images", "labels"), ("data", "target")])
def test_a_table_under_any_of_its_names(tmp_path, x, y):
    values = RANDOM.normal(size=(60, 4))
    data = load(write(tmp_path / "t.npz", **{x: values, y: LABELS}))
    assert [len(part) for part in data.parts.values()] == [42, 6, 12]
    assert data.classes == ("0", "1", "2")
    batch = data.train.gather()
    assert np.array_equal(batch["input"].numpy(), values[batch["index"].numpy()].astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((60, 5, 7), "", (1, 5, 7)),
        ((60, 3, 5, 7), "", (3, 5, 7)),
        ((60, 5, 7, 3), "", (3, 5, 7)),
        ((60, 3, 5, 3), "", (3, 5, 3)),
        ((60, 3, 5, 3), "?layout=nhwc", (3, 3, 5)),
        ((60, 5, 7, 3), "?layout=nchw", (5, 7, 3)),
    ],
)
def test_images_come_with_channels_first(tmp_path, shape, options, expected):
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    data = load(write(tmp_path / "i.npz", x=pixels, y=LABELS) + options)
    assert data.shape == expected
    assert data.train.columns["input"].dtype == torch.uint8
    sample = data.train.gather([0])
    assert np.allclose(np.sort(sample["input"].numpy().ravel()) * 255, np.sort(pixels[sample["index"][0]].ravel()), atol=1e-3)


def test_float_images_beyond_one_need_a_scale(tmp_path):
    pixels = RANDOM.uniform(0, 255, (60, 1, 4, 4)).astype(np.float32)
    path = write(tmp_path / "i.npz", x=pixels, y=LABELS)
    with pytest.raises(OptionError, match=r"expected \[0, 1\]. Add \?scale=255"):
        load(path)
    batch = load(path + "?scale=255").train.gather()
    assert np.allclose(batch["input"].numpy() * 255, pixels[batch["index"].numpy()], atol=1e-3)
    assert load(path + "?scale=1").train.gather()["input"].max() > 1


def test_integer_images_within_a_byte_are_bytes(tmp_path):
    data = load(write(tmp_path / "i.npz", x=RANDOM.integers(0, 256, (60, 4, 4)), y=LABELS))
    assert data.train.columns["input"].dtype == torch.uint8


def test_test_and_validation_keys_are_parts(tmp_path):
    arrays = {
        f"{n}_{p}": v[:c]
        for p, c in (("train", 60), ("val", 9), ("test", 12))
        for n, v in (("x", RANDOM.normal(size=(60, 2))), ("y", LABELS))
    }
    assert [len(part) for part in load(write(tmp_path / "p.npz", **arrays)).parts.values()] == [60, 9, 12]


def test_strings_and_names_of_classes(tmp_path):
    names = np.array(["pear", "apple", "plum"])
    x = np.zeros((60, 2))
    assert load(write(tmp_path / "s.npz", x=x, y=names[LABELS])).classes == ("apple", "pear", "plum")
    data = load(write(tmp_path / "n.npz", x=x, y=LABELS, classes=names))
    assert data.classes == ("pear", "apple", "plum")


def test_standardising_uses_the_training_part_alone(tmp_path):
    x = RANDOM.normal(3, 7, size=(60, 3))
    x[:, 2] = 5
    data = load(write(tmp_path / "t.npz", x=x, y=LABELS) + "?standardize=true")
    train = data.train.gather()["input"]
    assert torch.allclose(train.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(train.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-6)
    rows = data.train.index.numpy()
    test = (x[data.test.index.numpy(), :2] - x[rows, :2].mean(0)) / x[rows, :2].std(0)
    assert np.allclose(data.test.gather()["input"][:, :2].numpy(), test, atol=1e-5)


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone.npz' does not exist"):
        load(str(tmp_path / "gone.npz"))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"text.npz' is truncated or not"):
        load(str(tmp_path / "text.npz"))
    whole = write(tmp_path / "half.npz", x=np.zeros((60, 50)), y=LABELS)
    content = (tmp_path / "half.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        load(whole)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    (tmp_path / "half.npz").write_bytes(flipped)
    with pytest.raises(DataError, match="truncated or not"):
        load(whole)
    with pytest.raises(DataError, match="never unpickled"):
        load(write(tmp_path / "o.npz", x=np.array([{1: 2}] * 60, object), y=LABELS))
    with pytest.raises(DataError, match="expected inputs and labels"):
        load(write(tmp_path / "k.npz", features=np.zeros((60, 2)), y=LABELS))


def test_options_are_checked_with_the_nearest_offered(tmp_path):
    path = write(tmp_path / "t.npz", x=np.zeros((60, 2)), y=LABELS)
    with pytest.raises(OptionError, match=r"no option 'scal'. Did you mean 'scale'"):
        load(path + "?scal=2")
    with pytest.raises(OptionError, match="'layout' is 'wrong'"):
        load(write(tmp_path / "i.npz", x=np.zeros((60, 1, 2, 2)), y=LABELS) + "?layout=wrong")
