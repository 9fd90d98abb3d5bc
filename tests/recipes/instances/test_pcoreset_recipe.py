from __future__ import annotations

import dataclasses

import pytest
import torch

from tutelage.data import Arrays
from tutelage.data.fashion import SYSTEM
from tutelage.errors import OptionError
from tutelage.recipes.instances import pcoreset
from tutelage.recipes.instances.printed import turn
from tutelage.train import Run


@pytest.fixture(scope="module")
def report():
    return pcoreset.RECIPE().quick().run(Run(seeds=(0,), quick=True, name="pcoreset"))


def test_the_small_run_goes_through_every_round_of_every_arm(report):
    assert set(report.values) == {"zero-shot teacher", "pcoreset", "random", "pcoreset, no teacher", "random, no teacher"}
    assert all(report.values[arm]["labels"][0] == 30 for arm in report.values if arm != "zero-shot teacher")
    titles = {curve.title for curve in report.curves}
    assert titles == {
        "Test accuracy with a teacher",
        "Test accuracy without a teacher",
        "What the teacher speaks about",
        "Classes among the queries",
        "Rank by mean accuracy",
    }
    assert [picture.title for picture in report.pictures] == ["Where labels are asked"]
    first = [curve.y for curve in report.curves if curve.title.startswith("Test accuracy")]
    assert all(line[0] == next(iter(lines.values()))[0] for lines in first for line in lines.values())  # the first round is shared
    assert {"rank", "area", "late", "coverage"} <= set(report.values["pcoreset"])


def test_the_small_run_shows_what_a_teacher_is_worth(report):
    # Over seeds 0 to 2 the teacher is right on 59 to 62 percent, and worth 8.6 to 11.9 points over both rules.
    assert 45 < report.mean("zero-shot teacher", "accuracy") < 75
    gaps = [report.mean(rule, "early") - report.mean(f"{rule}, no teacher", "early") for rule in ("pcoreset", "random")]
    assert sum(gaps) / 2 > 5


def test_all_rules_and_ablations_are_arms():
    recipe = pcoreset.RECIPE()
    arms = recipe.arms()
    assert len(arms) == 14
    assert arms["pcoreset, few-shot teacher"] == (recipe.options, True)
    assert arms["entropy, no teacher"][0].distil == "none"
    assert arms["badge"][0].rule == "badge"


def test_half_of_each_class_is_turned_into_classes_of_their_own():
    images = torch.rand(40, 1, 4, 4)
    source = Arrays({"input": images, "label": torch.arange(40) % 2}, ("a", "b"))
    made = turn(source, 0, side=4, turned=True)
    assert made.classes == ("a", "b", "a turned", "b turned")
    assert torch.bincount(made.labels).tolist() == [10] * 4
    turned = made.labels >= 2
    assert torch.equal(made.labels % 2, source.labels)
    assert torch.equal(made.column("input")[~turned], images[~turned])
    assert torch.equal(made.column("input")[turned], images[turned].rot90(1, (2, 3)))
    halved = turn(source, 0, side=2, turned=False)
    torch.testing.assert_close(halved.column("input"), torch.nn.functional.avg_pool2d(images, 2))


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="system package dataset-fashion-mnist")
def test_the_real_teacher_teaches_zero_shot_and_few_shot_on_fashion_mnist(tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    recipe = dataclasses.replace(
        pcoreset.RECIPE().quick(),
        **{"teacher": "efficientnet-lite0", "data": "fashion-mnist", "side": 28, "lite0_size": 64},
        **{"pool": 60, "test": 100, "rounds": 2, "steps": 5, "alone": True, "ablations": True, "rules": ("pcoreset", "random")},
    )
    found = recipe.run(Run(seeds=(0,), quick=True, name="pcoreset"))
    assert found.mean("zero-shot teacher", "accuracy") > 20  # chance is 10
    assert found.values["pcoreset"]["labels"][0] == 20
    assert "pcoreset, few-shot teacher" in found.values


def test_the_real_teacher_says_which_data_it_is_for():
    with pytest.raises(OptionError, match="fashion-mnist"):
        pcoreset.RECIPE(teacher="efficientnet-lite0")._teacher(Run())
