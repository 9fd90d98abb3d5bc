from __future__ import annotations

import pytest
import torch

from tutelage import views
from tutelage.errors import OptionError
from tutelage.views.geometry import random_affine


def images(number=5, channels=3, side=20):
    return torch.rand(number, channels, side, side, generator=torch.Generator().manual_seed(0))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_multi_crop_gives_global_and_local_views_of_their_own_sizes():
    crops = views.MultiCrop(views.crop_and_colour(16), views.crop_and_colour(8, scale=views.LOCAL_SCALE), wide_count=2, narrow_count=3)
    seen = crops(images(), seeded())
    assert tuple(seen.wide.shape) == (2, 5, 3, 16, 16)
    assert tuple(seen.narrow.shape) == (3, 5, 3, 8, 8)
    assert len(seen) == 5
    assert [tuple(group.shape) for group in seen.groups()] == [(10, 3, 16, 16), (15, 3, 8, 8)]
    assert 0 <= float(seen.wide.min()) <= float(seen.wide.max()) <= 1


def test_views_of_one_size_are_one_group_global_ones_first():
    crops = views.MultiCrop(views.random_resized_crop(), views.random_resized_crop(scale=(0.05, 0.3)), wide_count=2, narrow_count=2)
    seen = crops(images(), seeded())
    (group,) = seen.groups()
    assert torch.equal(group.view(4, 5, 3, 20, 20)[:2], seen.wide)
    assert torch.equal(group.view(4, 5, 3, 20, 20)[2:], seen.narrow)


def test_the_same_generator_gives_the_same_views_and_every_view_differs():
    crops = views.MultiCrop(views.crop_and_colour(), None, wide_count=3, narrow_count=0)
    one, two, other = (crops(images(), seeded(seed)).wide for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert (one - other).abs().max() > 0.1
    assert all((one[i] - one[j]).abs().max() > 0.1 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_local_crops_see_less_of_the_image():
    ramp = torch.linspace(0, 1, 32).expand(64, 1, 32, 32).contiguous()  # a window's share of the width is its range of values
    wide, narrow = (views.random_resized_crop(32, scale=s)(ramp, seeded()) for s in (views.GLOBAL_SCALE, views.LOCAL_SCALE))
    spans = [(v.amax((1, 2, 3)) - v.amin((1, 2, 3))) for v in (wide, narrow)]
    assert spans[0].mean() > 1.5 * spans[1].mean()


def test_grey_images_pass_all_the_colour_views():
    assert views.crop_and_colour(12)(images(channels=1), seeded()).shape == (5, 1, 12, 12)


def test_wrong_numbers_of_views_are_refused():
    with pytest.raises(OptionError, match="0 global"):
        views.MultiCrop(views.crop_and_colour(), None, wide_count=0, narrow_count=0)
    with pytest.raises(OptionError, match="no view that makes them"):
        views.MultiCrop(views.crop_and_colour(), None, narrow_count=2)


def test_an_affine_scale_may_be_two_factors():
    square = torch.zeros(200, 1, 41, 41)
    square[:, :, 10:31, 10:31] = 1.0
    area = random_affine(degrees=0, scale=(0.5, 0.8))(square, seeded()).sum((1, 2, 3)) / 21**2
    assert 0.5**2 * 0.9 < float(area.min()) < 0.3
    assert 0.55 < float(area.max()) < 0.8**2 * 1.1
    torch.testing.assert_close(random_affine(scale=0.2)(square, seeded()), random_affine(scale=(0.8, 1.2))(square, seeded()))
    with pytest.raises(OptionError, match="two factors"):
        random_affine(scale=(0.9, 0.8))
    with pytest.raises(OptionError, match="below 1"):
        random_affine(scale=1.0)
