"""What features are worth on test data, by a probe that validation data choose: the same candidates and the same rule for every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from tutelage import evaluate
from tutelage.evaluate.probe import Probe


def candidates(penalties: Sequence[float]) -> dict[str, Probe]:
    """Return the linear probes that validation data choose from.

    Args:
        penalties: of the squared weights; each gives the best linear classifier under it.

    Returns:
        One probe of each penalty, and two that are trained for the published number of epochs: behind a layer norm (arXiv 2511.08544),
        and behind a batch norm (Places205).
    """
    best: dict[str, Probe] = {f"penalty {penalty:g}": partial(evaluate.linear_probe, weight_decay=penalty) for penalty in penalties}
    return best | {"layer norm": evaluate.trained_probe, "batch norm": partial(evaluate.trained_probe, **evaluate.PLACES205)}


def judge(
    network: nn.Module, train: Mapping[str, Any], validation: Mapping[str, Any], test: Mapping[str, Any], probes: Mapping[str, Probe]
) -> tuple[dict[str, float], str]:
    """Choose a probe of a network's features on validation data, then report it, and nearest neighbours, on test data.

    Args:
        network: answers features.
        train: one batch of all samples that probes are fitted on, with `input` and `label`.
        validation: those that choose.
        test: those that are only reported on.
        probes: the candidates.

    Returns:
        `accuracy` of the chosen probe, `knn` of 20 nearest neighbours, both on the test part in percent, `validation_accuracy` of the
        chosen probe, `effective_rank` of the training features; and the chosen probe's name.
    """
    found, label = _features(network, train)
    chosen, worth = evaluate.choose_probe(probes, found, label, *_features(network, validation))
    other, truth = _features(network, test)
    values = {
        "accuracy": probes[chosen](found, label, other, truth),
        "knn": evaluate.nearest_neighbours(found, label, other, truth),
        "validation_accuracy": worth,
        "effective_rank": evaluate.effective_rank(found),
    }
    return values, chosen


def _features(network: nn.Module, part: Mapping[str, Any]) -> tuple[Any, Any]:
    found = evaluate.features(network, part["input"])
    return found, part["label"].to(found.device)


def told(chosen: Mapping[str, Sequence[str]]) -> str:
    """Return a sentence that says which probe was chosen for each arm, seed by seed."""
    return (
        "Probes that validation data chose, seed by seed: " + "; ".join(f"{arm}: {', '.join(names)}" for arm, names in chosen.items()) + "."
    )
