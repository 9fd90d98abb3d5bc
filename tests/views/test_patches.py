from __future__ import annotations

import pytest
import torch

from tutelage import views
from tutelage.errors import OptionError, ShapeError


def places(number: int = 1, height: int = 32, width: int = 32):
    """Images whose two channels are the row and the column of each pixel."""
    rows = torch.arange(height).view(1, 1, height, 1).expand(number, 1, height, width)
    columns = torch.arange(width).view(1, 1, 1, width).expand(number, 1, height, width)
    return torch.cat([rows, columns], 1).float()


def corners(patches):
    """Return the first row and column of each patch, [count, N, 2], after checking that they are whole windows."""
    size = patches.shape[-1]
    expected = patches[..., :1, :1] + places(1, size, size)
    assert torch.equal(patches, expected)
    return patches[..., 0, 0].long()


def seeded(seed: int = 0):
    return torch.Generator().manual_seed(seed)


def test_without_jitter_all_patches_are_the_overlapping_grid():
    patches = views.GridPatches(96, jitter=0, count=9)(places(3, 256, 256), seeded())
    assert patches.shape == (9, 3, 2, 96, 96)
    expected = {(row, column) for row in (0, 80, 160) for column in (0, 80, 160)}
    for image in corners(patches).transpose(0, 1):
        assert {tuple(corner.tolist()) for corner in image} == expected


def test_the_published_grid_reaches_both_borders():
    grid = views.GridPatches(96, jitter=24, count=9)
    found = corners(grid(places(200, 256, 256), seeded()))
    # 68 pixels apart, each shifted by 0 to 24: from 0 to 136 + 24 = 256 - 96.
    assert int(found.min()) == 0
    assert int(found.max()) == 160
    cells = torch.div(found, 68, rounding_mode="floor")
    assert (found - 68 * cells).max() == 24
    assert (found - 68 * cells).unique().tolist() == list(range(25))


def test_patches_of_an_image_are_of_different_places_and_all_places_occur():
    grid = views.GridPatches(12, jitter=3, count=2)
    found = corners(grid(places(300), seeded()))
    apart = (32 - 12 - 3) // 2
    cells = torch.div(found, apart, rounding_mode="floor").clamp(max=2)
    cells = cells[..., 0] * 3 + cells[..., 1]
    assert (cells[0] != cells[1]).all()
    assert len(cells.unique()) == 9


def test_the_same_seed_cuts_the_same_patches():
    grid = views.GridPatches(8, jitter=2, count=5, before=views.random_resized_crop(24))
    images = torch.rand(4, 3, 32, 32, generator=seeded(1))
    assert torch.equal(grid(images, seeded(2)), grid(images, seeded(2)))
    assert not torch.equal(grid(images, seeded(2)), grid(images, seeded(3)))
    assert grid(images).shape == (5, 4, 3, 8, 8)


def test_one_place_and_images_that_are_not_square():
    one = views.GridPatches(8, grid=1, jitter=4, count=1)
    found = corners(one(places(100, 20, 40), seeded()))
    assert found[..., 0].max() == 4
    wide = views.GridPatches(8, jitter=0, count=9)(places(1, 20, 40))
    assert corners(wide).amax((0, 1)).tolist() == [12, 32]


def test_wrong_patches_are_refused():
    for options in ({"size": 0}, {"grid": 0}, {"jitter": -1}, {"count": 10}, {"count": 0}):
        with pytest.raises(OptionError, match="Grid patches"):
            views.GridPatches(**options)
    with pytest.raises(ShapeError, match="100x100 are too small for patches of 96"):
        views.GridPatches()(torch.zeros(1, 1, 100, 100))
    with pytest.raises(ShapeError, match="grid-patches"):
        views.GridPatches()(torch.zeros(3, 3))


def test_the_centre_is_cut_out():
    found = views.centre_crop(4)(places(2, 10, 8), None)
    assert corners(found[None])[0].tolist() == [[3, 2], [3, 2]]
    small = places(1, 3, 9)
    assert torch.equal(views.centre_crop((5, 3))(small, None), small[:, :, :, 3:6])
    assert views.per_row(views.centre_crop(2), places(2), views.row_seeds(0, torch.arange(2), 0)).shape == (2, 2, 2, 2)
    with pytest.raises(OptionError, match="size=0"):
        views.centre_crop(0)


def test_several_draws_differ_and_are_those_of_the_function():
    view = views.random_resized_crop(6)
    images = torch.rand(3, 1, 9, 9, generator=seeded())
    drawn = views.Several(view, 4)(images, seeded(1))
    assert torch.equal(drawn, views.several(view, images, 4, seeded(1)))
    assert not torch.equal(drawn[0], drawn[1])
    with pytest.raises(OptionError, match="at least 1"):
        views.Several(view, 0)
