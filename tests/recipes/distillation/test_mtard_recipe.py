from __future__ import annotations

import copy
import inspect
import io
from dataclasses import fields, replace

import pytest
import torch
from rich.console import Console
from torch import nn

from tutelage import data, schedules
from tutelage.errors import DataError, OptionError
from tutelage.methods.distillation.mtard import MTARD
from tutelage.recipes.distillation import mtard
from tutelage.recipes.recipe import Setting
from tutelage.train import Run, TrainOptions


@pytest.fixture(scope="module")
def report():
    return mtard.RECIPE().quick().run(Run(seeds=(0,), quick=True, name="mtard"))


def difference(report, metric: str, arm: str, versus: str) -> float:
    return report.mean(arm, metric) - report.mean(versus, metric)


def test_the_small_run_has_every_arm_and_metric(report):
    arms = {mtard.CLEAN_TEACHER, mtard.ROBUST_TEACHER, mtard.TRAINED, mtard.ROBUST_ONLY, mtard.EQUAL, mtard.WEIGHTED, mtard.FULL}
    assert set(report.values) == arms
    for row in report.values.values():
        assert {"clean", "fgsm", "pgd_sat", "pgd_trades", "cw", "w_pgd_sat"} <= set(row)
        assert row["w_pgd_sat"][0] == pytest.approx((row["clean"][0] + row["pgd_sat"][0]) / 2)
    assert len(report.claims) == 7
    assert len(report.curves) == 4


def test_two_teachers_buy_clean_accuracy_without_losing_robustness(report):
    # Over seeds 0 to 4: clean +5.2 to +7.2, W +2.2 to +4.5.
    assert difference(report, "clean", mtard.FULL, mtard.ROBUST_ONLY) >= 2
    assert difference(report, "w_pgd_sat", mtard.FULL, mtard.ROBUST_ONLY) >= 1
    assert difference(report, "pgd_sat", mtard.ROBUST_TEACHER, mtard.CLEAN_TEACHER) >= 10


def test_the_balances_do_their_work(report):
    # Over seeds 0 to 4: temperatures 1.44 apart, the entropies' gap smaller by 1.40 to 1.52.
    values = {claim.text: claim.value for claim in report.claims}
    assert values["The clean teacher ends warmer than the robust one."] > 1.2
    assert values["The teachers' entropies end closer to each other than they began, as |H_adv / H_nat - 1|."] > 1.0


def test_the_options_are_the_keyword_arguments_of_the_method_with_its_defaults():
    parameters = inspect.signature(MTARD).parameters
    keywords = {name: p.default for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert {field.name for field in fields(mtard.OPTIONS)} == set(keywords)
    assert {f.name: f.default for f in fields(mtard.OPTIONS) if f.name != "robust_teacher"} == {
        name: default for name, default in keywords.items() if name != "robust_teacher"
    }


# ---- the door for the user's own models ----


def setting(teacher: nn.Module | None = None, *, low: float = 0.0, console: Console | None = None, **train) -> Setting:
    torch.manual_seed(0)
    x = torch.rand(60, 1, 4, 4) * (1 - low) + low
    arrays = data.Arrays({"input": x, "label": torch.arange(60) % 3}, ("a", "b", "c"), "toy")
    teacher = teacher or nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    student = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    options = TrainOptions(**({"epochs": 1, "batch_size": 20, "accelerator": "cpu"} | train))
    return Setting(teacher, student, data.DataSet("toy", arrays, arrays, arrays), options, 0, Run(console=console))


def test_without_a_robust_teacher_a_copy_of_the_clean_one_is_tuned_and_that_is_said():
    console = Console(file=io.StringIO(), width=200)
    given = setting(console=console)
    before = copy.deepcopy(given.teacher.state_dict())
    method, batches = mtard.distil(given, mtard.OPTIONS(eps=0.1, attack_steps=2))
    assert isinstance(method, MTARD)
    assert method.student is given.student
    assert method.clean_teacher.model is given.teacher
    said = console.file.getvalue()
    assert "a copy of the teacher is first trained on attacked inputs" in said
    assert "--no-divide-by-classes" in said
    assert all(torch.equal(before[name], value) for name, value in given.teacher.state_dict().items())
    assert not torch.equal(method.robust_teacher.model[1].weight, given.teacher[1].weight)
    assert method.adversary.eps == 0.1
    history = given.run.train("distil", method, batches, given.train)
    assert history.steps == 3


def test_a_frozen_teacher_is_tuned_in_a_copy_that_can_learn():
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).requires_grad_(False)
    method, _ = mtard.distil(setting(teacher), mtard.OPTIONS(eps=0.1, attack_steps=1))
    assert not torch.equal(method.robust_teacher.model[1].weight, teacher[1].weight)


def test_a_robust_teacher_can_be_named():
    given = setting()
    method, _ = mtard.distil(given, mtard.OPTIONS(robust_teacher="tutelage:mlp", attack_steps=1))
    assert method.robust_teacher.model is not given.teacher
    assert method.robust_teacher(given.data.train.gather()["input"]).shape == (60, 3)


def test_both_rates_fall_where_the_learning_rate_does():
    given = setting(schedule="step", milestones=(0.7, 0.9), gamma=0.1)
    method, _ = mtard.distil(given, mtard.OPTIONS(attack_steps=1))
    for rate, start in [(method.temperature_rate, 0.001), (method.weight_rate, 0.025)]:
        assert [schedules.value(rate, p) for p in (0.0, 0.7, 0.95)] == pytest.approx([start, start / 10, start / 100])


def test_inputs_outside_the_range_and_teachers_that_cannot_be_tuned_are_refused():
    with pytest.raises(DataError, match=r"inputs in \[0, 1\]"):
        mtard.distil(setting(low=-1.0), mtard.OPTIONS())

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :3]

    with pytest.raises(OptionError, match="--robust-teacher"):
        mtard.distil(setting(Fixed()), mtard.OPTIONS())
    text = data.Arrays({"input": ["a", "b", "c"], "label": torch.arange(3)}, ("a", "b", "c"), "words")
    with pytest.raises(DataError, match="MTARD takes images"):
        mtard.distil(replace(setting(), data=data.DataSet("words", text, text, text)), mtard.OPTIONS())
