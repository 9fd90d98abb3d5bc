from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

import tutelage
from tutelage import models
from tutelage.errors import OptionError, SpecError
from tutelage.recipes import find
from tutelage.recipes.self_supervised.lejepa import OPTIONS, PRETRAIN

SMALL = OPTIONS(slices=32, hidden=(32,), width=8, local_views=0, weight=0.02)
FAST = dataclasses.replace(PRETRAIN, epochs=4, batch_size=128, accelerator="cpu", warmup=0.0)
CNN = "tutelage:cnn?widths=8,16&grid=1"


def test_labelled_images_are_watched_and_a_backbone_is_left(tmp_path):
    report = tutelage.pretrain(CNN, "digits", method="lejepa", options=SMALL, train=FAST, out=tmp_path / "run", view="affine", probe=True)
    assert {"accuracy", "knn", "effective_rank", "rank_me", "feature_std", "parameters", "features"} <= set(report.values["lejepa"])
    assert {"accuracy", "knn"} <= set(report.values["untrained"])
    titles = {curve.title for curve in report.curves}
    assert {
        "Losses",
        "Effective rank of the features",
        "Validation accuracy of nearest neighbours",
        "Standard deviation of the embeddings",
    } <= titles
    assert {"prediction", "sigreg"} <= set(next(c for c in report.curves if c.title == "Losses").y)
    network, width = models.load_backbone(tmp_path / "run")
    assert width == 16
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 16)
    assert json.loads((tmp_path / "run" / "backbone.json").read_text())["spec"] == CNN
    assert (tmp_path / "run" / "report.json").exists()


def test_the_same_seed_gives_the_same_backbone_also_after_a_break(tmp_path):
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for name in ("one", "two"):
        tutelage.pretrain(CNN, images, options=SMALL, train=dataclasses.replace(FAST, epochs=2, batch_size=20), out=tmp_path / name)
    weights = [load_file(tmp_path / name / "backbone.safetensors") for name in ("one", "two")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    tutelage.pretrain(
        CNN, images, options=SMALL, train=dataclasses.replace(FAST, epochs=2, batch_size=20), out=tmp_path / "one", resume=True
    )
    again = load_file(tmp_path / "one" / "backbone.safetensors")
    assert all(torch.equal(weights[0][name], again[name]) for name in again)


def test_a_live_backbone_gets_the_weights_and_no_labels_are_needed():
    torch.manual_seed(0)
    live = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))  # not flat
    before = live[0].weight.detach().clone()
    images = torch.rand(40, 1, 8, 8)
    report = tutelage.pretrain(live, images, options=SMALL, train=dataclasses.replace(FAST, epochs=2, batch_size=20))
    assert (live[0].weight - before).abs().max() > 1e-4
    assert "accuracy" not in report.values["lejepa"]
    assert report.claims == []


def test_a_collapse_is_said():
    options = dataclasses.replace(SMALL, weight=0.0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1), torch.nn.Linear(1, 6))
    report = tutelage.pretrain(network, torch.rand(40, 1, 8, 8), options=options, train=dataclasses.replace(FAST, epochs=1, batch_size=20))
    assert any("have collapsed" in note for note in report.notes)


def test_methods_without_the_door_and_wrong_backbones_are_refused(tmp_path):
    with pytest.raises(OptionError, match=r"does not learn features.*lejepa"):
        tutelage.pretrain(CNN, "digits", method="hinton")
    with pytest.raises(SpecError, match="no network"):
        tutelage.pretrain("tutelage:cmm", "digits", out=tmp_path / "never")
    with pytest.raises(OptionError, match="local-size"):
        tutelage.pretrain("tutelage:vit?depth=1", "digits", out=tmp_path / "never")
    assert not (tmp_path / "never").exists()
    assert find.door("lejepa", "pretrain") is not None
