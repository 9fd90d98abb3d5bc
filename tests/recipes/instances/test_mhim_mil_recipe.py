from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest
import torch

from tutelage import data
from tutelage.errors import DataError
from tutelage.recipes.instances import mhim_mil
from tutelage.recipes.instances.mhim_mil import AB, MHIM, RANDOM
from tutelage.train import Run


@pytest.fixture(scope="module")
def report():
    return mhim_mil.RECIPE().quick().run(Run(seeds=(0,), quick=True, name="mhim-mil"))


def test_the_small_run_has_its_arms_claims_and_curves(report):
    assert set(report.values) == {AB, RANDOM, MHIM}
    for row in report.values.values():
        assert {"auc_a", "auc_b", "accuracy_a", "f1_a", "easy_attention", "hard_attention", "lesser_attention"} <= set(row)
        assert all(math.isfinite(v) for values in row.values() for v in values.values())
    assert len(report.claims) == 5
    assert [curve.title for curve in report.curves][-1] == "Attention weights of a positive bag in falling order"


def test_masking_spreads_attention_over_both_kinds_and_finds_hard_positives_alone(report):
    # Over seeds 0 to 4: AUC +0.13, +0.36, +0.03, +0.32, +0.15; the lesser share of attention +15, +28, +2, +20, +12 percent.
    assert report.mean(MHIM, "auc_b") - report.mean(AB, "auc_b") >= 0.05
    assert report.mean(MHIM, "lesser_attention") - report.mean(AB, "lesser_attention") >= 1
    assert report.mean(MHIM, "auc_a") >= report.mean(AB, "auc_a") - 0.05


def test_the_arms_are_the_ablations_of_the_paper():
    arms = mhim_mil.RECIPE().arms()
    assert set(mhim_mil.RECIPE().quick().arms()) == {RANDOM, MHIM}
    ours = arms[MHIM]
    assert arms[RANDOM] == replace(ours, high_ratio=0.0)
    assert arms[mhim_mil.ITSELF] == replace(ours, teacher="student", alpha=0.0)
    assert arms[mhim_mil.FRESH].initialise == "front"
    assert len(arms) == 10


def test_presets_are_those_of_the_paper():
    recipe = replace(mhim_mil.RECIPE(), preset="tcga", model="trans-mil", data="x").preset_applied()
    assert (recipe.width, recipe.attention, recipe.initial, recipe.train.epochs, recipe.train.patience) == (512, 128, "xavier", 200, 20)
    assert (recipe.options.high_ratio, recipe.options.random_ratio, recipe.options.low_ratio, recipe.options.alpha) == (0.02, 0.6, 0.2, 0.5)
    gated = replace(mhim_mil.RECIPE(), preset="camelyon16", model="gated").preset_applied()
    assert gated.options == mhim_mil.OPTIONS()
    assert mhim_mil.RECIPE().preset_applied() == mhim_mil.RECIPE()


def slides(folder, count: int = 24):
    """A folder of the user's: positive slides hold a few instances far off."""
    generator = torch.Generator().manual_seed(0)
    (folder / "pt_files").mkdir(parents=True)
    lines = ["patient,slide,label"]
    for i in range(count):
        bag = torch.randn(10 + i, 8, generator=generator)
        bag[:3, 0] += 6 * (i // 2 % 2)
        torch.save(bag, folder / "pt_files" / f"s{i}.pt")
        lines.append(f"p{i // 2},s{i},{'tumor' if i // 2 % 2 else 'normal'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return f"{folder}?labels=labels.csv"


@pytest.mark.parametrize("model", ["ab-mil", "dsmil"])
def test_bags_of_the_users_are_cross_validated_and_every_bag_is_predicted_once(tmp_path, model):
    recipe = mhim_mil.RECIPE()
    recipe = replace(recipe, data=slides(tmp_path / "features"), model=model, folds=3, train=replace(recipe.train, epochs=8))
    found = recipe.run(Run(tmp_path / "run", seeds=(0,), name="mhim-mil"))
    plain = {"ab-mil": AB, "dsmil": mhim_mil.DS}[model]
    assert set(found.values) == {plain, RANDOM, MHIM}
    assert found.mean(MHIM, "auc") > {"ab-mil": 0.9, "dsmil": 0.6}[model]
    assert len(found.claims) == 1
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for arm in (plain, RANDOM, MHIM):
        assert sorted(row["bag"] for row in rows if row["arm"] == arm) == sorted(f"s{i}" for i in range(24))
    right = [row["label"] == row["prediction"] for row in rows if row["arm"] == MHIM]
    assert 100 * sum(right) / 24 == pytest.approx(found.mean(MHIM, "accuracy"))


def test_samples_that_are_no_bags_are_refused():
    arrays = data.Arrays({"input": torch.zeros(30, 4), "label": torch.arange(30) % 2}, ("a", "b"), "table")
    with pytest.raises(DataError, match=r"not bags: give a folder of features"):
        mhim_mil._whole(arrays)
