"""The one reduction: a weighted mean that is safe when nothing was selected."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.targets.soften import HALF


def mean(loss: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the weighted mean of a loss: `sum(weight * loss) / sum(weight)`.

    Two rules make it safe. When all weights are zero (or there is no element) the result is zero and still has a graph, so that
    back-propagating it gives zero gradients and distributed processes stay in step. An element of weight zero takes no part at all:
    whatever it holds, infinity and NaN included, it changes neither the value nor the gradient that reaches the loss; the gradient of a
    learned weight that is exactly zero is taken as if its loss were zero. An element that is not finite and has a weight shows in the
    result.

    To divide by the number of elements instead, as when a threshold should also lower the size of the loss, write `mean(weight * loss)`.

    Args:
        loss: float [...], one number per element.
        weight: float or bool, not negative, of the shape of the loss or of its leading axes ([N] for a loss [N, L]); `None` for the
            plain mean. It may carry a graph.

    Returns:
        Scalar, float32 for half types.

    Raises:
        ShapeError: if the weight's shape is not that of the loss's leading axes.
    """
    if loss.dtype in HALF:
        loss = loss.float()
    if weight is None:
        return loss.mean() if loss.numel() else loss.sum()
    if weight.shape != loss.shape[: weight.ndim]:
        raise ShapeError(
            f"weight of shape {tuple(weight.shape)} does not fit a loss of shape {tuple(loss.shape)}; "
            "it must have the shape of the loss or of its leading axes"
        )
    weight = weight.to(loss.dtype).reshape(*weight.shape, *[1] * (loss.ndim - weight.ndim))
    total = weight.sum() * (loss.numel() // max(weight.numel(), 1))
    kept = loss.masked_fill(weight == 0, 0.0) * weight
    return kept.sum() / total.masked_fill(total == 0, 1.0)
