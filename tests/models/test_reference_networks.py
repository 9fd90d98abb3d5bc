from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage import models
from tutelage.errors import OptionError, ShapeError

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 13, 20), (4, 64, 48)]


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("name", ["small-cnn", "cnn", "resnet", "vit", "mlp"])
def test_every_network_takes_every_image_and_trains(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = models.build(f"tutelage:{name}", num_classes=7, input_shape=shape)
    logits = model(torch.rand(3, *shape))
    assert logits.shape == (3, 7)
    logits.logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert sum(float(p.grad.abs().sum()) > 0 for p in model.parameters()) > 2


def test_parameter_counts_by_hand() -> None:
    small = models.small_cnn(num_classes=10)
    assert models.count_parameters(small) == (9 * 8 + 8) + (9 * 8 * 16 + 16) + (16 * 16 * 10 + 10)
    assert models.count_parameters(models.mlp(num_classes=3, input_shape=(4,), widths=(5,))) == 4 * 5 + 5 + 5 * 3 + 3
    deep = models.cnn(num_classes=2, widths=(4,), depth=2, batch_norm=True, grid=1)
    assert models.count_parameters(deep) == 9 * 4 + 8 + 9 * 16 + 8 + 4 * 2 + 2
    # the CIFAR-10 network of 20 layers has 0.27 million parameters in the paper's table 6
    assert models.count_parameters(models.resnet(num_classes=10)) == pytest.approx(0.27e6, rel=0.03)


def test_resnet_has_the_papers_depth() -> None:
    for depth, layers in ((3, 20), (9, 56)):
        model = models.resnet(num_classes=10, depth=depth)
        weighted = [m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
        assert len(weighted) == layers


def test_mlp_without_hidden_layers_is_linear() -> None:
    model = models.mlp(num_classes=2, input_shape=(3,), widths=())
    a, b = torch.randn(1, 3), torch.randn(1, 3)
    assert torch.allclose(model(a) + model(b) - model(torch.zeros(1, 3)), model(a + b), atol=1e-5)


def test_vit_sees_every_pixel_of_a_padded_image() -> None:
    torch.manual_seed(0)
    model = models.vit(num_classes=2, input_shape=(1, 9, 11), patch=4).eval()
    image = torch.rand(1, 1, 9, 11, requires_grad=True)
    model(image).sum().backward()
    assert (image.grad != 0).all()
    with pytest.raises(ShapeError, match=r"\[N, 1, 9, 11\], got \[1, 1, 9, 10\]"):
        model(torch.rand(1, 1, 9, 10))


def test_vit_attention_agrees_with_torch() -> None:
    torch.manual_seed(0)
    block = models.vit(num_classes=2, input_shape=(1, 8, 8), width=8, depth=1, heads=2).blocks[0].eval()
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=True).eval()
    pairs = [
        (layer.self_attn.in_proj_weight, block.qkv.weight),
        (layer.self_attn.in_proj_bias, block.qkv.bias),
        (layer.self_attn.out_proj.weight, block.out.weight),
        (layer.self_attn.out_proj.bias, block.out.bias),
        (layer.linear1.weight, block.mlp[0].weight),
        (layer.linear1.bias, block.mlp[0].bias),
        (layer.linear2.weight, block.mlp[2].weight),
        (layer.linear2.bias, block.mlp[2].bias),
    ]
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)
    tokens = torch.randn(2, 5, 8)
    assert torch.allclose(block(tokens), layer(tokens), atol=1e-5)


def test_options_out_of_range_are_named() -> None:
    with pytest.raises(OptionError, match="dropout=1"):
        models.cnn(num_classes=2, dropout=1.0)
    with pytest.raises(OptionError, match="widths=\\(0,\\)"):
        models.mlp(num_classes=2, input_shape=(3,), widths=(0,))
    with pytest.raises(OptionError, match="depth=0"):
        models.resnet(num_classes=2, depth=0)
    with pytest.raises(OptionError, match="heads=3"):
        models.vit(num_classes=2, input_shape=(1, 8, 8), heads=3)
    with pytest.raises(ShapeError, match="got \\[2, 4\\]"):
        models.mlp(num_classes=2, input_shape=(3,))(torch.ones(2, 4))
