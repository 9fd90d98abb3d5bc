from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tutelage.data import Arrays, Batches
from tutelage.errors import OptionError
from tutelage.methods.semi_supervised.fst import FST
from tutelage.models.unet import UNet
from tutelage.train import Trainer, TrainOptions


class Scalar(nn.Module):
    """One number theta, whose loss in the method below is theta squared over two: its gradient is theta."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x):
        return x * self.theta


class Quadratic(FST):
    """FST on the loss theta^2 / 2, which no teacher enters; it notes what the teacher averages and is."""

    def losses(self, batch):
        return {"loss": 0.5 * self.student.theta.square().sum()}

    def _follow(self):
        self.seen = [*getattr(self, "seen", []), float(self.student.theta.detach())]
        super()._follow()
        self.taught = float(self.teacher.model.theta)


def quadratic(future, steps=3, momentum=0.9, task="adaptation", first=1, rate=0.1, **options):
    method = Quadratic(Scalar(), num_classes=2, task=task, future=future, virtual_steps=steps, momentum=momentum)
    method.teacher.warmup = False
    stream = Arrays({"input": torch.zeros(8, 1)}, name="nothing")
    companions = {f"virtual_{n}": Batches(stream, 1) for n in range(steps)}
    settings = {
        "epochs": 1,
        "batch_size": 1,
        "learning_rate": rate,
        "momentum": 0.0,
        "schedule": "constant",
        "accelerator": "cpu",
    } | options
    trainer = Trainer(method, Batches(stream, 1, companions=companions), TrainOptions(**settings))
    method.progress, method.steps_done = 0.0, first  # past the first step, which is an ordinary one
    trainer.engine.begin(1.0, True)
    batch = trainer.batches.batch(0, 0)
    method.step(batch, trainer.engine)
    return method


def test_one_virtual_step_is_averaged_before_the_real_one():
    method = quadratic("step")
    assert method.taught == pytest.approx(0.99)
    assert float(method.student.theta.detach()) == pytest.approx(0.9)
    assert quadratic("none").taught == pytest.approx(1.0)


def test_deep_averages_the_student_and_each_virtual_one():
    method = quadratic("deep", steps=2)
    assert method.seen == pytest.approx([1.0, 0.9, 0.81])
    assert method.taught == pytest.approx(0.972)
    assert float(method.student.theta.detach()) == pytest.approx(0.9)


def test_wide_of_equal_batches_is_one_virtual_step_and_one_more_average():
    wide, step = quadratic("wide"), quadratic("step")
    assert wide.seen == pytest.approx([0.9, 0.9])
    step._follow()
    assert wide.taught == pytest.approx(step.taught)


def test_deep_of_no_steps_is_ordinary_self_training():
    none, zero = quadratic("none"), quadratic("deep", steps=0)
    assert zero.seen == none.seen == [1.0]
    assert zero.taught == none.taught


def test_the_first_step_is_ordinary_and_few_labels_average_once_more():
    assert quadratic("deep", first=0).seen == [1.0]
    assert quadratic("deep", steps=1, task="semi").seen == pytest.approx([1.0, 0.9, 0.9])


def test_a_learning_rate_of_zero_makes_the_futures_one():
    assert quadratic("deep", rate=1e-12).taught == pytest.approx(quadratic("none", rate=1e-12).taught)


@pytest.mark.parametrize(("optimizer", "restored", "same"), [("SGD", False, True), ("Adam", True, True), ("Adam", False, False)])
def test_the_real_step_is_one_of_the_optimizer(optimizer, restored, same):
    def moved(future):
        method = Quadratic(Scalar(), num_classes=2, future=future, restore_optimizer=restored, momentum=0.9)
        stream = Arrays({"input": torch.zeros(4, 1)})
        options = TrainOptions(
            epochs=1, batch_size=1, learning_rate=0.3, momentum=0.0, optimizer=optimizer, schedule="constant", accelerator="cpu"
        )
        trainer = Trainer(method, Batches(stream, 1), options)
        method.steps_done = 1
        trainer.engine.begin(1.0, True)
        method.step(trainer.batches.batch(0, 0), trainer.engine)
        return float(method.student.theta.detach())

    assert (moved("deep") == pytest.approx(moved("none"), abs=1e-7)) is same


def pixels(task="adaptation", **options):
    torch.manual_seed(0)
    student = UNet(3, in_channels=1, widths=(4, 8))
    method = FST(student, num_classes=3, task=task, **options)
    method.generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    label = torch.randint(0, 3, (4, 8, 8), generator=torch.Generator().manual_seed(2))
    return method, {"input": x.flip(0), "label": label.flip(0), "labelled": {"input": x, "label": label}}


def test_a_weight_of_one_when_all_are_confident_and_zero_when_none_is():
    sharp = 50 * torch.nn.functional.one_hot(torch.randint(0, 3, (2, 5, 5)), 3).float()
    assert torch.equal(pixels()[0]._weight(sharp), torch.ones(2, 5, 5))
    assert torch.equal(pixels()[0]._weight(torch.zeros(2, 5, 5, 3)), torch.zeros(2, 5, 5))
    rows = pixels(ignore_rows=(1, 2))[0]._weight(sharp)
    assert rows[0].sum(1).tolist() == [0, 5, 5, 0, 0]


def test_of_a_hundred_uncertainties_eighty_stay_and_weigh_five_quarters():
    logits = torch.linspace(0, 5, 100).view(1, 10, 10, 1) * torch.tensor([1.0, 0.0, 0.0])
    weight = pixels("semi")[0]._weight(logits)
    assert int((weight > 0).sum()) == 80
    assert weight.max() == pytest.approx(1.25)


def test_classmix_of_everything_is_the_source_with_its_labels():
    method, batch = pixels()
    source = batch["labelled"]
    one = torch.full_like(source["label"], 2)  # one class: half of it, rounded up, is all of it
    weight = torch.full(one.shape, 0.25)
    mixed, target, weights = method._mixed(source["input"], one, batch["input"], batch["label"], weight)
    assert torch.equal(mixed, source["input"])
    assert torch.equal(target, one)
    assert torch.equal(weights, torch.ones_like(weights))


@pytest.mark.parametrize("mix", ["classmix", "cutmix"])
def test_pasted_pixels_have_weight_one_and_the_rest_that_of_the_batch(mix):
    method, batch = pixels(mix=mix)
    source = batch["labelled"]
    weight = torch.full(source["label"].shape, 0.25)
    mixed, target, weights = method._mixed(source["input"], source["label"], batch["input"], batch["label"], weight)
    pasted = weights == 1
    assert 0.1 < pasted.float().mean() < 0.9
    assert torch.equal(target, torch.where(pasted, source["label"], batch["label"]))
    assert torch.equal(mixed[:, 0], torch.where(pasted, source["input"][:, 0], batch["input"][:, 0]))


def test_no_gradient_reaches_the_teacher_and_the_loss_matches_its_parts():
    method, batch = pixels(mix="none", threshold=0.0)
    losses = method.losses(batch)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None for p in method.student.parameters())
    again = copy.deepcopy(method)
    logits = again.student(batch["input"])
    pseudo_label = again.teacher(batch["input"]).argmax(1)
    torch.testing.assert_close(losses["unlabelled"], nn.functional.cross_entropy(logits, pseudo_label), rtol=1e-4, atol=1e-5)


def test_the_anchor_pulls_features_of_its_classes_only():
    method, batch = pixels(anchor=nn.Conv2d(1, 8, 3, stride=2, padding=1), anchor_layer="down.1", anchor_classes=[7])
    assert method.losses(batch)["anchor"] == 0
    method, batch = pixels(anchor=nn.Conv2d(1, 8, 3, stride=2, padding=1), anchor_layer="down.1", anchor_weight=1.0)
    assert method.losses(batch)["anchor"] > 0


def test_the_teachers_norm_may_be_that_of_the_batch():
    method, batch = pixels(teacher_norm="batch")
    running, batchwise = pixels()[0]._teacher_logits(batch["input"]), method._teacher_logits(batch["input"])
    assert not torch.allclose(running, batchwise)


def test_it_classifies_whole_samples_too():
    student = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    method = FST(student, num_classes=3, task="semi", mix="none")
    batch = {"input": torch.rand(6, 1, 2, 2), "labelled": {"input": torch.rand(2, 1, 2, 2), "label": torch.tensor([0, 2])}}
    assert set(method.losses(batch)) == {"labelled", "unlabelled"}


def test_wrong_options_are_refused():
    for wrong in ({"future": "past"}, {"task": "both"}, {"mix": "blend"}, {"virtual_steps": -1}, {"drop": 1.0}, {"anchor": nn.Identity()}):
        with pytest.raises(OptionError):
            FST(Scalar(), num_classes=2, **wrong)


def test_virtual_steps_refuse_accumulated_gradients():
    method = Quadratic(Scalar(), num_classes=2, future="deep")
    trainer = Trainer(method, Batches(Arrays({"input": torch.zeros(4, 1)}), 1), TrainOptions(epochs=1, batch_size=1, accelerator="cpu"))
    trainer.engine.begin(0.5, False)
    method.steps_done = 1
    with pytest.raises(OptionError, match="accumulate"):
        method.step({"input": torch.zeros(1, 1)}, trainer.engine)
