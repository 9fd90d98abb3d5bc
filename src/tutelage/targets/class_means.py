"""The class-mean table: what a teacher says about each class on average."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import DataError, ShapeError


def class_means(probs: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the average prediction over the samples of each class.

    Row c is the mean of `probs` over the samples labelled c, so each row of a table made from probabilities sums to 1,
    and a teacher that is certain and right everywhere yields the identity.

    Args:
        probs: a teacher's probabilities, float [N, C] (any [N, D] works: logits, features).
        labels: the class of each sample, int64 [N], in [0, num_classes).
        num_classes: number of rows of the table.

    Returns:
        The table, [num_classes, D], in the dtype of `probs`.

    Raises:
        ShapeError: if `probs` is not [N, D] with one label per row.
        DataError: if a label is out of range or a class has no sample, whose row could only be invented.

    Source: Hu et al., 2024 (TGeo-KD), the vertex of the inter-sample triangle.
    """
    if probs.ndim != 2 or labels.shape != probs.shape[:1]:
        raise ShapeError(f"class_means takes probs [N, D] and labels [N], got {list(probs.shape)} and {list(labels.shape)}.")
    if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= num_classes):
        raise DataError(
            f"class_means got labels from {int(labels.min())} to {int(labels.max())}, expected 0 to {num_classes - 1}: "
            "count the classes again, or map the labels to 0 ... C-1."
        )
    counts = torch.bincount(labels, minlength=num_classes)
    if (counts == 0).any():
        empty = torch.nonzero(counts == 0).flatten().tolist()
        raise DataError(f"class_means needs a sample of every class, but classes {empty} have none: add some, or split the data by class.")
    # Summed in double precision: tens of thousands of float32 terms would lose the last digits that the row sums are checked to.
    sums = torch.zeros(num_classes, probs.shape[1], dtype=torch.float64, device=probs.device).index_add_(0, labels, probs.double())
    return (sums / counts.unsqueeze(1)).to(probs.dtype)
