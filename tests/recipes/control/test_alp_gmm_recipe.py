from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tutelage.environments.walker import STUMPS
from tutelage.errors import OptionError
from tutelage.methods.control.alp_gmm import ALPGMM
from tutelage.recipes.control.alp_gmm import ALPGMMOptions, ALPGMMRecipe, StudentOptions
from tutelage.recipes.find import module
from tutelage.teachers.curricula import RIAC, Oracle
from tutelage.train import Run
from tutelage.train.interrupt import Interrupted


def test_the_quick_form_shows_the_effect():
    recipe = replace(ALPGMMRecipe().quick(), poles_steps=0)
    report = recipe.run(Run(None, seeds=(0, 1, 2), quick=True))
    ours, chance = (report.mean(f"{name}, 3 irrelevant", "mastered") for name in ("alp-gmm", "random"))
    assert ours >= chance + 15
    assert set(report.values) == {f"{name}, 3 irrelevant" for name in recipe.teachers}
    assert report.curves[0].y.keys() == report.values.keys()


def test_a_toy_space_of_little_size_is_told_with_its_picture():
    recipe = ALPGMMRecipe(cells=4, episodes=2500, irrelevant=0, poles_steps=0)
    report = recipe.run(Run(None, seeds=(0, 1)))
    assert [p.title for p in report.pictures] == ["Where tasks are drawn over time"]
    assert len(report.claims) == 5
    assert report.mean("alp-gmm", "mastered") > report.mean("random", "mastered")


def test_poles_are_taught_to_ppo_and_filmed(tmp_path):
    recipe = ALPGMMRecipe(cells=0, irrelevant=0, poles_steps=2048, tests=6, video=True)
    report = recipe.run(Run(tmp_path, seeds=(0,)))
    assert set(report.values) == {"random, PPO", "alp-gmm, PPO"}
    assert len(list((tmp_path / "videos").glob("*before*.mp4"))) == len(list((tmp_path / "videos").glob("*after*.mp4"))) == 3
    assert [p.title for p in report.pictures][:2] == ["The student before its training", "The student after its training"]
    again = recipe.run(Run(tmp_path, seeds=(0,), resume=True))
    assert again.values == report.values


@pytest.mark.parametrize("space", ["stump-tracks", "hexagon-tracks"])
def test_walkers_are_taught_to_sac(space, tmp_path):
    student = StudentOptions(steps=400, every=200, hidden=(16,), batch_size=32, replay=1000, warmup=100)
    recipe = ALPGMMRecipe(space=space, body="short", tests=2, student=student, teachers=("random", "oracle", "alp-gmm"))
    report = recipe.run(Run(tmp_path, seeds=(0,)))
    assert set(report.values) == {"random", "oracle", "alp-gmm"}
    assert report.values["alp-gmm"]["mastered"][0] == 0
    assert report.claims[-1].value == 0


def test_teachers_get_the_options_they_have():
    recipe = ALPGMMRecipe()
    ours = recipe.teacher("alp-gmm", STUMPS, 3, ALPGMMOptions(fit_rate=90, most=5, scale=True), (-150, 350))
    assert isinstance(ours, ALPGMM)
    assert (ours.fit_rate, ours.components, ours.scale, ours.value_range) == (90, (2, 3, 4, 5), True, (-150, 350))
    oracle = recipe.teacher("oracle", STUMPS, 0, ALPGMMOptions(), (-150, 350))
    assert isinstance(oracle, Oracle)
    assert oracle.value_range is None  # it sees raw returns
    np.testing.assert_allclose(oracle.step, [0.1, -0.2])
    riac = recipe.teacher("riac", STUMPS, 0, ALPGMMOptions(), (-150, 350))
    assert isinstance(riac, RIAC)
    assert riac.value_range == (-150, 350)


@pytest.mark.parametrize(
    "options",
    [
        {"teachers": ("random", "oracle", "alp-gmm")},
        {"teachers": ("alp-gmm", "riac")},
        {"cells": 0, "irrelevant": 0, "poles_steps": 0},
        {"video": True},
        {"space": "stump-tracks", "highest_tested": 9.0, "student": StudentOptions(steps=10)},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(OptionError):
        ALPGMMRecipe(**options).run(Run(None))


def test_an_interrupted_toy_run_goes_on(tmp_path, monkeypatch):
    from tutelage.environments import ToySpace

    recipe = ALPGMMRecipe(cells=4, episodes=1200, irrelevant=0, poles_steps=0, teachers=("random", "alp-gmm"))
    whole = recipe.run(Run(tmp_path / "whole", seeds=(0,)))
    visit, count = ToySpace.visit, []

    def stopped(self, task):
        count.append(1)
        if len(count) == 1900:
            raise Interrupted("stop")
        return visit(self, task)

    monkeypatch.setattr(ToySpace, "visit", stopped)
    with pytest.raises(Interrupted):
        recipe.run(Run(tmp_path / "broken", seeds=(0,)))
    monkeypatch.setattr(ToySpace, "visit", visit)
    again = recipe.run(Run(tmp_path / "broken", seeds=(0,), resume=True))
    assert again.values == whole.values
    assert again.curves == whole.curves


def test_the_catalog_finds_it():
    assert module("alp-gmm").RECIPE is ALPGMMRecipe
