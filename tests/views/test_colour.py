from __future__ import annotations

import pytest
import torch

from tutelage import views
from tutelage.errors import OptionError
from tutelage.views.colour import Sometimes, adjusted, brightness_of, turned

IMAGES = torch.rand(12, 3, 9, 11, generator=torch.Generator().manual_seed(0))
functional = pytest.importorskip("torchvision.transforms.v2.functional")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.13, 0.5])
def test_hues_turn_as_torchvision_turns_them(turn):
    ours = turned(IMAGES, torch.full((12, 1, 1, 1), turn))
    torch.testing.assert_close(ours, functional.adjust_hue(IMAGES, turn), rtol=0, atol=1e-5)


def test_brightness_contrast_and_grey_are_torchvisions():
    one = torch.ones(12, 1, 1, 1)
    torch.testing.assert_close(
        adjusted(IMAGES, brightness=1.3 * one, contrast=one), functional.adjust_brightness(IMAGES, 1.3), atol=1e-5, rtol=0
    )
    ours = adjusted(IMAGES, brightness=one, contrast=0.4 * one)
    torch.testing.assert_close(ours, functional.adjust_contrast(IMAGES, 0.4), atol=2e-3, rtol=0)
    torch.testing.assert_close(views.grey()(IMAGES, None), functional.rgb_to_grayscale(IMAGES, 3), atol=2e-3, rtol=0)


def test_jitter_of_nothing_changes_nothing_and_saturation_leads_to_grey():
    torch.testing.assert_close(views.colour_jitter(0, 0, 0, 0)(IMAGES, generator()), IMAGES, rtol=0, atol=1e-6)
    changed = views.colour_jitter(0, 0, 1.0, 0)(IMAGES, generator())
    grey = brightness_of(IMAGES)
    factor = ((changed - grey) / (IMAGES - grey)).flatten(1)
    unclipped = ((changed > 0) & (changed < 1) & ((IMAGES - grey).abs() > 0.05)).flatten(1)
    for row, kept in zip(factor, unclipped, strict=True):
        torch.testing.assert_close(row[kept], row[kept].median().expand_as(row[kept]), rtol=1e-3, atol=1e-3)


def test_one_channel_is_jittered_without_colours():
    images = IMAGES[:, :1]
    changed = views.colour_jitter()(images, generator())
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)


def test_blur_is_torchvisions_at_every_width():
    view = views.gaussian_blur((0.5, 2.0), kernel=5)
    widths = 0.5 + 1.5 * torch.rand(12, generator=generator(3))
    ours = view(IMAGES, generator(3))
    for number, width in enumerate(widths):
        theirs = functional.gaussian_blur(IMAGES[number], [5, 5], [float(width)] * 2)
        torch.testing.assert_close(ours[number], theirs, rtol=0, atol=1e-5)


def test_solarise_and_sometimes():
    torch.testing.assert_close(views.solarise(0.5)(IMAGES, None), functional.solarize(IMAGES, 0.5))
    assert torch.equal(Sometimes(views.grey(), 0.0)(IMAGES, generator()), IMAGES)
    assert torch.equal(Sometimes(views.grey(), 1.0)(IMAGES, generator()), views.grey()(IMAGES, None))
    many = IMAGES.repeat(50, 1, 1, 1)
    changed = (Sometimes(views.solarise(0.0), 0.3)(many, generator(1)) != many).flatten(1).any(1).float().mean()
    assert 0.25 < changed < 0.35


@pytest.mark.parametrize(
    "view",
    [views.colour_jitter(), views.gaussian_blur(), Sometimes(views.grey(), 0.5), views.random_resized_crop(6)],
    ids=["jitter", "blur", "sometimes", "crop"],
)
def test_each_image_is_changed_by_its_own_seed(view):
    index = torch.arange(12)
    whole = views.per_row(view, IMAGES, views.row_seeds(0, index, 0))
    part = views.per_row(view, IMAGES[[7, 2]], views.row_seeds(0, index[[7, 2]], 0))
    torch.testing.assert_close(part, whole[[7, 2]], rtol=0, atol=1e-5)


def test_wrong_options_are_refused():
    for wrong in (lambda: views.colour_jitter(-1), lambda: views.colour_jitter(hue=0.6), lambda: views.gaussian_blur(kernel=4)):
        with pytest.raises(OptionError):
            wrong()
    with pytest.raises(OptionError):
        Sometimes(views.grey(), 1.5)
