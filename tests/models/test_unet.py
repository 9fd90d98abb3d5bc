from __future__ import annotations

import pytest
import torch

from tutelage.errors import OptionError
from tutelage.models.unet import UNet


@pytest.mark.parametrize("size", [(16, 16), (13, 21)])
def test_every_pixel_gets_logits_of_every_class_whatever_the_size(size):
    network = UNet(5, in_channels=2, widths=(4, 6, 8))
    assert network(torch.rand(3, 2, *size)).shape == (3, 5, *size)


def test_it_sees_fine_and_coarse():
    network = UNet(2, in_channels=1, widths=(4, 4, 4)).eval()
    image = torch.rand(1, 1, 32, 32, requires_grad=True)
    network(image)[0, 0, 16, 16].backward()
    touched = image.grad[0, 0] != 0
    assert touched[16, 16]
    assert touched.any(0).sum() > 12  # more than the finest level's five pixels


def test_it_needs_a_level():
    with pytest.raises(OptionError):
        UNet(2, widths=())
