"""Linear support vector machines on frozen features: the classification of PASCAL VOC 2007 as papers report it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import DataError, OptionError, ShapeError, optional
from tutelage.evaluate.ranking import interpolated_precision

COSTS = (0.05, 0.1, 0.3, 0.5, 1.0, 3.0, 5.0)
"""Costs that are tried; from 0.05 to 5 as in OBoW (CVPR 2021), the steps between are ours."""


@dataclass(frozen=True)
class SvmPrecision:
    """What one support vector machine for each class is worth.

    Args:
        mean: mean average precision over the classes that the test part has, in percent.
        per_class: average precision of each class, float64 `[C]` in percent; NaN for a class without a positive test sample.
        costs: the cost that was chosen for each class.
    """

    mean: float
    per_class: Tensor
    costs: tuple[float, ...]


def svm_precision(
    train: Tensor,
    train_targets: Tensor,
    test: Tensor,
    test_targets: Tensor,
    *,
    train_counted: Tensor | None = None,
    test_counted: Tensor | None = None,
    costs: Sequence[float] = COSTS,
    folds: int = 3,
    points: int | None = 11,
    max_iter: int = 2000,
    seed: int = 0,
) -> SvmPrecision:
    """Fit a linear support vector machine for each class on frozen features of several labels each, and rank the test samples.

    Features are brought to length 1; positives weigh twice; the cost of each class is that of the best mean average precision over folds of
    the training part. The test part takes no part in that.

    Args:
        train: features `[N, D]`, of `trainval` in the case of VOC 2007.
        train_targets: 1 or True where the class is shown, `[N, C]`.
        test: features `[M, D]`.
        test_targets: `[M, C]`.
        train_counted: bool `[N, C]`, samples that count for each class; all when `None`. What is not counted (difficult objects) is left
            out; the published code takes it for negative in training.
        test_counted: bool `[M, C]`, the same for the test part.
        costs: costs to choose from.
        folds: of the cross-validation, stratified; at least 2.
        points: recalls at which precision is interpolated; `None` for the area under the interpolated curve, which the code of Goyal et al.
            reports.
        max_iter: iterations of each fit at most.
        seed: of the solver.

    Returns:
        The precision of each class, its mean, and the chosen costs.

    Raises:
        ShapeError: if features and targets do not fit.
        DataError: if features are not finite, or a class has fewer positive or negative training samples than there are folds.
        OptionError: for numbers out of range.
        MissingExtra: if scikit-learn is not installed.

    Source: Goyal, Mahajan, Gupta, Misra, Scaling and benchmarking self-supervised visual representation learning, ICCV 2019, section 6.1.
    """
    if not costs or min(costs) <= 0 or folds < 2 or max_iter < 1:
        raise OptionError(f"svm_precision got costs={costs}, folds={folds}, max_iter={max_iter}: expected positive ones, at least 2 folds.")
    for part, x, targets, counted in (("train", train, train_targets, train_counted), ("test", test, test_targets, test_counted)):
        _check(part, x, targets, counted, train.shape[-1], train_targets.shape[-1])
    unit, others = _unit(train), _unit(test)
    scores, chosen = [], []
    for c in range(train_targets.shape[1]):
        rows = torch.ones(len(train), dtype=torch.bool) if train_counted is None else train_counted[:, c].bool().cpu()
        labels = (train_targets[:, c].cpu() > 0)[rows].numpy().astype(int)
        if not folds <= int(labels.sum()) <= len(labels) - folds:
            raise DataError(
                f"Class {c} has {int(labels.sum())} positive and {len(labels) - int(labels.sum())} negative training samples: "
                f"cross-validation in {folds} folds needs at least {folds} of each."
            )
        machine, cost = _fit(unit[rows.numpy()], labels, costs, folds, max_iter, seed)
        scores.append(torch.from_numpy(machine.decision_function(others)))
        chosen.append(cost)
    counted = None if test_counted is None else test_counted.cpu()
    per_class = 100 * interpolated_precision(torch.stack(scores, 1), test_targets.cpu() > 0, counted=counted, points=points)
    return SvmPrecision(float(per_class.nanmean()), per_class, tuple(chosen))


def _unit(features: Tensor) -> np.ndarray:
    return F.normalize(features.detach().double().cpu(), dim=1).numpy()


def _fit(x: np.ndarray, labels: np.ndarray, costs: Sequence[float], folds: int, max_iter: int, seed: int) -> tuple[Any, float]:
    """Return the machine of the best cost, the first of equals, fitted on all samples."""
    svm, selection = optional("sklearn.svm", "sklearn"), optional("sklearn.model_selection", "sklearn")
    exceptions = optional("sklearn.exceptions", "sklearn")

    def machine(cost: float) -> Any:
        return svm.LinearSVC(C=cost, class_weight={1: 2, 0: 1}, dual=True, max_iter=max_iter, random_state=seed)

    with warnings.catch_warnings():
        # The protocol ends the solver after so many iterations, converged or not.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        cut = selection.StratifiedKFold(folds)
        worth = {
            cost: float(selection.cross_val_score(machine(cost), x, labels, cv=cut, scoring="average_precision").mean()) for cost in costs
        }
        best = max(worth, key=worth.__getitem__)
        return machine(best).fit(x, labels), best


def _check(part: str, x: Tensor, targets: Tensor, counted: Tensor | None, width: int, classes: int) -> None:
    for name, table in (("targets", targets), ("counted", counted)):
        if table is not None and (x.ndim != 2 or x.shape[1] != width or table.shape != (len(x), classes) or not len(x)):
            raise ShapeError(
                f"Features of the {part} part are {list(x.shape)}, {name} {list(table.shape)}; expected [N, {width}] and [N, {classes}]."
            )
    if not bool(torch.isfinite(x).all()):
        raise DataError(f"Features of the {part} part are NaN or infinite: the model that made them diverged.")
