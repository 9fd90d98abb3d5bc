"""CIFAR's binary files: tiny ones in the published layout, read back byte by byte; damage and pickles refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.data.cifar import cifar
from tutelage.errors import DataError, OptionError


def records(count: int, label_bytes: list[int], classes: list[int], seed: int) -> np.ndarray:
    """Records with labels cycling through the classes, pixels random."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
    columns = [(np.arange(count) % c + offset).astype(np.uint8)[:, None] for c, offset in zip(classes, label_bytes, strict=True)]
    return np.concatenate([*columns, pixels], axis=1)


@pytest.fixture
def ten(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for n in range(1, 6):
        records(20, [0], [10], n).tofile(folder / f"data_batch_{n}.bin")
    records(10, [0], [10], 6).tofile(folder / "test_batch.bin")
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    return folder


@pytest.fixture
def hundred(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    records(200, [0, 0], [20, 100], 1).tofile(folder / "train.bin")
    records(100, [0, 0], [20, 100], 2).tofile(folder / "test.bin")
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine{i}" for i in range(100)) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(f"group{i}" for i in range(20)) + "\n")
    return folder


def test_cifar_10_is_read_as_published(ten):
    data = cifar(ten, validation=20)
    assert (len(data.train), len(data.validation), len(data.test)) == (80, 20, 10)
    assert data.classes[3] == "cat"
    assert data.shape == (3, 32, 32)
    raw = np.fromfile(ten / "test_batch.bin", np.uint8).reshape(10, 3073)
    batch = data.test.gather()
    assert batch["label"].tolist() == list(range(10))
    torch.testing.assert_close(batch["input"], torch.from_numpy(raw[:, 1:].reshape(10, 3, 32, 32)).float() / 255)


def test_all_five_training_files_are_used_once(ten):
    data = cifar(ten, validation=0.2)
    rows = torch.cat([data.train.index, data.validation.index])
    assert sorted(rows.tolist()) == list(range(100))
    want = np.concatenate([np.fromfile(ten / f"data_batch_{n}.bin", np.uint8).reshape(-1, 3073) for n in range(1, 6)])
    got = data.train.gather()
    assert torch.equal((got["input"] * 255).round().byte().reshape(80, -1), torch.from_numpy(want[data.train.index.numpy(), 1:]))


def test_the_folder_above_is_enough(ten):
    assert cifar(ten.parent).name == "cifar-10"


def test_cifar_100_has_fine_and_coarse_labels(hundred):
    fine, coarse = cifar(hundred), cifar(hundred, labels="coarse")
    assert (fine.num_classes, coarse.num_classes) == (100, 20)
    assert fine.classes[7] == "fine7"
    assert coarse.classes[7] == "group7"
    assert fine.test.gather()["label"].tolist() == list(range(100))
    assert fine.test.gather()["coarse_label"].tolist() == [i % 20 for i in range(100)]
    assert coarse.test.gather()["label"].tolist() == [i % 20 for i in range(100)]
    assert coarse.test.gather()["fine_label"].tolist() == list(range(100))


def test_every_class_is_in_the_training_part(hundred):
    assert set(cifar(hundred, validation=0.5).train.labels.tolist()) == set(range(100))


def test_a_truncated_file_is_named(ten):
    file = ten / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"data_batch_3\.bin.*truncated"):
        cifar(ten)


def test_a_missing_file_is_named(ten):
    (ten / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4\.bin"):
        cifar(ten)


def test_a_label_out_of_range_is_named(ten):
    raw = np.fromfile(ten / "test_batch.bin", np.uint8)
    raw[3073 * 2] = 12
    raw.tofile(ten / "test_batch.bin")
    with pytest.raises(DataError, match=r"Record 2 .* label 12, but there are 10"):
        cifar(ten)


@pytest.mark.parametrize("name", ["cifar-10-batches-py/data_batch_1", "cifar-100-python/train"])
def test_the_pickled_version_is_refused_unopened(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir()
    file.write_bytes(b"never read")
    for folder in (tmp_path, file.parent):
        with pytest.raises(DataError, match=r"pickle.*binary version"):
            cifar(folder)


def test_an_empty_folder_and_an_unknown_kind_of_label(tmp_path):
    with pytest.raises(DataError, match=r"expected data_batch_1\.bin"):
        cifar(tmp_path)
    with pytest.raises(OptionError, match="'fine'"):
        cifar(tmp_path, labels="medium")
