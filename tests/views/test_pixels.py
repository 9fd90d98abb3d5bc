from __future__ import annotations

import pytest
import torch

from tutelage import views
from tutelage.errors import OptionError, ShapeError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_has_its_deviation_and_stays_within_bounds():
    grey = torch.full((50, 1, 20, 20), 0.5)
    noisy = views.gaussian_noise(0.1)(grey, generator())
    assert float((noisy - grey).std()) == pytest.approx(0.1, abs=0.002)
    assert float((noisy - grey).mean()) == pytest.approx(0, abs=0.002)
    bright = views.gaussian_noise(0.5)(torch.ones(50, 1, 20, 20), generator())
    assert (float(bright.min()) >= 0, float(bright.max())) == (True, 1.0)
    assert torch.equal(grey, torch.full_like(grey, 0.5))


def test_erasing_cuts_one_box_of_the_area_and_shape_asked_for():
    images = torch.ones(500, 2, 24, 30)
    erased = views.random_erasing(0.4, area=(0.1, 0.3), ratio=(0.5, 2.0), value=7.0)(images, generator()) == 7.0
    assert torch.equal(erased[:, 0], erased[:, 1])
    box = erased[:, 0]
    hit = box.flatten(1).any(1)
    assert float(hit.float().mean()) == pytest.approx(0.4, abs=0.07)
    heights, widths = box.any(2).sum(1)[hit], box.any(1).sum(1)[hit]
    assert torch.equal(heights * widths, box.sum((1, 2))[hit])
    area = heights * widths / (24 * 30)
    assert 0.08 < area.min() < 0.13
    assert 0.25 < area.max() < 0.33
    ratio = heights / widths
    assert 0.4 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.3
    first_row = box.any(2).float().argmax(1)[hit]
    assert first_row.min() == 0
    assert (first_row + heights).max() == 24


def test_cutout_is_a_special_case():
    images = torch.ones(100, 1, 20, 20)
    boxes = views.random_erasing(1.0, area=(0.25, 0.25), ratio=(1, 1))(images, generator())
    assert ((1 - boxes).sum((1, 2, 3)) == 100).all()


def test_boxes_longer_than_the_image_are_cut():
    stripes = views.random_erasing(1.0, area=(0.5, 0.5), ratio=(16, 16))(torch.ones(10, 1, 8, 8), generator())
    assert torch.equal((1 - stripes).sum(2).amax((1, 2)), torch.full((10,), 8.0))


def test_normalise_works_per_channel():
    images = torch.rand(3, 2, 4, 4, generator=generator())
    done = views.normalise((0.5, 0.2), (0.5, 2.0))(images, None)
    assert torch.allclose(done[:, 0], images[:, 0] * 2 - 1)
    assert torch.allclose(done[:, 1], (images[:, 1] - 0.2) / 2)
    assert torch.allclose(views.normalise((0.5,), (0.5,))(images, None), images * 2 - 1)
    with pytest.raises(ShapeError, match=r"3 values of mean, but the images 2 channel"):
        views.normalise((0, 0, 0), (1,))(images, None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: views.gaussian_noise(-1),
        lambda: views.random_erasing(area=(0.5, 0.2)),
        lambda: views.random_erasing(ratio=(0.0, 1)),
        lambda: views.random_erasing(probability=1.1),
        lambda: views.normalise((0,), (0,)),
    ],
)
def test_wrong_options_are_refused(make):
    with pytest.raises(OptionError, match="The view"):
        make()
