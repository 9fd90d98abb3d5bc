"""Metrics of pixel-wise classification, from one confusion matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tutelage.data import Arrays
from tutelage.errors import DataError, ShapeError
from tutelage.evaluate.predict import evaluating


def confusion(predicted: Tensor, labels: Tensor, num_classes: int, *, ignore_index: int = 255) -> Tensor:
    """Count how many pixels of each class were predicted as each class.

    Args:
        predicted: predicted classes, int64 `[...]`.
        labels: true classes, int64 of the same shape.
        num_classes: C.
        ignore_index: true label of pixels that do not count.

    Returns:
        int64 `[C, C]`: rows are true classes, columns predicted ones.

    Raises:
        ShapeError: if the shapes differ.
        DataError: if a label is out of range.
    """
    if predicted.shape != labels.shape:
        raise ShapeError(f"Predictions are {list(predicted.shape)}, labels {list(labels.shape)}; expected one class per pixel each.")
    kept = labels != ignore_index
    truth, guess = labels[kept], predicted[kept]
    if len(truth) and (int(truth.min()) < 0 or int(truth.max()) >= num_classes):
        found = f"{int(truth.min())} to {int(truth.max())}"
        raise DataError(f"Pixel labels run from {found}; expected 0 to {num_classes - 1}, or {ignore_index} for none.")
    return torch.bincount(truth * num_classes + guess, minlength=num_classes**2).view(num_classes, num_classes)


def scores(matrix: Tensor) -> dict[str, float]:
    """Return mean intersection over union and pixel accuracy in percent.

    Args:
        matrix: `confusion`, `[C, C]`.

    Returns:
        `miou`, the mean over classes that occur, truly or predicted, and `pixel_accuracy`.
    """
    matrix = matrix.double()
    hit, union = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    seen = union > 0
    return {
        "miou": 100 * float((hit[seen] / union[seen]).mean()) if bool(seen.any()) else 0.0,
        "pixel_accuracy": 100 * float(hit.sum() / matrix.sum().clamp_min(1)),
    }


def segmentation(
    predict: nn.Module | Callable[[Tensor], Tensor], arrays: Arrays, num_classes: int, *, batch_size: int = 64, ignore_index: int = 255
) -> dict[str, float]:
    """Return the scores of a model's pixel-wise predictions on a data set.

    Args:
        predict: images `[N, C, H, W]` to logits `[N, classes, H, W]`; a module is used in eval mode and left as it was.
        arrays: with `input` and pixel labels `label` `[N, H, W]`.
        num_classes: number of classes.
        batch_size: images at once.
        ignore_index: label of pixels that do not count.
    """
    module = predict if isinstance(predict, nn.Module) else None
    first = next(module.parameters(), None) if module is not None else None
    total = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    with evaluating(module), torch.no_grad():
        for batch in arrays.blocks(batch_size):
            images = batch["input"] if first is None else batch["input"].to(first.device)
            total += confusion(predict(images).argmax(1).cpu(), batch["label"].cpu(), num_classes, ignore_index=ignore_index)
    return scores(total)
