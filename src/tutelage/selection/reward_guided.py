"""Belief by failure: imitate the teacher where the student's own attempts earned nothing."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError

Level = Literal["none", "response", "group"]


@torch.no_grad()
def reward_guided(rewards: Tensor, *, level: Level = "response") -> Tensor:
    """Return 1 for the responses on which the teacher is imitated, 0 for the others.

    Args:
        rewards: float [..., G], rewards of the G responses to each question; 0 or less is a failure.
        level: "response": a response is kept if it failed; "group": all of a group are kept if all of them failed; "none": all are kept.

    Returns:
        Weights 0 or 1, float32 [..., G], without a graph.

    Raises:
        OptionError: for an unknown level.
        ShapeError: if there is no axis of responses.

    Source: Xu et al., KDRL, arXiv 2506.02208, section 3 (reward-guided masking).
    """
    if level not in get_args(Level):
        raise OptionError(f"level is {level!r}; expected 'none', 'response' or 'group'")
    if rewards.ndim < 1:
        raise ShapeError("rewards is a single number; expected [..., G], the rewards of the G responses to each question")
    failed = rewards <= 0
    if level == "none":
        return torch.ones_like(failed, dtype=torch.float32)
    return (failed if level == "response" else failed.all(-1, keepdim=True).expand_as(failed)).float()
