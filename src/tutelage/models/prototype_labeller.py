"""A labeller from a few labelled samples and a frozen encoder: the nearest class mean, with a calibrated scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import DataError
from tutelage.models.calibrated import fit_temperature
from tutelage.models.zero_shot import ZeroShot


@torch.no_grad()
def prototype_teacher(encoder: nn.Module, inputs: Any, labels: Tensor | Sequence[int], *, batch_size: int = 64) -> ZeroShot:
    """Fit prototypes to a few labelled samples.

    The scale of the cosines is fitted on what each sample's class would be said to be if the sample had not been there.

    Args:
        encoder: from inputs to features `[N, D]`, such as `models.pretrained.minilm()`.
        inputs: of the labelled samples, a list of texts or a tensor.
        labels: their classes, at least two samples of each.
        batch_size: samples encoded at once.

    Returns:
        A frozen teacher: logits `[N, C]` whose softmax is calibrated.

    Raises:
        DataError: if a class has fewer than two samples.
    """
    encoder.eval()
    truth = torch.as_tensor(labels, dtype=torch.int64)
    found = [encoder(inputs[start : start + batch_size]) for start in range(0, len(truth), batch_size)]
    features = F.normalize(torch.cat(found), dim=1)
    counts = truth.bincount()
    if not len(counts) or int(counts.min()) < 2:
        raise DataError(f"The classes of the {len(truth)} labelled samples have {counts.tolist()} samples; expected at least 2 of each.")
    sums = features.new_zeros(len(counts), features.shape[1]).index_add_(0, truth, features)
    cosines = features @ F.normalize(sums, dim=1).T
    without = F.normalize(sums[truth] - features, dim=1)
    cosines.scatter_(1, truth.unsqueeze(1), (features * without).sum(1, keepdim=True))
    return ZeroShot(encoder, sums / counts.unsqueeze(1), scale=1 / fit_temperature(cosines, truth))
