"""How well bags are told apart: AUC, and accuracy and F1 at a threshold that other data have chosen."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError

Criterion = Literal["youden", "accuracy", "f1"]


def _checked(scores: Tensor, labels: Tensor, *, both: bool) -> tuple[Tensor, Tensor]:
    if scores.ndim != 1 or scores.shape != labels.shape or not len(scores):
        raise ShapeError(f"Got scores {list(scores.shape)} and labels {list(labels.shape)}; expected [N] each with N of at least 1.")
    if bool(scores.isnan().any()):
        raise ShapeError("Some scores are NaN, which have no rank; check the model that gave them.")
    positive = labels.bool()
    if both and (bool(positive.all()) or not bool(positive.any())):
        only = "positive" if bool(positive[0]) else "negative"
        raise ShapeError(f"All {len(labels)} bags are {only}: expected bags of both kinds.")
    return scores.double().cpu(), positive.cpu()


def auc(scores: Tensor, labels: Tensor) -> float:
    """Return the area under the ROC curve: how often a positive scores above a negative, ties counting half.

    Args:
        scores: higher means more likely positive, `[N]`.
        labels: 1 or True where positive, `[N]`.

    Returns:
        0 to 1.

    Raises:
        ShapeError: if the shapes differ, a score is NaN, or only one kind is there.

    Source: the Mann-Whitney statistic, Hanley and McNeil 1982.
    """
    values, positive = _checked(scores, labels, both=True)
    _, group, size = torch.unique(values, return_inverse=True, return_counts=True)
    # Equal scores share the mean of their ranks.
    rank = (size.cumsum(0).double() - (size - 1) / 2)[group]
    count = int(positive.sum())
    return float((rank[positive].sum() - count * (count + 1) / 2) / (count * (len(values) - count)))


def multiclass_auc(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean over classes of the AUC of each class against all others; with two classes the AUC of class 1.

    Args:
        probabilities: `[N, C]`, or any scores whose order matters.
        labels: int64 `[N]`.

    Returns:
        0 to 1.

    Raises:
        ShapeError: if the shapes do not fit or a class has no sample.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ShapeError(f"Got probabilities {list(probabilities.shape)}; expected [N, C] with C of at least 2.")
    if probabilities.shape[1] == 2:
        return auc(probabilities[:, 1] - probabilities[:, 0], labels)
    areas = [auc(probabilities[:, c], labels == c) for c in range(probabilities.shape[1])]
    return sum(areas) / len(areas)


def best_threshold(scores: Tensor, labels: Tensor, *, criterion: Criterion = "youden") -> float:
    """Return the threshold at which a criterion is best; of several the highest. Choose it on validation data.

    Args:
        scores: `[N]`, higher means more likely positive.
        labels: 1 or True where positive, `[N]`.
        criterion: `"youden"`: true-positive less false-positive rate (default); `"accuracy"`; `"f1"`.

    Returns:
        The threshold: the middle between the scores on its two sides, so that a score of new data at or above it is positive.

    Raises:
        OptionError: for an unknown criterion.
        ShapeError: if the shapes differ, a score is NaN, or only one kind is there.

    Source: Youden, Index for rating diagnostic tests, 1950.
    """
    values, positive = _checked(scores, labels, both=True)
    levels, group = torch.unique(values, return_inverse=True)
    # Predicted positive at each level: all samples of at least that score.
    hits = torch.zeros(len(levels), dtype=torch.float64).index_add(0, group, positive.double()).flip(0).cumsum(0).flip(0)
    alarms = torch.zeros(len(levels), dtype=torch.float64).index_add(0, group, (~positive).double()).flip(0).cumsum(0).flip(0)
    good, bad = float(positive.sum()), float((~positive).sum())
    measures = {
        "youden": hits / good - alarms / bad,
        "accuracy": (hits + bad - alarms) / (good + bad),
        "f1": 2 * hits / (hits + alarms + good),
    }
    if criterion not in measures:
        raise OptionError(f"criterion is '{criterion}'; expected 'youden', 'accuracy' or 'f1'.")
    value = measures[criterion]
    best = int((value >= value.max() - 1e-12).nonzero().max())
    return float(levels[best] if best == 0 else (levels[best] + levels[best - 1]) / 2)


def at_threshold(scores: Tensor, labels: Tensor, threshold: float) -> dict[str, float]:
    """Return accuracy and F1 of calling positive what scores at least a threshold.

    Args:
        scores: `[N]`.
        labels: 1 or True where positive, `[N]`.
        threshold: in units of the scores.

    Returns:
        `accuracy` (percent) and `f1` (0 to 1; 0 without a true positive).

    Raises:
        ShapeError: if the shapes differ or a score is NaN.
    """
    values, positive = _checked(scores, labels, both=False)
    called = values >= threshold
    hits = float((called & positive).sum())
    wrong = float((called != positive).sum())
    return {"accuracy": 100.0 * float((called == positive).double().mean()), "f1": 2 * hits / max(2 * hits + wrong, 1.0)}


def margin(logits: Tensor) -> Tensor:
    """Return the logit of class 1 above that of class 0, `[N]` of `[N, 2]`: the score of a positive bag.

    Raises:
        ShapeError: if there are not two classes.
    """
    if logits.ndim != 2 or logits.shape[1] != 2:
        raise ShapeError(f"Got logits {list(logits.shape)}; expected [N, 2]: a threshold needs two classes.")
    return logits[:, 1] - logits[:, 0]


def bag_metrics(logits: Tensor, labels: Tensor, *, threshold: float | None = None) -> dict[str, float]:
    """Return AUC, accuracy and F1 of bags.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.
        threshold: of the margin between two classes, chosen on validation data by `best_threshold`; `None` predicts the highest logit.

    Returns:
        `auc` (0 to 1; over several classes the mean one-against-rest), `accuracy` (percent) and `f1` (0 to 1; over several classes the
        mean).

    Raises:
        ShapeError: if the shapes do not fit, or a class is missing.
    """
    area = multiclass_auc(logits.softmax(1) if logits.shape[-1] > 2 else logits, labels)
    if logits.shape[1] == 2:
        return {"auc": area} | at_threshold(margin(logits), labels, 0.0 if threshold is None else threshold)
    called = logits.argmax(1)
    each = [at_threshold((called == c).double(), labels == c, 0.5)["f1"] for c in range(logits.shape[1])]
    return {"auc": area, "accuracy": 100.0 * float((called == labels).double().mean()), "f1": sum(each) / len(each)}
