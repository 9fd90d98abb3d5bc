"""What frozen features are worth: a linear probe and weighted nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import DataError, OptionError, ShapeError

if TYPE_CHECKING:
    from tutelage.data import Arrays

Probe = Callable[[Tensor, Tensor, Tensor, Tensor], float]
"""Fits on features `[N, D]` and labels `[N]`, judges on others: a number, larger for better."""


def features(model: torch.nn.Module, inputs: Tensor | Arrays, *, batch_size: int = 512) -> Tensor:
    """Return a model's answers to inputs, flat, in eval mode and without gradients.

    Args:
        model: returns features `[B, ...]`.
        inputs: `[N, ...]`, or samples with the column `input`, of which one batch is in memory at a time.
        batch_size: inputs at once.

    Returns:
        float32 `[N, D]`, where the model is.
    """
    from tutelage.evaluate.predict import evaluating

    first = next(model.parameters(), None)
    place = inputs.device if first is None else first.device
    if isinstance(inputs, Tensor):
        parts: Iterable[Tensor] = torch.split(inputs, batch_size)
    else:
        parts = (block["input"] for block in inputs.blocks(batch_size))
    with evaluating(model), torch.no_grad():
        return torch.cat([model(part.to(place)).flatten(1).float() for part in parts])


def linear_probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    weight_decay: float | tuple[float, ...] = (1e-4, 1e-3, 1e-2),
    steps: int = 200,
    seed: int = 0,
) -> float:
    """Return the test accuracy of a linear classifier on frozen features, in percent.

    Features are standardised by the training part; the classifier is the minimum of the cross-entropy with an L2 penalty, found by
    L-BFGS. With several penalties, a fifth of the training part decides which is used; the test part never does.

    Args:
        train: features `[N, D]`.
        train_labels: int64 `[N]`.
        test: features `[M, D]`.
        test_labels: int64 `[M]`.
        weight_decay: penalty of the squared weights, or several to choose from.
        steps: iterations of L-BFGS at most.
        seed: seed of the split that decides.

    Returns:
        Accuracy in percent.

    Raises:
        ShapeError: if features and labels do not fit.
        DataError: if features are not finite.
    """
    check_parts(train, train_labels, test, test_labels)
    mean, spread = train.mean(0), train.std(0).clamp_min(1e-6)
    train, test = (train - mean) / spread, (test - mean) / spread
    decays = weight_decay if isinstance(weight_decay, tuple) else (weight_decay,)
    classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    best = decays[0]
    if len(decays) > 1:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).to(train.device)
        fit, held = order[len(order) // 5 :], order[: len(order) // 5]
        scores = [_accuracy(_fit(train[fit], train_labels[fit], classes, d, steps), train[held], train_labels[held]) for d in decays]
        best = decays[scores.index(max(scores))]
    return _accuracy(_fit(train, train_labels, classes, best, steps), test, test_labels)


def _fit(x: Tensor, y: Tensor, classes: int, decay: float, steps: int) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(classes, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(classes, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + 0.5 * decay * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def _accuracy(fitted: tuple[Tensor, Tensor], x: Tensor, y: Tensor) -> float:
    return 100 * float((F.linear(x, *fitted).argmax(1) == y).float().mean())


def choose_probe(
    candidates: Mapping[str, Probe], train: Tensor, train_labels: Tensor, validation: Tensor, validation_labels: Tensor
) -> tuple[str, float]:
    """Return which of several probes judges frozen features best on validation data; no test data can take part.

    Args:
        candidates: name to probe: `functools.partial(linear_probe, weight_decay=1e-3)`, say.
        train: features `[N, D]` that each is fitted on.
        train_labels: int64 `[N]`.
        validation: features `[V, D]` that each is judged on.
        validation_labels: int64 `[V]`.

    Returns:
        The name of the best, the first of equals, and what it says about the validation part.

    Raises:
        OptionError: if there is no candidate.
        ShapeError: if features and labels do not fit.
        DataError: if features are not finite.
    """
    if not candidates:
        raise OptionError("choose_probe got no candidates: give at least one probe.")
    scores = {name: probe(train, train_labels, validation, validation_labels) for name, probe in candidates.items()}
    best = max(scores, key=scores.__getitem__)
    return best, scores[best]


def nearest_neighbours(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
    batch_size: int = 1024,
) -> float:
    """Return the test accuracy of weighted k-nearest neighbours on frozen features, in percent.

    Each of the k training samples of the largest cosine similarity s votes for its class with weight `exp(s / temperature)`.

    Args:
        train: features `[N, D]`.
        train_labels: int64 `[N]`.
        test: features `[M, D]`.
        test_labels: int64 `[M]`.
        k: neighbours; all if there are fewer.
        temperature: above 0; the smaller, the more the nearest counts.
        batch_size: test samples at once; memory is `batch_size` times N.

    Returns:
        Accuracy in percent.

    Raises:
        ShapeError: if features and labels do not fit.
        DataError: if features are not finite.
        OptionError: if k or the temperature is out of range.

    Source: Wu et al., Unsupervised feature learning via non-parametric instance discrimination, CVPR 2018, section 3.4.
    """
    check_parts(train, train_labels, test, test_labels)
    if k < 1 or not temperature > 0:
        raise OptionError(f"nearest_neighbours got k={k}, temperature={temperature}: expected at least 1 and above 0.")
    train, test = F.normalize(train, dim=1), F.normalize(test, dim=1)
    classes, right = int(torch.cat([train_labels, test_labels]).max()) + 1, 0
    for part, truth in zip(torch.split(test, batch_size), torch.split(test_labels, batch_size), strict=True):
        near, rows = (part @ train.T).topk(min(k, len(train)), dim=1)
        votes = torch.zeros(len(part), classes, device=part.device)
        votes.scatter_add_(1, train_labels[rows], ((near - 1) / temperature).exp())
        right += int((votes.argmax(1) == truth).sum())
    return 100 * right / len(test)


def check_parts(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> None:
    """Refuse features `[N, D]` and labels `[N]` of two parts that do not fit each other, or are not finite."""
    for x, y, part in ((train, train_labels, "train"), (test, test_labels, "test")):
        if x.ndim != 2 or y.shape != x.shape[:1] or not len(x) or x.shape[1] != train.shape[1]:
            raise ShapeError(
                f"Features of the {part} part are {list(x.shape)} with labels {list(y.shape)}; expected [N, D] and [N], of one width D."
            )
        if not bool(torch.isfinite(x).all()):
            raise DataError(f"Features of the {part} part are NaN or infinite: the model that made them diverged.")
