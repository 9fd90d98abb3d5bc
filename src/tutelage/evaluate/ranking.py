"""Ranking metrics of multi-label classifiers: average precision per class, averaged within groups of classes, then over groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError


@dataclass(frozen=True)
class GroupedPrecision:
    """Average precision at three levels.

    Args:
        per_class: average precision of each class, float64 `[C]` in [0, 1]; NaN for a class without a positive sample.
        per_group: mean over the classes of each group that have one, float64 `[M]`; NaN for a group without such a class.
        mean: mean over the groups that have one, in [0, 1].
    """

    per_class: Tensor
    per_group: Tensor
    mean: float


def average_precision(scores: Tensor, targets: Tensor, *, counted: Tensor | None = None) -> Tensor:
    """Return the average precision of each class: the mean of the precision at each recall step.

    Samples of equal score enter together, so the result does not depend on their order.

    Args:
        scores: higher means more likely, `[N, C]`; only the order within a class matters.
        targets: 1 or True where the class is true, `[N, C]`.
        counted: samples that count for each class, bool `[N, C]`; all when `None`.

    Returns:
        float64 `[C]` in [0, 1]; NaN for a class without a positive sample among those counted.

    Raises:
        ShapeError: if the shapes differ, or a counted score is NaN.

    Source:
        The usual uninterpolated definition: `sum_k (R_k - R_(k-1)) P_k` over distinct thresholds k.
    """
    for name, value in (("targets", targets), ("counted", counted)):
        if value is not None and value.shape != scores.shape:
            raise ShapeError(f"`{name}` has shape {list(value.shape)}; expected that of the scores, {list(scores.shape)}.")
    if scores.ndim != 2:
        raise ShapeError(f"`scores` has shape {list(scores.shape)}; expected [N, C], one score per sample and class.")
    weight = torch.ones_like(scores, dtype=torch.float64) if counted is None else counted.double()
    if bool((scores.isnan() & (weight > 0)).any()):
        raise ShapeError("Some scores are NaN, which have no rank; check the model that gave them.")
    samples = len(scores)
    if samples == 0:
        return torch.full((scores.shape[1],), torch.nan, dtype=torch.float64)
    ranked, order = scores.sort(dim=0, descending=True)
    weight = weight.gather(0, order)
    positive = weight * targets.double().gather(0, order)
    precision = positive.cumsum(0) / weight.cumsum(0).clamp_min(1)
    # A sample's precision is read where its run of equal scores ends.
    rows = torch.arange(samples, device=scores.device).unsqueeze(1).expand_as(order)
    last = torch.ones_like(order, dtype=torch.bool)
    last[:-1] = ranked[:-1] != ranked[1:]
    end = torch.where(last, rows, samples - 1).flip(0).cummin(0).values.flip(0)
    return (positive * precision.gather(0, end)).sum(0) / positive.sum(0)


def interpolated_precision(scores: Tensor, targets: Tensor, *, counted: Tensor | None = None, points: int | None = 11) -> Tensor:
    """Return the interpolated average precision of each class, as the PASCAL VOC challenges define it.

    The interpolated precision at a recall is the best precision at that recall or a higher one. Samples of equal score enter together.

    Args:
        scores: higher means more likely, `[N, C]`; only the order within a class matters.
        targets: 1 or True where the class is true, `[N, C]`.
        counted: samples that count for each class, bool `[N, C]`; all when `None`.
        points: number of evenly spaced recalls from 0 to 1 over which it is averaged (11 until VOC 2009); `None` for the area under the
            interpolated curve (VOC 2010 and later).

    Returns:
        float64 `[C]` in [0, 1]; NaN for a class without a positive sample among those counted.

    Raises:
        ShapeError: if the shapes differ, or a counted score is NaN.
        OptionError: for fewer than 2 points.

    Source: Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 2010, section 4.2.
    """
    if points is not None and points < 2:
        raise OptionError(f"interpolated_precision got points={points}: expected at least 2, or None for the area.")
    known = ~average_precision(scores, targets, counted=counted).isnan()
    found = torch.full((scores.shape[1],), torch.nan, dtype=torch.float64)
    for c in known.nonzero()[:, 0].tolist():
        rows = torch.ones(len(scores), dtype=torch.bool, device=scores.device) if counted is None else counted[:, c].bool()
        ranked, order = scores[rows, c].sort(descending=True)
        hits = (targets[rows, c] > 0).long()[order].cumsum(0)
        last = torch.ones_like(hits, dtype=torch.bool)
        last[:-1] = ranked[:-1] != ranked[1:]
        taken = torch.arange(1, len(hits) + 1, device=hits.device)[last]
        hits = hits[last]
        best = (hits.double() / taken).flip(0).cummax(0).values.flip(0)
        if points is None:
            gained = torch.diff(hits, prepend=hits.new_zeros(1)).double() / hits[-1]
            found[c] = float((gained * best).sum())
        else:
            # Recalls are compared as whole numbers: hits / positives against j / (points - 1).
            wanted = torch.arange(points, device=hits.device) * hits[-1]
            found[c] = float(best[torch.searchsorted(hits * (points - 1), wanted)].mean())
    return found


def grouped_average_precision(scores: Tensor, targets: Tensor, groups: Tensor, *, members: Tensor | None = None) -> GroupedPrecision:
    """Return average precision per class, averaged within each group of classes and then over groups.

    Every group counts the same, whatever its number of classes, and models that know one group only can be compared on it.

    Args:
        scores: `[N, C]`.
        targets: 1 or True where the class is true, `[N, C]`.
        groups: group of each class, integers `[C]` from 0 to M - 1.
        members: bool `[N, M]`: a class is ranked over the samples of its group only; over all samples when `None`. A class that is true for
            every sample of its group then has an average precision of 1.

    Returns:
        The three levels.

    Raises:
        ShapeError: if the shapes do not fit.
    """
    if groups.shape != scores.shape[1:]:
        raise ShapeError(f"`groups` has shape {list(groups.shape)}; expected one group per class, {list(scores.shape[1:])}.")
    per_class = average_precision(scores, targets, counted=None if members is None else members.bool()[:, groups])
    known = ~per_class.isnan()
    number = int(groups.max()) + 1
    total = torch.zeros(number, dtype=torch.float64).index_add(0, groups[known].cpu(), per_class[known].cpu())
    per_group = total / torch.bincount(groups[known].cpu(), minlength=number)
    return GroupedPrecision(per_class, per_group, float(per_group.nanmean()))
