from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from tutelage import data, evaluate
from tutelage.errors import DataError, OptionError
from tutelage.evaluate.trained_probe import _factor


@pytest.fixture(scope="module")
def digits():
    sets = pytest.importorskip("sklearn.datasets")
    x, y = sets.load_digits(return_X_y=True)
    x, y = torch.tensor(x).float(), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:800]], y[order[:800]], x[order[800:]], y[order[800:]]


def test_published_probes_learn(digits):
    assert evaluate.trained_probe(*digits, **{**evaluate.PLACES205, "batch_size": 32}) > 93
    x, y, test, truth = digits
    assert evaluate.trained_probe(x / 64, y, test / 64, truth, **{**evaluate.IMAGENET, "epochs": 30}) > 90


def test_a_batch_norm_makes_the_scale_of_each_feature_irrelevant(digits):
    x, y, test, truth = digits
    alive = x.std(0) > 1  # the norm's eps would show in features that hardly vary
    x, test = x[:, alive], test[:, alive]
    scale = torch.logspace(0, 2, x.shape[1])
    options = {**evaluate.PLACES205, "epochs": 3, "batch_size": 50}
    plain, scaled = (evaluate.trained_probe(x * s, y, test * s, truth, **options) for s in (1.0, scale))
    assert scaled == pytest.approx(plain, abs=0.11)  # one of 997
    without = {**options, "norm": "none", "learning_rate": 1e-4}
    plain, scaled = (evaluate.trained_probe(x * s, y, test * s, truth, **without) for s in (1.0, scale))
    assert abs(plain - scaled) > 5


def test_the_published_probe_is_the_published_module(digits):
    """The same steps with torch's own modules, as the authors compose them."""
    x, y, test, truth = digits
    options = {**evaluate.PLACES205, "epochs": 4, "decay": (2, 3), "batch_size": 100}
    generator = torch.Generator().manual_seed(5)
    linear = nn.Linear(64, 10)
    nn.init.zeros_(linear.bias)
    linear.weight.data.uniform_(-(64**-0.5), 64**-0.5, generator=generator)
    model = nn.Sequential(nn.BatchNorm1d(64, affine=False), linear)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3], 0.1)
    for _ in range(4):
        for rows in torch.randperm(800, generator=generator).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        schedule.step()
    theirs = 100 * float((model.eval()(test).argmax(1) == truth).float().mean())
    assert evaluate.trained_probe(*digits, **options, seed=5) == pytest.approx(theirs, abs=1e-4)


def test_the_learning_rate_falls_as_stated():
    assert [_factor((10, 20), epoch, 28) for epoch in (0, 9, 10, 19, 20, 27)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert [_factor("cosine", epoch, 100) for epoch in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    assert _factor((), 99, 100) == 1


def test_the_last_sample_of_an_odd_number_is_no_batch_of_its_own():
    x, y = torch.randn(9, 3), torch.arange(9) % 2
    evaluate.trained_probe(x, y, x, y, norm="batch", epochs=1, batch_size=4)
    with pytest.raises(DataError, match="two samples"):
        evaluate.trained_probe(x[:1], y[:1], x, y, norm="batch")
    for wrong in ({"norm": "group"}, {"optimizer": "Adam"}, {"decay": "linear"}, {"momentum": 1.0}, {"norm": "batch", "batch_size": 1}):
        with pytest.raises(OptionError):
            evaluate.trained_probe(x, y, x, y, **wrong)


def test_validation_chooses_the_probe_and_the_first_of_equals(digits):
    x, y, test, truth = digits
    penalties = {f"{d}": functools.partial(evaluate.linear_probe, weight_decay=d) for d in (1e-3, 10.0)}
    name, worth = evaluate.choose_probe(penalties, x[:400], y[:400], x[400:], y[400:])
    assert name == "0.001"
    assert worth == evaluate.linear_probe(x[:400], y[:400], x[400:], y[400:], weight_decay=1e-3)
    assert evaluate.choose_probe({"a": lambda *_: 1.0, "b": lambda *_: 1.0}, x, y, test, truth) == ("a", 1.0)
    with pytest.raises(OptionError, match="no candidates"):
        evaluate.choose_probe({}, x, y, test, truth)


def test_features_of_samples_are_those_of_their_inputs():
    images = torch.randint(0, 256, (10, 1, 4, 4), dtype=torch.uint8)
    arrays = data.Arrays({"input": images, "label": torch.zeros(10, dtype=torch.int64)}, ("a",))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    torch.testing.assert_close(evaluate.features(model, arrays, batch_size=4), evaluate.features(model, images.float() / 255))
