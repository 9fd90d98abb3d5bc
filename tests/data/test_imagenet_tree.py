"""ImageNet as it is unpacked for training: train/WNID/*.JPEG and val/WNID/*.JPEG."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.data import few_labels, load

Image = pytest.importorskip("PIL.Image")
WNIDS = ("n01440764", "n01443537", "n02123045")


@pytest.fixture
def tree(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for number, wnid in enumerate(WNIDS):
            folder = tmp_path / part / wnid
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 60, (40 + 3 * i, 60, 3), dtype=np.uint8) + np.uint8(60 * number)
                name = f"{wnid}_{i}.JPEG" if part == "train" else f"ILSVRC2012_val_{number * count + i + 1:08}.JPEG"
                # A few files of ImageNet are grey, and one is a PNG behind the name of a JPEG.
                picture = Image.fromarray(pixels).convert("L") if (number, i) == (0, 1) else Image.fromarray(pixels)
                picture.save(folder / name, format="PNG" if (number, i) == (1, 0) else "JPEG")
    return tmp_path


def test_classes_are_the_wordnet_ids_and_the_published_parts_are_kept(tree):
    data = load(f"{tree}?size=32", test=3)
    assert data.classes == WNIDS
    assert data.shape == (3, 32, 32)
    assert len(data.validation) == 6  # ImageNet's val; its test labels are not public, so a test part is cut from train
    assert [len(data.train), len(data.test)] == [15, 3]
    batch = data.train.gather()
    means = batch["input"].mean((1, 2, 3))
    assert ((means * 255 / 60).floor().long() == batch["label"]).all()


def test_a_share_of_each_class_can_be_drawn(tree):
    train = load(f"{tree}?size=16", test=3).train
    drawn, rest = few_labels(train, 4)
    assert drawn.labels.bincount().tolist() == [4, 4, 4]
    assert len(rest) == 3
