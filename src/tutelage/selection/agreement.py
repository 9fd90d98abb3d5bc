"""Belief by agreement of several teachers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError


@torch.no_grad()
def agreement(logits: Sequence[Tensor], *, measure: Literal["all", "share"] = "all") -> Tensor:
    """Return how far several teachers agree on the class of each element.

    Args:
        logits: one float [..., C] per teacher (logits or probabilities), all of one shape; or a tensor [teachers, ..., C].
        measure: "all": 1 where all teachers predict the same class, else 0; "share": the share of teachers that predict the most
            predicted class, from 1 / teachers to 1. Default "all".

    Returns:
        Weights in [0, 1], float32 [...], without a graph.

    Raises:
        OptionError: if the measure is unknown or there is no teacher.
        ShapeError: if the shapes differ.
    """
    if measure not in ("all", "share"):
        raise OptionError(f"measure is {measure!r}; expected 'all' or 'share'")
    if not len(logits):
        raise OptionError("agreement got no teachers; give the logits of at least one")
    shapes = {tuple(prediction.shape) for prediction in logits}
    if len(shapes) > 1:
        raise ShapeError(f"teachers' logits differ in shape: {sorted(shapes)}; all must judge the same elements over the same classes")
    votes = torch.stack([prediction.argmax(-1) for prediction in logits])
    if measure == "all":
        return (votes == votes[0]).all(0).float()
    supporters = (votes.unsqueeze(0) == votes.unsqueeze(1)).sum(0)
    return supporters.amax(0).float() / len(votes)
