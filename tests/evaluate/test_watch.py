from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage import evaluate
from tutelage.data import Arrays, Batches
from tutelage.errors import DataError, OptionError, ShapeError
from tutelage.evaluate import Watch
from tutelage.train import Supervised, Trainer, TrainOptions


class Holder(nn.Module):
    """Stands for a method."""

    def __init__(self, student, projector=None):
        super().__init__()
        self.student = student
        self.projector = projector


def clusters(number=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(number) % 3
    return Arrays({"input": torch.eye(8)[label] * 4 + torch.randn(number, 8, generator=generator), "label": label}, ("a", "b", "c"))


def test_it_measures_collapse_and_probes():
    found = Watch(clusters(), clusters(90, seed=1), probe=True)(Holder(nn.Identity()))
    assert set(found) == {"feature_std", "effective_rank", "rank_me", "knn", "probe"}
    assert found["knn"] > 90
    assert found["probe"] > 90
    assert found["effective_rank"] > 6
    collapsed = Watch(clusters(), clusters(90, seed=1))(Holder(nn.Sequential(nn.Linear(8, 1), nn.Linear(1, 5))))
    assert collapsed["effective_rank"] < 1.1
    constant = Watch(clusters())(Holder(nn.Threshold(1e9, 2.0)))
    assert constant["feature_std"] == 0
    assert constant["rank_me"] == pytest.approx(1)


def test_it_watches_embeddings_where_it_is_shown_them():
    watch = Watch(clusters(), embedding=lambda m: nn.Sequential(m.student, m.projector))
    found = watch(Holder(nn.Identity(), nn.Linear(8, 2)))
    assert found["embedding_rank"] <= 2
    assert set(found) == {"feature_std", "effective_rank", "rank_me", "embedding_std", "embedding_rank"}


def test_it_takes_evenly_spaced_samples_up_to_its_limit():
    watch = Watch(clusters(300), limit=100)
    assert torch.equal(watch.images, clusters(300).columns["input"][::3])
    assert len(Watch(clusters(50), limit=100).images) == 50


def test_a_trainer_validates_with_it_and_gets_the_same_numbers_again():
    arrays = clusters()
    watch = Watch(arrays, clusters(90, seed=1), probe=True)
    method = Supervised(nn.Linear(8, 3))
    history = Trainer(method, Batches(arrays, 64), TrainOptions(epochs=2, accelerator="cpu"), validate=watch).fit()
    assert len(history.series("knn")) == len(history.series("effective_rank")) == 2
    assert watch(method) == {name: history.epochs[-1][name] for name in watch(method)}
    assert method.training


def test_what_cannot_be_watched_is_refused():
    bare = Arrays({"input": torch.rand(5, 2)})
    with pytest.raises(DataError, match="no labels"):
        Watch(bare, clusters())
    with pytest.raises(DataError, match="two or more"):
        Watch(Arrays({"input": torch.rand(1, 2)}))
    with pytest.raises(OptionError, match="knn=-1"):
        Watch(bare, knn=-1)


def test_a_trained_probe_tells_separate_classes_apart_and_is_seeded():
    train, test = clusters(), clusters(90, seed=1)
    parts = (train.columns["input"], train.labels, test.columns["input"], test.labels)
    assert evaluate.trained_probe(*parts, epochs=20) > 95
    assert evaluate.trained_probe(*parts, epochs=3) == evaluate.trained_probe(*parts, epochs=3)
    scaled = (1000 * parts[0], parts[1], 1000 * parts[2], parts[3])
    assert evaluate.trained_probe(*scaled, epochs=3) == pytest.approx(evaluate.trained_probe(*parts, epochs=3), abs=3)


def test_a_trained_probe_stops_before_it_undoes_a_collapse_as_the_best_one_does():
    # All that tells the classes apart is a thousandth of a large common part.
    parts = []
    for arrays in (clusters(600), clusters(300, seed=1)):
        common = torch.tensor([1.0, -1.0] * 4) * 1e3
        parts += [common + arrays.columns["input"], arrays.labels]
    assert evaluate.linear_probe(*parts) > 95
    assert evaluate.trained_probe(*parts, epochs=5) < 80


def test_a_trained_probe_trains_inside_a_validation():
    train, test = clusters(), clusters(90, seed=1)
    with torch.no_grad():
        assert evaluate.trained_probe(train.columns["input"], train.labels, test.columns["input"], test.labels, epochs=20) > 95


def test_a_trained_probe_refuses_what_does_not_fit():
    x, y = torch.rand(6, 2), torch.arange(6) % 2
    with pytest.raises(ShapeError):
        evaluate.trained_probe(x, y[:4], x, y)
    with pytest.raises(OptionError, match="epochs=0"):
        evaluate.trained_probe(x, y, x, y, epochs=0)
