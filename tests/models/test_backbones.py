from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tutelage import models
from tutelage.errors import OptionError, ShapeError, SpecError


@pytest.mark.parametrize(
    ("spec", "shape", "width"),
    [
        ("tutelage:cnn?widths=4,8&grid=1", (1, 14, 14), 8),
        ("tutelage:cnn?widths=4,8", (1, 14, 14), 128),
        ("tutelage:resnet?widths=4,8&depth=1", (3, 16, 16), 8),
        ("tutelage:vit?width=16&depth=1", (1, 16, 16), 16),
        ("tutelage:mlp?widths=20", (7,), 20),
    ],
)
def test_a_backbone_ends_in_features_and_is_saved_and_loaded(spec, shape, width, tmp_path):
    network, found = models.backbone(spec, shape)
    assert found == width
    models.save_backbone(tmp_path, network, spec, input_shape=shape, width=width)
    again, same = models.load_backbone(tmp_path)
    x = torch.rand(3, *shape)
    with torch.no_grad():
        torch.testing.assert_close(again(x), network.eval()(x))
    assert same == width
    about = json.loads((tmp_path / "backbone.json").read_text())
    assert about["features"] == width
    assert not any(name.startswith("head") for name in load_file(tmp_path / "backbone.safetensors"))


def test_the_file_loads_into_the_network_with_a_head(tmp_path):
    network, width = models.backbone("tutelage:cnn?widths=4,8", (1, 14, 14))
    models.save_backbone(tmp_path, network, "tutelage:cnn?widths=4,8", input_shape=(1, 14, 14), width=width)
    whole = models.cnn(num_classes=5, widths=(4, 8))
    missing, unexpected = whole.load_state_dict(load_file(tmp_path / "backbone.safetensors"), strict=False)
    assert (set(missing), unexpected) == ({"head.weight", "head.bias"}, [])


def test_timm_loads_the_file_of_a_timm_backbone(tmp_path):
    timm = pytest.importorskip("timm")
    spec = "timm:mobilenetv3_small_050?in_chans=1"
    network, width = models.backbone(spec, (1, 32, 32))
    models.save_backbone(tmp_path, network, spec, input_shape=(1, 32, 32), width=width)
    about = json.loads((tmp_path / "backbone.json").read_text())
    assert about["load"].startswith("timm.create_model('mobilenetv3_small_050', num_classes=0, in_chans=1")
    theirs = timm.create_model("mobilenetv3_small_050", num_classes=0, in_chans=1, checkpoint_path=str(tmp_path / "backbone.safetensors"))
    x = torch.rand(2, 1, 32, 32)
    (mean,), (std,) = about["input"]["mean"], about["input"]["std"]
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()((x - mean) / std), network.eval()(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(models.load_backbone(tmp_path)[0](x), network(x))


def test_python_factories_and_live_modules_are_flattened(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef make(num_classes, width=3):\n    assert num_classes == 0\n    return nn.Conv2d(1, width, 3)\n"
    )
    network, width = models.backbone(f"python:{tmp_path}/mine.py:make?width=2", (1, 5, 5))
    assert width == 2 * 3 * 3
    assert network(torch.zeros(4, 1, 5, 5)).shape == (4, 18)
    assert isinstance(models.bare(network), nn.Conv2d)
    own = nn.Sequential(nn.Flatten(), nn.Linear(25, 6))
    assert models.backbone(own, (1, 5, 5)) == (own, 6)
    models.save_backbone(tmp_path, own, own, input_shape=(1, 5, 5), width=6)
    with pytest.raises(SpecError, match="live Sequential"):
        models.load_backbone(tmp_path)


def test_what_gives_no_features_is_refused(tmp_path):
    with pytest.raises(SpecError, match="without its head"):
        models.backbone("onnx:model.onnx", (1, 8, 8))
    with pytest.raises(SpecError, match="got 3"):
        models.backbone(3, (1, 8, 8))
    with pytest.raises(SpecError, match=r"cannot run on inputs \[2, 3, 8, 8\]"):
        models.backbone(nn.Conv2d(1, 2, 3), (3, 8, 8))
    with pytest.raises(SpecError, match="answers tuple"):
        models.backbone(type("Pair", (nn.Module,), {"forward": lambda self, x: (x, x)})(), (1, 8, 8))
    with pytest.raises(SpecError, match="holds no backbone"):
        models.load_backbone(tmp_path)


def test_trying_a_backbone_leaves_it_as_it_was():
    own = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    own[0].eval()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    models.backbone(own, (1, 2, 2))
    assert own.training
    assert not own[0].training
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


def test_a_projector_normalises_all_layers_but_the_last():
    projector = models.Projector(6, 3, hidden=(8, 5))
    assert [type(m).__name__ for m in projector.layers] == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    assert projector(torch.rand(4, 6)).shape == (4, 3)
    assert [type(m).__name__ for m in models.Projector(6, 3, hidden=(), batch_norm=False).layers] == ["Linear"]
    with pytest.raises(OptionError, match="out=0"):
        models.Projector(6, 0)


def test_class_tokens_of_the_last_layers_are_normalised_and_joined():
    network, _ = models.backbone("tutelage:vit?width=16&depth=3", (1, 8, 8))
    images = torch.rand(5, 1, 8, 8)
    found = models.ClassTokens(network, ("blocks.1", "blocks.2"))(images)
    assert found.shape == (5, 32)
    torch.testing.assert_close(found.view(5, 2, 16).mean(-1), torch.zeros(5, 2), atol=1e-5, rtol=0)
    with torch.no_grad():
        last = network(images)  # the answer is the last layer's class token after a norm that starts as the plain one
    torch.testing.assert_close(found[:, 16:].detach(), last, atol=1e-4, rtol=1e-4)
    with pytest.raises(ShapeError, match="patches"):
        models.ClassTokens(network, ("patches",))(images)
    with pytest.raises(OptionError, match="no layer"):
        models.ClassTokens(network, ("blocks.7",))(images)
