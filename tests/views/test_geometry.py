from __future__ import annotations

import pytest
import torch

from tutelage import views
from tutelage.errors import OptionError, ShapeError
from tutelage.views.geometry import sampling_grid


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(number=64, channels=2, height=9, width=12):
    return torch.rand(number, channels, height, width, generator=generator(9))


def test_crop_is_a_shift_with_a_black_border():
    images = pictures() + 1
    cropped = views.random_crop(2)(images, generator())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    offsets = set()
    for before, after in zip(padded, cropped, strict=True):
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(before[:, y : y + 9, x : x + 12], after)]
        assert len(places) == 1
        offsets.add(places[0])
    assert len(offsets) > 15  # of 25, over 64 images
    assert {y for y, _ in offsets} == {x for _, x in offsets} == set(range(5))


def test_crop_by_default_moves_by_an_eighth_of_the_height():
    images = torch.zeros(400, 1, 16, 16)
    images[:, :, 8, 8] = 1
    rows = views.random_crop()(images, generator()).sum((1, 3)).argmax(1)
    assert (rows.min(), rows.max()) == (6, 10)


def test_no_padding_changes_nothing():
    assert torch.equal(views.random_crop(0)(pictures(), generator()), pictures())


def test_flip_mirrors_the_share_asked_for():
    images = pictures(2000, 1, 2, 4)
    flipped = views.horizontal_flip(0.3)(images, generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) ^ mirrored).all()
    assert float(mirrored.float().mean()) == pytest.approx(0.3, abs=0.04)
    assert torch.equal(views.horizontal_flip(1)(images, None), images.flip(-1))


@pytest.mark.parametrize("shape", [(9, 12), (11, 11)])
def test_affine_of_nothing_is_the_identity(shape):
    images = pictures(4, 1, *shape)
    assert torch.allclose(views.random_affine(0)(images, generator()), images, atol=1e-5)


def test_rotation_keeps_distances_on_images_of_any_proportion():
    images = torch.zeros(200, 1, 21, 41)
    images[:, :, 10, 26] = 1  # six pixels right of the middle
    turned = views.random_affine(degrees=90)(images, generator())
    mass = turned.sum((1, 2, 3))
    y = (turned.sum((1, 3)) * torch.arange(21)).sum(1) / mass - 10
    x = (turned.sum((1, 2)) * torch.arange(41)).sum(1) / mass - 20
    assert torch.allclose((x**2 + y**2).sqrt(), torch.full((200,), 6.0), atol=0.4)
    angle = torch.atan2(y, x).rad2deg()
    assert angle.max() > 75
    assert angle.min() < -75
    assert angle.abs().max() < 93


def test_shift_and_scale_stay_within_their_bounds():
    images = torch.zeros(300, 1, 20, 20)
    images[:, :, 9:11, 9:11] = 1
    moved = views.random_affine(0, shift=0.2)(images, generator())
    x = (moved.sum((1, 2)) * torch.arange(20)).sum(1) / moved.sum((1, 2, 3)) - 9.5
    assert x.abs().max() <= 4.01
    assert x.max() > 3.5
    assert x.min() < -3.5
    mass = views.random_affine(0, scale=0.5)(images, generator()).sum((1, 2, 3)) / 4
    assert 0.2 < mass.min() < 0.4
    assert 1.9 < mass.max() < 2.4


@pytest.mark.parametrize("size", [(5, 8), (1, 3), (7, 7)])
def test_the_sampling_grid_is_torchs(size):
    matrix = torch.randn(6, 2, 3, generator=generator())
    theirs = torch.nn.functional.affine_grid(matrix, [6, 1, *size], align_corners=False)
    torch.testing.assert_close(sampling_grid(matrix, size), theirs, rtol=0, atol=1e-6)


def test_tables_and_wrong_options_are_refused():
    with pytest.raises(ShapeError, match=r"'crop' changes images.*\(4, 3\).*'none'"):
        views.random_crop()(torch.zeros(4, 3), None)
    with pytest.raises(ShapeError, match="uint8"):
        views.horizontal_flip()(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), None)
    with pytest.raises(OptionError, match="padding=-1"):
        views.random_crop(-1)
    with pytest.raises(OptionError, match="probability=2"):
        views.horizontal_flip(2)
    with pytest.raises(OptionError, match="degrees=270"):
        views.random_affine(270)
