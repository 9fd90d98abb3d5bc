from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tutelage.errors import TrainingError
from tutelage.recipes.language import kdrl_lab
from tutelage.recipes.language.kdrl import ANNEALING, CONSTANT, GRPO, RKL, SFT, START, TEACHER, TOP_K, KDRLRecipe
from tutelage.train import Run

QUIET = Console(file=io.StringIO())


@pytest.mark.slow
def test_the_quick_recipe_shows_what_it_is_about(tmp_path):
    recipe = KDRLRecipe().quick()
    report = recipe.run(Run(tmp_path / "run", seeds=(0,), console=QUIET, name="kdrl"))
    start = report.mean(START, "accuracy")
    assert 20 < start < 60
    assert report.mean(TEACHER, "accuracy") > 70
    for arm in (GRPO, RKL, CONSTANT, ANNEALING):
        assert report.mean(arm, "accuracy") > start + 8, arm
    assert report.mean("bandit: both", "accuracy") > report.mean("bandit: reward alone", "accuracy") + 20
    assert report.mean("bandit: both", "accuracy") > report.mean("bandit: teacher alone", "accuracy") + 10
    assert report.mean("bandit: k3", "gradient_error") > report.mean("bandit: k2", "gradient_error") + 0.3
    # What was trained is read back, and the same numbers come out.
    again = recipe.run(Run(tmp_path / "run", seeds=(0,), resume=True, console=QUIET, name="kdrl"))
    assert again.values == report.values


def test_arms_differ_in_what_they_are_named_after():
    recipe = KDRLRecipe()
    base = recipe.arm(CONSTANT, 0.05)
    assert base == replace(recipe.options, beta=0.05)
    annealed = recipe.arm(ANNEALING, 0.05)
    total = recipe.epochs * recipe.steps
    assert annealed.beta - annealed.beta_fall * total * 2 / 7 == pytest.approx(annealed.beta_min)
    assert annealed.beta_min == pytest.approx(0.01)
    assert recipe.arm(GRPO, 0.05).signal == "reward"
    assert recipe.arm(RKL, 0.05).signal == "teacher"
    assert recipe.arm(TOP_K, 0.05).estimator == "top-k"


def tiny() -> KDRLRecipe:
    recipe = KDRLRecipe().quick()
    lab = replace(recipe.lab, student_width=16, teacher_width=16, teacher_layers=1, student_target=0.0, teacher_target=0.0, pretraining=80)
    small = {"questions": 60, "validation": 10, "test": 20, "epochs": 2, "steps": 2, "samples": 1, "lab": lab}
    return replace(recipe, **small, options=replace(recipe.options, group=2))


def test_samples_of_the_teacher_are_as_many_as_the_answers_of_other_arms():
    recipe = tiny()
    common = kdrl_lab.task(recipe, Run(None, console=QUIET))
    samples = kdrl_lab._samples(recipe, common, 0)
    assert len(samples) == recipe.epochs * recipe.steps * recipe.train.batch_size * recipe.options.group
    texts = [set(part.column("input")) for part in (common.train, common.validation, common.test)]
    assert not any(a & b for a in texts for b in texts if a is not b)


@pytest.mark.slow
def test_every_arm_runs_and_beta_is_chosen_on_the_first_seed(tmp_path):
    recipe = replace(tiny(), betas=(0.05, 0.2), arms=KDRLRecipe().arms)
    recipe = replace(recipe, lab=replace(recipe.lab, hard_target=-1.0))  # any student is weak enough
    report = recipe.run(Run(tmp_path / "run", seeds=(3, 4), console=QUIET, name="kdrl"))
    assert set(recipe.arms) <= set(report.values)
    assert sorted(path.name for path in (tmp_path / "run" / "seed-3" / "choose").iterdir()) == [
        "KDRL-0.05",
        "KDRL-0.2",
        "KDRL-Annealing-0.05",
        "KDRL-Annealing-0.2",
    ]
    assert not (tmp_path / "run" / "seed-4" / "choose").exists()
    assert any("beta was chosen among 0.05, 0.2" in note for note in report.notes)
    assert len(report.values[SFT]["accuracy"]) == 2
    assert {f"hard start: {arm}" for arm in (START, TEACHER, GRPO, RKL, CONSTANT)} <= set(report.values)
    # Two that are equal are not one above the other.
    better = [claim for claim in report.claims if " better than GRPO" in claim.text or "above" in claim.text or "k2 answers" in claim.text]
    assert len(better) == 5
    assert all(claim.at_least > 0 for claim in better)


def test_the_strict_task_asks_for_the_whole_trace():
    common = kdrl_lab.task(tiny(), Run(None, console=QUIET))
    strict = common.strict()
    row = {"prompt": strict.test.column("input")[0], "answer": strict.test.column("answer")[0]}
    trace = common.test.column("solution")[0]
    assert row["answer"] == trace
    assert strict.reward(trace, row) == 1
    assert strict.reward("#" + trace.partition("#")[2], row) == 0
    assert common.reward("#" + trace.partition("#")[2], {"answer": common.test.column("answer")[0]}) == 1


def test_a_target_out_of_reach_says_so():
    recipe = tiny()
    recipe = replace(recipe, lab=replace(recipe.lab, teacher_target=100.0, rounds=1))
    with pytest.raises(TrainingError, match="give it more rounds"):
        kdrl_lab.task(recipe, Run(None, console=QUIET))
