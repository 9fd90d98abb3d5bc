from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from tutelage import evaluate
from tutelage.errors import OptionError
from tutelage.evaluate.probe import Probe
from tutelage.recipes.self_supervised import obow, probing
from tutelage.train import Run


def part(count: int, seed: int) -> dict[str, torch.Tensor]:
    """Images of 16 pixels in noise; two of them say the class, faintly."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 2, (count,), generator=generator)
    pixels = torch.randn(count, 1, 4, 4, generator=generator)
    pixels[:, 0, 0, :2] += 1.5 * label[:, None]
    return {"input": pixels, "label": label}


NETWORK = nn.Flatten()
TRAIN, VALIDATION, TEST = part(60, 0), part(200, 1), part(200, 2)
PROBES = probing.candidates((1e-5, 0.1, 100.0))


def test_the_chosen_probe_is_the_best_on_validation_and_is_reported_on_test():
    values, chosen = probing.judge(NETWORK, TRAIN, VALIDATION, TEST, PROBES)
    four = [t for p in (TRAIN, VALIDATION) for t in (p["input"].flatten(1), p["label"])]
    worth = {name: probe(*four) for name, probe in PROBES.items()}
    assert len(set(worth.values())) > 1
    assert values["validation_accuracy"] == worth[chosen] == max(worth.values())
    other = (TEST["input"].flatten(1), TEST["label"])
    assert values["accuracy"] == PROBES[chosen](*four[:2], *other)
    assert values["knn"] == evaluate.nearest_neighbours(*four[:2], *other)


def test_test_data_take_no_part_in_the_choice():
    values, chosen = probing.judge(NETWORK, TRAIN, VALIDATION, TEST, PROBES)
    for other in (
        {"input": TEST["input"], "label": 1 - TEST["label"]},
        {"input": 100 * torch.randn(50, 1, 4, 4), "label": torch.zeros(50, dtype=torch.int64)},
        part(10, 3),
    ):
        changed, again = probing.judge(NETWORK, TRAIN, VALIDATION, other, PROBES)
        assert again == chosen
        assert changed["validation_accuracy"] == values["validation_accuracy"]
        assert changed["effective_rank"] == values["effective_rank"]


def test_only_the_chosen_probe_ever_sees_test_data():
    seen: list[tuple[str, bool]] = []

    def spy(name: str, worth: float) -> Probe:
        def probe(train: torch.Tensor, label: torch.Tensor, other: torch.Tensor, truth: torch.Tensor) -> float:
            seen.append((name, torch.equal(other, TEST["input"].flatten(1))))
            return worth

        return probe

    values, chosen = probing.judge(NETWORK, TRAIN, VALIDATION, TEST, {"a": spy("a", 1.0), "b": spy("b", 3.0), "c": spy("c", 2.0)})
    assert chosen == "b"
    assert values["accuracy"] == 3.0
    assert seen == [("a", False), ("b", False), ("c", False), ("b", True)]


def test_every_arm_of_obow_has_the_same_candidates(monkeypatch):
    offered: list[tuple[str, ...]] = []
    judge = probing.judge

    def record(network, train, validation, test, probes):
        offered.append(tuple(probes))
        assert not any(torch.equal(image, other) for image in validation["input"][:20] for other in test["input"])
        return judge(network, train, validation, test, {"penalty 0.01": probes["penalty 0.01"]})

    monkeypatch.setattr(probing, "judge", record)
    recipe = obow.RECIPE().quick()
    recipe = dataclasses.replace(
        recipe, train_size=128, validation_size=40, test_size=40, ablations=(), train=dataclasses.replace(recipe.train, epochs=1)
    )
    recipe = dataclasses.replace(recipe, options=dataclasses.replace(recipe.options, words=64))
    report = recipe.run(Run(seeds=(0,), quick=True, name="obow"))
    assert offered == [("penalty 1e-05", "penalty 0.0001", "penalty 0.001", "penalty 0.01", "penalty 0.1", "layer norm", "batch norm")] * 3
    assert "random init: penalty 0.01; OBoW: penalty 0.01; OBoW, averaged: penalty 0.01" in " ".join(report.notes)


def test_no_candidates_is_an_error():
    with pytest.raises(OptionError, match="no candidates"):
        probing.judge(NETWORK, TRAIN, VALIDATION, TEST, {})
