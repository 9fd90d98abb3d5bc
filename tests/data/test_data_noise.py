from __future__ import annotations

import pytest
import torch

from tutelage.data import Arrays, noise
from tutelage.errors import OptionError


def clean(count: int = 1000, classes: int = 5, dtype=torch.uint8) -> Arrays:
    return Arrays({"input": torch.zeros(count, 1, 8, 8, dtype=dtype), "label": torch.arange(count) % classes}, tuple("abcde"[:classes]))


def test_flips_exactly_the_fraction_to_other_classes():
    noisy = noise.flip_labels(clean(), 0.3, seed=1)
    changed = noisy.labels != noisy.columns["clean_label"]
    assert int(changed.sum()) == 300
    assert torch.equal(noisy.columns["clean_label"], clean().labels)
    assert int(noisy.labels.min()) >= 0
    assert int(noisy.labels.max()) < 5


def test_wrong_labels_are_uniform_over_the_other_classes():
    noisy = noise.flip_labels(clean(20000), 1.0, seed=0)
    shift = (noisy.labels - noisy.columns["clean_label"]) % 5
    counts = torch.bincount(shift, minlength=5).float()
    assert counts[0] == 0
    assert torch.allclose(counts[1:] / 5000, torch.ones(4), atol=0.06)  # four standard deviations


def test_a_second_flip_keeps_the_first_clean_labels():
    twice = noise.flip_labels(noise.flip_labels(clean(), 0.2, seed=0), 0.2, seed=1)
    assert torch.equal(twice.columns["clean_label"], clean().labels)


def test_flips_follow_the_seed_and_leave_the_input_alone():
    base = clean()
    assert torch.equal(noise.flip_labels(base, 0.5, seed=3).labels, noise.flip_labels(base, 0.5, seed=3).labels)
    assert not torch.equal(noise.flip_labels(base, 0.5, seed=3).labels, noise.flip_labels(base, 0.5, seed=4).labels)
    assert torch.equal(noise.flip_labels(base, 0.0).labels, base.labels)
    assert torch.equal(base.labels, torch.arange(1000) % 5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_noise_images_are_gaussian_and_marked(dtype):
    noisy, mask = noise.noise_images(clean(dtype=dtype), 0.1, seed=0, mean=0.5, std=0.1)
    values = noisy.gather()["input"]
    assert int(mask.sum()) == 100
    assert torch.equal(noisy.columns["is_outlier"], mask)
    assert values[~mask].abs().max() == 0
    assert float(values[mask].mean()) == pytest.approx(0.5, abs=0.01)
    assert float(values[mask].std()) == pytest.approx(0.1, abs=0.01)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(OptionError, match=r"fraction of noisy samples is 1\.2"):
        noise.flip_labels(clean(), 1.2)
    with pytest.raises(OptionError, match="1 class"):
        noise.flip_labels(clean(classes=1), 0.1)
    with pytest.raises(OptionError, match="not images"):
        noise.noise_images(Arrays({"input": torch.zeros(3, 4)}), 0.5)
