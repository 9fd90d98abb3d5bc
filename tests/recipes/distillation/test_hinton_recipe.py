from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from tutelage import data
from tutelage.methods.distillation.hinton import Hinton
from tutelage.recipes.distillation import hinton
from tutelage.recipes.recipe import Setting
from tutelage.train import Run, TrainOptions


@pytest.fixture(scope="module")
def report():
    return hinton.RECIPE().quick().run(Run(seeds=(0,), quick=True, name="hinton"))


def test_the_small_run_trains_every_arm_of_every_seed(report):
    arms = {"teacher", "student alone", "student alone, own learning rate", "distilled", "soft targets only", "temperature 1"}
    arms |= {"small set, labels", "small set, soft targets", "class omitted, labels", "class omitted, soft targets"}
    assert set(report.values) == arms
    assert all(set(row["accuracy"]) == {0} for row in report.values.values())
    assert len(report.claims) == 8


def test_the_small_run_shows_what_soft_targets_carry(report):
    def gain(arm: str, versus: str, metric: str) -> float:
        return report.mean(arm, metric) - report.mean(versus, metric)

    # Over seeds 0 to 4 the gains were 2.4 to 3.0 points, 3.9 to 7.8 points, and 64 to 94 points of recall.
    assert gain("distilled", "student alone", "accuracy") > 1
    assert gain("small set, soft targets", "small set, labels", "accuracy") > 2
    assert gain("class omitted, soft targets", "class omitted, labels", "omitted_recall_shifted") > 40


def test_best_shift_finds_the_smallest_of_the_best():
    logits = torch.tensor([[0.0, 1.0], [0.0, 3.0], [0.0, -0.5]])
    label = torch.tensor([0, 1, 0])
    # Class 0 wins the first row from a shift just above 1 and would take the second above 3.
    assert hinton.best_shift(logits, label, 0) == pytest.approx(1.0)
    assert hinton.recall(hinton.shift_class(logits, 0, 1.1), label, 0) == 100
    assert hinton.recall(logits, label, 0) == 50
    assert logits[0].tolist() == [0, 1]


def test_the_door_of_distil_freezes_the_given_teacher_and_passes_the_options():
    torch.manual_seed(0)
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    arrays = data.Arrays({"input": torch.randn(30, 4), "label": torch.arange(30) % 3}, ("a", "b", "c"))
    setting = Setting(teacher, student, data.DataSet("toy", arrays, arrays, arrays), TrainOptions(batch_size=10), 0, Run())
    method, batches = hinton.distil(setting, hinton.OPTIONS(temperature=2.0, alpha=0.5))
    assert isinstance(method, Hinton)
    assert (method.temperature, method.alpha) == (2.0, 0.5)
    assert method.student is student
    assert not any(p.requires_grad for p in teacher.parameters())
    assert len(batches) == 3


def test_alpha_zero_trains_the_student_exactly_as_alone():
    recipe = dataclasses.replace(hinton.RECIPE().quick(), alphas=(0.0,), temperatures=(), train=TrainOptions(epochs=1))
    report = recipe.run(Run(seeds=(0,), quick=True))
    assert report.values["alpha 0"]["nll"] == pytest.approx(report.values["student alone"]["nll"], abs=1e-5)
