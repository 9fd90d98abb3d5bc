from __future__ import annotations

import json

import pytest
import torch

from tutelage import models
from tutelage.data import Arrays, Batches
from tutelage.errors import CheckpointError, OptionError
from tutelage.train import Supervised, TrainOptions
from tutelage.train.layout import lay_out

CPU = torch.device("cpu")


def setting(kind="small-cnn"):
    torch.manual_seed(0)
    arrays = Arrays({"input": torch.rand(32, 3, 16, 16), "label": torch.arange(32) % 2}, classes=("a", "b"))
    student = models.build(f"tutelage:{kind}", num_classes=2, input_shape=(3, 16, 16))
    return Supervised(student), Batches(arrays, 16)


def is_last(method):
    weight = next(p for p in method.student.parameters() if p.ndim == 4 and p.shape[1] > 1)
    return weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("choice", "expected"), [("yes", True), ("no", False)])
def test_a_stated_layout_is_taken(choice, expected):
    method, batches = setting()
    assert lay_out(method, batches, TrainOptions(channels_last=choice), CPU, None) is None
    assert is_last(method) is expected


def test_what_was_measured_is_remembered(tmp_path):
    method, batches = setting()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    said = lay_out(method, batches, TrainOptions(channels_last="auto"), CPU, tmp_path / "layout.json")
    found = json.loads((tmp_path / "layout.json").read_text())
    assert is_last(method) is found["channels_last"]
    assert "ms a batch" in said
    assert all(torch.equal(before[k], v) for k, v in method.state_dict().items())
    for kept in (True, False):
        (tmp_path / "layout.json").write_text(json.dumps({"channels_last": kept}))
        method, batches = setting()
        assert lay_out(method, batches, TrainOptions(channels_last="auto"), CPU, tmp_path / "layout.json") is None
        assert is_last(method) is kept


def test_networks_without_convolutions_are_left_alone_and_mistakes_named(tmp_path):
    method, batches = setting("mlp")
    assert lay_out(method, batches, TrainOptions(channels_last="auto"), CPU, tmp_path / "layout.json") is None
    assert not (tmp_path / "layout.json").exists()
    with pytest.raises(OptionError, match=r"layer 'stages\.1\.0\.shortcut\.0',.* would be wrong"):
        lay_out(*setting("resnet?widths=8,16&depth=1"), TrainOptions(channels_last="yes"), CPU, None)
    with pytest.raises(OptionError, match="expected no, yes, auto"):
        lay_out(method, batches, TrainOptions(channels_last="maybe"), CPU, None)
    (tmp_path / "layout.json").write_text("{")
    with pytest.raises(CheckpointError, match="measured again"):
        lay_out(*setting(), TrainOptions(channels_last="auto"), CPU, tmp_path / "layout.json")
