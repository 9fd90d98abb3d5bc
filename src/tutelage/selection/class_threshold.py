"""Belief by a score against a threshold that follows the scores themselves, higher for classes whose scores are high."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import ShapeError
from tutelage.schedules import Schedule, value
from tutelage.selection.confidence import scaled_by_class
from tutelage.targets.ranks import mean_over_ranks

ROUNDING = 1e-5
"""Share of a threshold by which a score may miss it: equal scores must reach their own mean, whatever the rounding of float32."""


class ClassThreshold(nn.Module):
    """A threshold on any score that is not negative, for each class by how its samples score.

    `update(score, label)` moves two averages, and `forward(score, label)` selects with them (updating first is the paper's order):

    - level `g <- m g + (1 - m) mean_i s_i`;
    - local `l(y) <- m l(y) + (1 - m) mean_{i: label y} s_i`, unchanged where the batch has no y;
    - threshold `tau(y) = g l(y) / max_y' l(y')`: the class that scores highest faces g, all others a lower bar.

    Both begin as the means of the first batch (of a class: the first that has samples of it). Averages are taken over all processes of a
    distributed run. All state is in buffers, saved in checkpoints. `MovingThreshold` is the same idea where the score is the highest
    probability and each class counts by its mean probability.

    Args:
        num_classes: C.
        momentum: m, the share of the old averages that is kept, a number or schedule in [0, 1]. Default 0.9; 0.999 for long runs.
        per_class: scale the level by class; otherwise g is the threshold of every class. Default yes.

    Source: thresholds of LLKD (arXiv 2411.08028) on a teacher's confidence and a student's entropy; the formulas are our completion after
        Wang et al., FreeMatch, ICLR 2023.
    """

    level: Tensor
    local: Tensor
    seen: Tensor

    def __init__(self, num_classes: int, *, momentum: float | Schedule = 0.9, per_class: bool = True) -> None:
        super().__init__()
        self.momentum = momentum
        self.per_class = per_class
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("local", torch.zeros(num_classes))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, score: Tensor, label: Tensor, *, progress: float = 0.0) -> None:
        """Move the averages towards those of these scores.

        Args:
            score: float `[N]`, not negative.
            label: class of each, int64 `[N]`.
            progress: share of the training that is done, for a scheduled momentum. Default 0.

        Raises:
            ShapeError: if there is not one label per score.
        """
        self._check(score, label)
        moments = torch.zeros(2, len(self.local), device=self.local.device, dtype=self.local.dtype)
        moments[0].index_add_(0, label, score.to(moments))
        moments[1].index_add_(0, label, torch.ones_like(score, dtype=moments.dtype))
        # One tensor, so that processes exchange one message; sums and counts alike are divided by the number of processes.
        total, count = mean_over_ranks(moments)
        first = ~self.seen.any()
        new = torch.where(count > 0, total / count.clamp_min(torch.finfo(count.dtype).tiny), self.local)
        mean = torch.where(count.sum() > 0, total.sum() / count.sum().clamp_min(torch.finfo(count.dtype).tiny), self.level)
        kept = 1.0 - value(self.momentum, progress)
        self.local.copy_(torch.where(self.seen, torch.lerp(self.local, new, kept), new))
        self.level.copy_(torch.where(first, mean, torch.lerp(self.level, mean, kept)))
        self.seen |= count > 0

    def thresholds(self) -> Tensor:
        """Return the threshold of each class now, float `[C]`; 0 for a class that never came."""
        return scaled_by_class(self.level, self.local) if self.per_class else self.level.expand_as(self.local)

    @torch.no_grad()
    def forward(self, score: Tensor, label: Tensor) -> Tensor:
        """Return 1 where a score reaches its class's threshold, else 0.

        Args:
            score: float `[N]`.
            label: class of each, int64 `[N]`.

        Returns:
            Weights in {0, 1}, float32 `[N]`, without a graph.

        Raises:
            ShapeError: if there is not one label per score.
        """
        self._check(score, label)
        return (score >= self.thresholds()[label] * (1 - ROUNDING)).float()

    def _check(self, score: Tensor, label: Tensor) -> None:
        if score.ndim != 1 or label.shape != score.shape:
            raise ShapeError(f"ClassThreshold got scores {tuple(score.shape)} and labels {tuple(label.shape)}; expected [N] and [N].")
