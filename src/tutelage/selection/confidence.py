"""Belief by confidence: the highest probability against a threshold that is fixed, per class, or moving."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError
from tutelage.schedules import Schedule, value
from tutelage.targets.ranks import mean_over_ranks


@torch.no_grad()
def confidence(probs: Tensor, threshold: float | Tensor) -> Tensor:
    """Return 1 where the highest probability reaches the threshold, else 0.

    Args:
        probs: float [..., C].
        threshold: in [0, 1]; a number for all classes, or float [C]: the threshold of the predicted class counts.

    Returns:
        Weights in {0, 1}, float32 [...], without a graph.

    Raises:
        OptionError: if a number leaves [0, 1].
        ShapeError: if a tensor is not [C].

    Source: Sohn et al., FixMatch, NeurIPS 2020, eq. 4 (fixed threshold).
    """
    highest, predicted = probs.max(-1)
    if isinstance(threshold, Tensor):
        if threshold.shape != probs.shape[-1:]:
            raise ShapeError(f"threshold of shape {tuple(threshold.shape)} for probabilities {tuple(probs.shape)}; expected one per class")
        return (highest >= threshold.to(highest.device)[predicted]).float()
    if not 0.0 <= threshold <= 1.0:
        raise OptionError(f"threshold is {threshold!r}; expected a probability from 0 (believe all) to 1")
    return (highest >= threshold).float()


def scaled_by_class(level: Tensor, local: Tensor) -> Tensor:
    """Return `level * local / max(local)`: one threshold per class, the highest of which is the level.

    Args:
        level: scalar.
        local: how well each class is known, `[C]`, not negative; all zero makes all thresholds 0.

    Source: Wang et al., FreeMatch, ICLR 2023, eq. 8.
    """
    return level * (local / local.max().clamp_min(torch.finfo(local.dtype).tiny))


class MovingThreshold(nn.Module):
    """A confidence threshold that follows the model's own confidence, per class.

    `update(probs)` moves two averages, and `forward(probs)` selects with them (updating first is the paper's order):

    - level <- m level + (1 - m) mean(max_c p_c), the average confidence, 1 / C at first;
    - share[c] <- m share[c] + (1 - m) mean(p_c), the average probability of each class, 1 / C at first;
    - threshold[c] = level * share[c] / max(share): rarely predicted classes are let in sooner.

    So little is asked while the model knows little, and more as it learns. Averages are taken over all processes of a distributed run. Both
    are buffers, saved in checkpoints.

    Args:
        num_classes: C.
        momentum: share of the old averages that is kept, a number or schedule in [0, 1]. Default 0.999.
        per_class: scale the level by class; otherwise the level is the threshold of every class. Default yes.
        lowest: no threshold falls below this. Default 0.
        highest: no threshold rises above this. Default 1.

    Source: Wang et al., FreeMatch, ICLR 2023, eq. 5-8. Scaling a common threshold by how well each class is learned goes back to
        Zhang et al., FlexMatch, NeurIPS 2021, which counts confident samples over the whole data set in place of the moving average.
    """

    level: Tensor
    share: Tensor

    def __init__(
        self, num_classes: int, *, momentum: float | Schedule = 0.999, per_class: bool = True, lowest: float = 0.0, highest: float = 1.0
    ) -> None:
        super().__init__()
        if not 0.0 <= lowest <= highest <= 1.0:
            raise OptionError(f"lowest={lowest!r} and highest={highest!r}: expected 0 <= lowest <= highest <= 1")
        self.momentum = momentum
        self.per_class = per_class
        self.lowest = lowest
        self.highest = highest
        self.register_buffer("level", torch.full((), 1.0 / num_classes))
        self.register_buffer("share", torch.full((num_classes,), 1.0 / num_classes))

    @torch.no_grad()
    def update(self, probs: Tensor, *, progress: float = 0.0) -> None:
        """Move the averages towards those of these probabilities.

        Args:
            probs: float [..., C]; an empty batch changes nothing in a run of one process.
            progress: share of the training that is done, for a scheduled momentum. Default 0.

        Raises:
            ShapeError: if the last axis is not C.
        """
        self._check(probs)
        rows = probs.to(self.share.dtype).reshape(-1, len(self.share))
        # One tensor, so that processes exchange one message.
        now = torch.cat([self.share, self.level.unsqueeze(0)])
        if len(rows):
            now = torch.cat([rows.mean(0), rows.amax(-1).mean().unsqueeze(0)])
        now = mean_over_ranks(now)
        kept = 1.0 - value(self.momentum, progress)
        self.share.lerp_(now[:-1], kept)
        self.level.lerp_(now[-1], kept)

    def thresholds(self) -> Tensor:
        """Return the threshold of each class now, float32 [C]."""
        scaled = scaled_by_class(self.level, self.share) if self.per_class else self.level.expand_as(self.share)
        return scaled.clamp(self.lowest, self.highest)

    def forward(self, probs: Tensor) -> Tensor:
        """Return 1 where the highest probability reaches its class's threshold, else 0.

        Args:
            probs: float [..., C].

        Returns:
            Weights in {0, 1}, float32 [...], without a graph.

        Raises:
            ShapeError: if the last axis is not C.
        """
        self._check(probs)
        return confidence(probs, self.thresholds())

    def _check(self, probs: Tensor) -> None:
        if probs.shape[-1] != len(self.share):
            raise ShapeError(f"MovingThreshold of {len(self.share)} classes got probabilities of shape {tuple(probs.shape)}")
