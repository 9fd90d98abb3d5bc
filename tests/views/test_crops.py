from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tutelage import views
from tutelage.errors import OptionError
from tutelage.views.crops import windows

IMAGES = torch.rand(40, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def share(*values):
    return torch.tensor(values)


def test_a_window_of_everything_is_the_image_and_of_a_quarter_is_that_quarter():
    whole = windows(IMAGES[:1], share(1.0), share(1.0), share(0.0), share(0.0), (16, 24))
    torch.testing.assert_close(whole, IMAGES[:1], rtol=0, atol=1e-5)
    quarter = windows(IMAGES[:1], share(0.5), share(0.5), share(0.5), share(0.25), (8, 12))
    torch.testing.assert_close(quarter, IMAGES[:1, :, 8:16, 6:18], rtol=0, atol=1e-5)


def test_shrinking_averages_what_it_would_skip():
    half = windows(IMAGES, torch.ones(40), torch.ones(40), torch.zeros(40), torch.zeros(40), (8, 12))
    torch.testing.assert_close(half, F.avg_pool2d(IMAGES, 2), rtol=0, atol=1e-5)


def test_windows_agree_with_torchvision():
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    found = windows(IMAGES[:1], share(10 / 16), share(12 / 24), share(4 / 16), share(6 / 24), (20, 24))
    theirs = functional.resized_crop(IMAGES[:1], 4, 6, 10, 12, [20, 24], antialias=False)
    torch.testing.assert_close(found[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], rtol=0, atol=1e-4)


def test_areas_and_shapes_are_those_asked_for():
    """On a ramp the corners of the result tell the window."""
    rows = torch.linspace(0, 1, 65)[:-1].view(1, 1, 64, 1).expand(500, 1, 64, 64)
    columns = rows.transpose(2, 3)
    view = views.random_resized_crop(32, scale=(0.2, 0.5), ratio=(0.5, 2.0))
    tall = [view(rows, torch.Generator().manual_seed(1))[:, 0, end, 0] for end in (0, -1)]
    wide = [view(columns, torch.Generator().manual_seed(1))[:, 0, 0, end] for end in (0, -1)]
    height, width = (tall[1] - tall[0]) * 32 / 31, (wide[1] - wide[0]) * 32 / 31
    area, ratio = height * width, width / height
    assert 0.19 < area.min() < 0.22
    assert 0.46 < area.max() < 0.52
    assert 0.48 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.1
    assert float(tall[0].min()) >= -1e-6
    assert float(tall[1].max()) <= 1.0


def test_several_views_of_each_image_differ_and_are_reproducible():
    view = views.random_resized_crop(8)
    found = views.several(view, IMAGES, 3, torch.Generator().manual_seed(2))
    assert found.shape == (3, 40, 3, 8, 8)
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, views.several(view, IMAGES, 3, torch.Generator().manual_seed(2)))


def test_a_crop_does_not_depend_on_who_else_is_in_the_batch():
    view, index = views.random_resized_crop(6, scale=(0.05, 1.0)), torch.arange(40)
    whole = views.per_row(view, IMAGES, views.row_seeds(0, index, 0))
    for row in range(40):
        alone = views.per_row(view, IMAGES[row : row + 1], views.row_seeds(0, index[row : row + 1], 0))
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-5)


def test_wrong_ranges_are_refused():
    for options in ({"scale": (0.0, 1.0)}, {"scale": (0.5, 0.2)}, {"ratio": (2.0, 1.0)}, {"size": 0}):
        with pytest.raises(OptionError):
            views.random_resized_crop(**options)
    with pytest.raises(OptionError, match="at least 1"):
        views.several(views.random_resized_crop(), IMAGES, 0)


def test_short_side_crop_keeps_proportions_and_scales_the_shorter_side():
    # A horizontal ramp over 40 columns: the crop's slope tells by how much the image was scaled.
    ramp = torch.linspace(0, 1, 60).expand(200, 1, 40, 60).contiguous()
    out = views.short_side_crop(16, short=(20, 40))(ramp, torch.Generator().manual_seed(0))
    assert out.shape == (200, 1, 16, 16)
    slope = (out[:, 0, 8, 12] - out[:, 0, 8, 4]) / 8
    zoom = (1 / 59) / slope
    assert 0.5 - 0.02 < zoom.min() < 0.55
    assert 0.95 < zoom.max() < 1.02
    middle = views.short_side_crop(40, short=(40, 40), centre=True)(ramp)
    torch.testing.assert_close(middle, ramp[..., 10:50], atol=1e-5, rtol=0)
    with pytest.raises(OptionError, match="1 <= size <= least"):
        views.short_side_crop(224, short=(200, 320))
