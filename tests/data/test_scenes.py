from __future__ import annotations

import pytest
import torch

from tutelage.data.scenes import digit_scenes
from tutelage.errors import OptionError

pytest.importorskip("skimage")


@pytest.mark.parametrize("domain", ["clean", "textured"])
def test_scenes_are_a_function_of_the_seed(domain):
    first, again, other = (digit_scenes(6, domain, seed=s, size=32) for s in (1, 1, 2))
    assert torch.equal(first.columns["input"], again.columns["input"])
    assert not torch.equal(first.columns["input"], other.columns["input"])
    images, label = first.columns["input"], first.columns["label"]
    assert images.shape == (6, 1, 32, 32)
    assert label.shape == (6, 32, 32)
    assert images.min() >= 0
    assert images.max() <= 1
    assert set(label.unique().tolist()) <= set(range(11))


def test_the_two_domains_draw_the_same_digits_and_ink_is_where_the_label_says():
    clean, textured = (digit_scenes(20, d, seed=4) for d in ("clean", "textured"))
    assert torch.equal(clean.columns["label"], textured.columns["label"])
    images, label = clean.columns["input"][:, 0], clean.columns["label"]
    assert images[label > 0].mean() > images[label == 0].mean() + 0.3


def test_training_and_test_scenes_hold_other_handwriting():
    train = digit_scenes(50, seed=0, size=16, digits=(1, 1))
    test = digit_scenes(50, seed=0, size=16, digits=(1, 1), part="test")
    shapes = {tuple((scene > 0).flatten().tolist()) for scene in train.columns["label"]}
    assert not shapes & {tuple((scene > 0).flatten().tolist()) for scene in test.columns["label"]}


def test_few_classes_and_wrong_options():
    assert digit_scenes(10, classes=2, size=24).classes == ("background", "0", "1")
    for wrong in ({"classes": 0}, {"digits": (3, 2)}, {"digit": 99}, {"domain": "painted"}):
        with pytest.raises(OptionError):
            digit_scenes(2, **wrong)
