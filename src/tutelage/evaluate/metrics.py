"""How good answers are: accuracy, calibration and proper scores of single-label classification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import ShapeError


def _checked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ShapeError(
            f"Got logits {tuple(logits.shape)} and labels {tuple(labels.shape)}; expected [N, C] and [N] with N of at least 1."
        )
    labels = labels.long()
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ShapeError(f"Labels run from {int(labels.min())} to {int(labels.max())}, but the logits have {logits.shape[1]} classes.")
    return logits.float(), labels


def nll(logits: Tensor, labels: Tensor) -> float:
    """Return the mean negative log-likelihood of the labels, in nats.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.
    """
    logits, labels = _checked(logits, labels)
    return float(F.cross_entropy(logits.double(), labels))


def brier(logits: Tensor, labels: Tensor) -> float:
    """Return the mean squared distance of the probabilities to the one-hot label, summed over classes: 0 (best) to 2.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.

    Source:
        Brier 1950, "Verification of forecasts expressed in terms of probability", equation 2.
    """
    logits, labels = _checked(logits, labels)
    gap = logits.double().softmax(1) - F.one_hot(labels, logits.shape[1])
    return float(gap.square().sum(1).mean())


def classification(logits: Tensor, labels: Tensor, *, bins: int = 15) -> dict[str, float]:
    """Return the measures that every report of a classifier shows.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.
        bins: equal-width confidence bins of the calibration error.

    Returns:
        `accuracy` (percent), `ece` (expected calibration error, 0 to 1), `nll` (nats) and `brier` (0 to 2).

    Raises:
        ShapeError: if the shapes or the range of the labels do not fit.

    Source:
        ECE: Guo et al. 2017, "On calibration of modern neural networks", equation 3.
    """
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

    logits, labels = _checked(logits, labels)
    # Probabilities, because torchmetrics would take logits that all lie in [0, 1] for probabilities.
    probabilities, classes = logits.softmax(1), logits.shape[1]
    return {
        "accuracy": 100.0 * float(multiclass_accuracy(probabilities, labels, classes, average="micro", validate_args=False)),
        "ece": float(multiclass_calibration_error(probabilities, labels, classes, n_bins=bins, norm="l1", validate_args=False)),
        "nll": nll(logits, labels),
        "brier": brier(logits, labels),
    }


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Return the mean over classes of the harmonic mean of precision and recall, in percent: rare classes count as much as frequent ones.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`; a class that is neither among them nor answered does not count.

    Raises:
        ShapeError: if the shapes or the range of the labels do not fit.
    """
    from torchmetrics.functional.classification import multiclass_f1_score

    logits, labels = _checked(logits, labels)
    return 100.0 * float(multiclass_f1_score(logits.argmax(1), labels, logits.shape[1], average="macro", validate_args=False))


def per_class(logits: Tensor, labels: Tensor, *, classes: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Return accuracy and number of samples of every true class.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.
        classes: C names; the classes' numbers by default.

    Returns:
        For each class `accuracy` (percent; NaN for a class without samples) and `count`.

    Raises:
        ShapeError: if the shapes, the labels or the number of names do not fit.
    """
    from torchmetrics.functional.classification import multiclass_accuracy

    logits, labels = _checked(logits, labels)
    names = [str(i) for i in range(logits.shape[1])] if classes is None else list(classes)
    if len(names) != logits.shape[1]:
        raise ShapeError(f"Got {len(names)} class names for logits with {logits.shape[1]} classes; give one name per class.")
    counts = labels.bincount(minlength=len(names))
    right = multiclass_accuracy(logits.argmax(1), labels, len(names), average="none", validate_args=False)
    return {
        name: {"accuracy": 100.0 * float(right[i]) if counts[i] else float("nan"), "count": float(counts[i])}
        for i, name in enumerate(names)
    }


def agreement(logits_a: Tensor, logits_b: Tensor) -> float:
    """Return on how many samples two models answer the same class, in percent.

    Args:
        logits_a: `[N, C]`.
        logits_b: `[N, C]`, for the same samples.

    Raises:
        ShapeError: if the shapes differ or there is no sample.
    """
    if logits_a.shape != logits_b.shape or logits_a.ndim != 2 or not len(logits_a):
        raise ShapeError(
            f"Got logits {tuple(logits_a.shape)} and {tuple(logits_b.shape)}; expected the same shape [N, C] with N of at least 1."
        )
    return 100.0 * float((logits_a.argmax(1) == logits_b.argmax(1)).double().mean())


def reliability(logits: Tensor, labels: Tensor, bins: int = 15) -> dict[str, list[float]]:
    """Return the table behind a reliability diagram: samples gathered by confidence.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.
        bins: equal-width bins of confidence; each holds its lower bound, the last also 1.

    Returns:
        Columns with one entry per bin: `lower` and `upper` bound, `count`, mean `confidence`, `accuracy` (0 to 1; both 0 in empty bins).

    Raises:
        ShapeError: if the shapes or the range of the labels do not fit.

    Source:
        Guo et al. 2017, "On calibration of modern neural networks", equations 1 and 2.
    """
    logits, labels = _checked(logits, labels)
    confidence, answer = logits.softmax(1).max(1)
    edges = torch.linspace(0, 1, bins + 1)
    place = torch.bucketize(confidence, edges.to(confidence), right=True).sub(1).clamp(0, bins - 1)
    count = place.bincount(minlength=bins).double()
    filled = count.clamp(min=1)
    confident = torch.zeros(bins, dtype=torch.float64, device=count.device).index_add_(0, place, confidence.double()) / filled
    right = torch.zeros(bins, dtype=torch.float64, device=count.device).index_add_(0, place, (answer == labels).double()) / filled
    columns = {"lower": edges[:-1], "upper": edges[1:], "count": count, "confidence": confident, "accuracy": right}
    return {name: column.tolist() for name, column in columns.items()}
