from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage import models
from tutelage.errors import OptionError


def test_blocks_answer_the_mean_of_their_last_map():
    torch.manual_seed(0)
    network = models.ConvBlocks(in_channels=3, widths=(4, 8, 6), strides=(1, 2, 2))
    images = torch.rand(2, 3, 20, 12)
    with models.tap(network, "blocks.2", "blocks.0") as maps:
        features = network(images)
    assert maps["blocks.0"].shape == (2, 4, 20, 12)
    assert maps["blocks.2"].shape == (2, 6, 5, 3)
    torch.testing.assert_close(features, maps["blocks.2"].mean((2, 3)))
    assert maps["blocks.2"].min() == 0
    assert network.width == 6
    for wrong in ({"widths": (4,), "strides": (1, 2)}, {"widths": (), "strides": ()}, {"widths": (4,), "strides": (0,)}):
        with pytest.raises(OptionError, match="strides"):
            models.ConvBlocks(**wrong)


def test_maps_are_found_and_the_network_stays_as_it_was():
    network = models.ConvBlocks(widths=(4, 8, 6), strides=(1, 2, 1)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps = models.feature_maps(network, (1, 16, 16))
    assert maps["blocks.0.0"] == (4, 16, 16)
    assert maps["blocks.1"] == (8, 8, 8)
    assert list(maps)[-1] == "blocks"
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_the_last_levels_are_the_outermost_layers_of_the_last_sizes():
    network = models.ConvBlocks(widths=(4, 8, 6, 5), strides=(1, 2, 2, 1))
    assert models.last_levels(network, (1, 32, 32)) == {"blocks.1": 8, "blocks": 5}
    assert models.last_levels(network, (1, 32, 32), 1) == {"blocks": 5}
    assert models.last_levels(network, (1, 16, 16), least=5) == {"blocks.0": 4, "blocks.1": 8}
    with pytest.raises(OptionError, match=r"Linear has no layer .* at least 1x1"):
        models.last_levels(nn.Linear(3, 3), (3,))


def test_levels_of_a_resnet_of_timm_are_its_last_stages():
    pytest.importorskip("timm")
    network, _ = models.backbone("timm:resnet18", (3, 128, 128))
    inner = next(iter(models.last_levels(network, (3, 128, 128), 2, least=4)))
    assert inner.endswith("layer3")
