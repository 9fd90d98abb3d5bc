from __future__ import annotations

import dataclasses

import pytest
import torch

from tutelage import data, models
from tutelage.errors import OptionError
from tutelage.losses import epps_pulley
from tutelage.recipes.recipe import PretrainSetting
from tutelage.recipes.self_supervised import lejepa, points
from tutelage.train import Run


@pytest.fixture(scope="module")
def report():
    return lejepa.RECIPE().quick().run(Run(seeds=(0,), quick=True, name="lejepa"))


def test_the_small_run_trains_every_arm(report):
    trained = {"random init", "lambda 0", "lambda 0.02", "lambda 0.05", "averaged teacher", "averaged teacher, no SIGReg"}
    assert set(report.values) == trained | {"X, epps-pulley", "X, moments"}
    assert all("accuracy" in report.values[arm] for arm in trained)
    assert [picture.title for picture in report.pictures] == ["Points on an X"]


def test_the_small_run_shows_collapse_and_its_cure(report):
    for arm in ("lambda 0.02", "lambda 0.05"):
        assert report.mean(arm, "accuracy") - report.mean("lambda 0", "accuracy") > 6
        assert report.mean(arm, "accuracy") - report.mean("random init", "accuracy") > 4
        assert 0.8 < report.mean(arm, "embedding_std") < 1.15
        assert report.mean(arm, "effective_rank") > 1.5 * report.mean("lambda 0", "effective_rank")
    assert report.mean("lambda 0", "embedding_std") < 0.1


def test_the_x_is_whitened_and_far_from_normal_along_its_diagonals():
    x = points.x_points(100, 8, 0)
    torch.testing.assert_close(x.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.T @ x / 100, torch.eye(8), atol=1e-5, rtol=0)
    assert points.diagonal_statistic(x) > 2  # a Gaussian's expectation is 1.05, its standard deviation over draws about 0.8
    assert epps_pulley(x[:, 2:]).mean() < 1.05


@pytest.mark.parametrize("seed", [0, 1])
def test_sigreg_makes_the_x_vanish_and_a_penalty_of_variances_leaves_it(seed):
    start = points.x_points(60, 4, seed)
    before = points.diagonal_statistic(start)
    after = {
        t: points.diagonal_statistic(points.moved(start, t, slices=10, steps=200, rate=0.1, seed=seed)) for t in ("epps-pulley", "moments")
    }
    assert before / after["epps-pulley"] > 5
    assert after["moments"] / before > 0.9


def test_spearman_of_orders():
    a = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert lejepa.spearman(a, a**3) == pytest.approx(1)
    assert lejepa.spearman(a, -a) == pytest.approx(-1)
    assert lejepa.spearman(a, torch.tensor([1.0, 2.0, 4.0, 3.0])) == pytest.approx(0.8)


def setting(spec: str, **changes):
    images = data.Arrays({"input": torch.rand(30, 1, 16, 16), "label": torch.arange(30) % 3}, ("a", "b", "c"))
    network, width = models.backbone(spec, images.shape)
    train = dataclasses.replace(lejepa.PRETRAIN, batch_size=64)
    return dataclasses.replace(PretrainSetting(network, width, images, train, 0, Run(), 3), **changes)


def test_the_door_builds_views_projector_and_probe_from_the_options():
    options = lejepa.OPTIONS(local_views=2, hidden=(12,), width=5, predictor=7, online_probe=True, slices=9)
    method, batches = lejepa.pretrain(setting("tutelage:cnn?widths=4,8&grid=1"), options)
    losses = method.losses(batches.batch(0, 0))
    assert set(losses) == {"prediction", "sigreg", "probe"}
    seen = method.views(torch.rand(2, 1, 16, 16), None)
    assert tuple(seen.wide.shape) == (2, 2, 1, 16, 16)
    assert tuple(seen.narrow.shape) == (2, 2, 1, 7, 7)  # three sevenths
    assert method.predictor is not None
    assert method.projector(torch.rand(4, 8)).shape == (4, 5)
    assert batches.batch_size == 30  # no larger than the data


def test_the_door_takes_the_users_view():
    def view(images, generator):
        return images.flip(-1)

    method, _ = lejepa.pretrain(setting("tutelage:cnn?widths=4,8&grid=1", view=view), lejepa.OPTIONS(hidden=(8,)))
    images = torch.rand(2, 1, 16, 16)
    seen = method.views(images, None)
    assert len(seen) == 8
    assert torch.equal(seen.wide[3], images.flip(-1))


def test_a_backbone_that_does_not_take_small_crops_is_refused_with_the_cure():
    with pytest.raises(OptionError, match=r"views of 7x7 pixels.*--local-size 16"):
        lejepa.pretrain(setting("tutelage:vit?depth=1"), lejepa.OPTIONS())
    method, _ = lejepa.pretrain(setting("tutelage:vit?depth=1"), lejepa.OPTIONS(local_size=16))
    assert len(method.views(torch.rand(2, 1, 16, 16), None).groups()) == 1
