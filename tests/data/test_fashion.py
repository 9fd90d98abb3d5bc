from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pytest
import torch

from tutelage.data import fashion, load
from tutelage.errors import DataError


def idx(path, array, packed=True):
    header = bytes((0, 0, 8, array.ndim)) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    content = header + array.astype(np.uint8).tobytes()
    if packed:
        path.write_bytes(gzip.compress(content))
    else:
        path.with_suffix("").write_bytes(content)


def write(folder, train=100, test=30, packed=True):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        idx(folder / f"{prefix}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 28, 28)), packed)
        idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count) % 10, packed)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_in_the_format_keeps_its_official_test_part(tmp_path, packed):
    data = load(f"fashion-mnist:{write(tmp_path / 'f', packed=packed)}", validation=0.2)
    assert [len(part) for part in data.parts.values()] == [80, 20, 30]
    assert data.shape == (1, 28, 28)
    assert data.classes[9] == "Ankle boot"
    assert torch.equal(data.test.labels, torch.arange(30) % 10)
    expected = np.random.default_rng(0).integers(0, 256, (100, 28, 28))
    batch = data.train.gather()
    assert np.array_equal((batch["input"][:, 0] * 255).round().numpy(), expected[batch["index"].numpy()])


def test_damaged_files_are_named(tmp_path):
    folder = write(tmp_path / "f")
    images = folder / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz' is truncated"):
        load(f"fashion-mnist:{folder}")
    images.write_bytes(gzip.compress(gzip.decompress(whole)[:-5]))
    with pytest.raises(DataError, match="promises 78400"):
        load(f"fashion-mnist:{folder}")
    images.write_bytes(gzip.compress(b"something else entirely"))
    with pytest.raises(DataError, match="not an IDX file"):
        load(f"fashion-mnist:{folder}")
    images.unlink()
    with pytest.raises(DataError, match="does not exist"):
        load(f"fashion-mnist:{folder}")


def test_images_and_labels_must_be_as_many(tmp_path):
    folder = write(tmp_path / "f")
    idx(folder / "train-labels-idx1-ubyte.gz", np.arange(99) % 10)
    with pytest.raises(DataError, match="100 train images but 99 labels"):
        load(f"fashion-mnist:{folder}")


def test_without_the_system_package_files_are_fetched_and_checked(tmp_path, monkeypatch):
    source = write(tmp_path / "origin")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion, "SYSTEM", tmp_path / "nowhere")
    monkeypatch.setattr(fashion, "ADDRESS", source.as_uri())
    with pytest.raises(DataError, match="md5") as caught:
        load("fashion-mnist")
    assert "apt-get install dataset-fashion-mnist" in str(caught.value)
    assert list((tmp_path / "cache" / "fashion-mnist").iterdir()) == []

    monkeypatch.setattr(fashion, "_MD5", {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in source.iterdir()})
    fetched = load("fashion-mnist").fingerprint()
    assert fetched == load(f"fashion-mnist:{source}").fingerprint()

    monkeypatch.setattr(fashion, "ADDRESS", (tmp_path / "gone").as_uri())
    assert load("fashion-mnist").fingerprint() == fetched  # from the cache
    (tmp_path / "cache" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError, match="could not be fetched"):
        load("fashion-mnist")


@pytest.mark.skipif(not fashion.SYSTEM.is_dir(), reason="the package dataset-fashion-mnist is not installed")
def test_the_real_set_has_its_published_counts():
    parts = fashion.fashion_mnist().parts
    assert torch.bincount(parts["train"].labels).tolist() == [6000] * 10
    assert torch.bincount(parts["test"].labels).tolist() == [1000] * 10
    assert float(parts["train"].columns["input"].double().mean() / 255) == pytest.approx(
        0.2860, abs=1e-4
    )  # the usual normalisation constant
