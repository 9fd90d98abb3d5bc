import json
from dataclasses import replace

import pytest

pytest.importorskip("minigrid")
pytest.importorskip("stable_baselines3")
pytest.importorskip("matplotlib")
from tutelage.errors import CheckpointError, OptionError
from tutelage.recipes.control.words_as_beacons import (
    NONE,
    NOREWARD,
    NOSUBGOAL,
    ORACLE,
    GridOptions,
    RoomsOptions,
    WordsAsBeaconsOptions,
    WordsAsBeaconsRecipe,
    right,
    world,
)
from tutelage.recipes.control.words_as_beacons_report import at, frames_to
from tutelage.train import Run

ROOMS = RoomsOptions(steps=2000, every=1000, students=1, accuracies=())
TINY = WordsAsBeaconsRecipe(rooms=ROOMS, grid=GridOptions(frames=4096, every=2048, models=("llama",), ablations=()))


def test_the_quick_recipe_shows_the_papers_effect():
    report = WordsAsBeaconsRecipe().quick().run(Run(seeds=(0, 1), quick=True))
    name = "rooms success at 60,000"
    assert report.mean(ORACLE, name) >= 0.9
    assert report.mean(NONE, name) <= 0.1
    assert report.mean(NOREWARD, name) <= 0.1
    assert report.mean(NONE, name) < report.mean(right(0.5), name) < report.mean(ORACLE, name)
    assert report.curves
    assert report.pictures
    assert all(claim.held for claim in report.claims)


def test_a_run_in_minigrid_is_taken_up_where_it_stopped(tmp_path):
    whole = TINY.run(Run(tmp_path / "a", seeds=(0,)))
    assert {picture.title for picture in whole.pictures} == {"Two rooms with their subgoals", f"A level of {TINY.grid.environment}"}
    assert len(whole.curves) == 2
    (tmp_path / "a" / "seed-0" / "Llama.json").unlink()
    kept = json.loads((tmp_path / "a" / "seed-0" / "oracle.json").read_text())
    assert kept[ORACLE]["steps"][-1] == 4096
    again = TINY.run(Run(tmp_path / "a", seeds=(0,), resume=True))
    assert again.values == whole.values
    (tmp_path / "a" / "seed-0" / "oracle.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        TINY.run(Run(tmp_path / "a", seeds=(0,), resume=True))


def test_arms_switch_parts_off():
    arms = GridOptions(ablations=("noreward", "nosubgoal"), options=WordsAsBeaconsOptions(kind="relative")).arms()
    assert arms[NONE]["teacher"] is None
    assert arms["Deepseek"]["noise"] == "deepseek"
    assert arms[NOREWARD]["noreward"]
    assert arms[NOSUBGOAL]["nosubgoal"]
    with pytest.raises(OptionError, match="Did you mean 'llama'"):
        GridOptions(models=("lama",)).arms()
    with pytest.raises(OptionError, match="No ablation"):
        GridOptions(ablations=("nothing",)).arms()


def test_mistakes_in_options_are_named():
    with pytest.raises(OptionError, match="MiniGrid-Nowhere-v0"):
        world("MiniGrid-Nowhere-v0")
    with pytest.raises(OptionError, match="divisor of 2,048"):
        replace(TINY, grid=replace(TINY.grid, environments=7)).run(Run(seeds=(0,)))
    with pytest.raises(OptionError, match="students is 0"):
        replace(TINY, rooms=replace(ROOMS, students=0)).run(Run(seeds=(0,)))
    with pytest.raises(OptionError, match="task 'DoorKey-6x6'"):
        replace(TINY, grid=replace(TINY.grid, environment="MiniGrid-DoorKey-6x6-v0")).method("Llama")


def test_measurements_by_step():
    curves = {"steps": [10.0, 20.0, 30.0], "success": [0.1, 0.9, 0.7]}
    assert [at(curves, when) for when in (5, 10, 25, 99)] == [0.1, 0.1, 0.9, 0.7]
    assert frames_to(curves, 0.8) == 20
    assert frames_to(curves, 0.95) is None
