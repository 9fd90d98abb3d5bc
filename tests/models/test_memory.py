from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.errors import OptionError, ShapeError
from tutelage.models import build, cnn, mlp
from tutelage.models.memory import Formats, channels_last, overrun, time_formats


def test_weights_change_places_and_nothing_else() -> None:
    model, images = cnn(num_classes=3, in_channels=3, widths=(4, 8)), torch.rand(4, 3, 8, 8)
    model.eval()
    before, expected = {k: v.clone() for k, v in model.state_dict().items()}, model(images)
    names = [id(p) for p in model.parameters()]
    assert channels_last(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert names == [id(p) for p in model.parameters()]
    weight = model.stages[1][1].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    maps = model.stages(images.contiguous(memory_format=torch.channels_last))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(model(images), expected, atol=1e-5)


def test_a_network_without_convolutions_of_images_is_left() -> None:
    assert not channels_last(mlp(num_classes=2, input_shape=(4,)))
    assert not channels_last(nn.Sequential(nn.Conv1d(1, 2, 3)))


@pytest.mark.parametrize(("widths", "found"), [("8,16", "stages.1.0.shortcut.0"), ("16,32", None)])
def test_a_layer_whose_gradient_overruns_its_memory_keeps_channels_first(widths, found) -> None:
    model = build(f"tutelage:resnet?widths={widths}&depth=1", num_classes=2, input_shape=(3, 8, 8))
    assert overrun(model) == found
    assert (time_formats(model, torch.rand(2, 3, 8, 8), rounds=1).last == float("inf")) is (found is not None)
    assert overrun(nn.Conv2d(8, 16, 3, 2)) is None
    assert overrun(nn.Conv2d(8, 16, 1)) is None
    assert overrun(nn.Conv2d(32, 32, 1, (1, 2), groups=4)) == ""


def test_timing_leaves_the_network_as_it_was() -> None:
    model = cnn(num_classes=3, widths=(4,), dropout=0.5).train()
    images = torch.rand(4, 1, 8, 8)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    found = time_formats(model, images, rounds=2)
    assert 0 < found.contiguous < 60
    assert 0 < found.last < 60
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert model.stages[0][0].weight.is_contiguous()


def test_what_cannot_run_channels_last_is_never_faster_so() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(64, 3)

        def forward(self, images: torch.Tensor) -> dict[str, list[torch.Tensor]]:
            return {"logits": [self.head(self.conv(images).view(images.shape[0], -1))]}

    found = time_formats(Viewing(), torch.rand(2, 2, 6, 6), rounds=1)
    assert found.last == float("inf")
    assert not found.channels_last
    assert not time_formats(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.rand(2, 1, 4, 4), rounds=1).channels_last
    assert Formats(1.0, 0.9).channels_last
    assert not Formats(1.0, 0.96).channels_last


def test_bad_input_is_named() -> None:
    with pytest.raises(ShapeError, match=r"float images \[N, C, H, W\], got torch.float32 \[2, 3\]"):
        time_formats(mlp(num_classes=2, input_shape=(3,)), torch.rand(2, 3))
    with pytest.raises(OptionError, match="rounds=0"):
        time_formats(cnn(num_classes=2), torch.rand(2, 1, 8, 8), rounds=0)
