"""Both sides of the comparison make the same kind of views."""

from __future__ import annotations

import pytest
import torch
from benchmarks import augmentation

from tutelage import views

pytest.importorskip("torchvision")


def smooth(number: int) -> torch.Tensor:
    small = torch.rand(number, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(small, size=32, mode="bilinear") * 255).to(torch.uint8)


def test_ours_and_torchvisions_views_have_the_same_brightness_spread_and_sharpness():
    images = smooth(600)
    torch.manual_seed(0)
    change = augmentation.usual(32, views.GLOBAL_SCALE)
    theirs = torch.stack([change(image) for image in images])
    ours = views.crop_and_colour(blur_probability=augmentation.BLUR)(images.float().div(255), torch.Generator().manual_seed(1))
    assert ours.shape == theirs.shape
    for measure in (
        lambda x: x.mean(),
        lambda x: x.flatten(1).std(1).mean(),
        lambda x: (x.amax(1) - x.amin(1)).mean(),  # colourfulness
        lambda x: x.diff(dim=-1).abs().mean(),
    ):
        assert float(measure(ours)) == pytest.approx(float(measure(theirs)), rel=0.06)


@pytest.mark.parametrize("cases", [augmentation.small, augmentation.mixed])
def test_cases_run_on_both_sides(cases):
    ((_, number, ours, theirs),) = cases()
    assert number >= 512
    ours()
    for each in theirs.values():
        each()
