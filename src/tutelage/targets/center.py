"""Centring: subtract a moving average of the teacher's outputs, so that no class wins everywhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import ShapeError
from tutelage.schedules import Schedule, value
from tutelage.targets.ranks import mean_over_ranks


class Center(nn.Module):
    """Subtracts a moving average of the teacher's logits from them.

    `soften(center(logits), temperature)` is the target; `center.update(logits)` after it moves the centre, which is
    `momentum * centre + (1 - momentum) * mean(logits)` with the mean taken over everything but classes, and over all processes of a
    distributed run. The centre is a buffer: it is saved in checkpoints and follows the module to its device.

    Args:
        width: number of classes or prototypes, C.
        momentum: share of the old centre that is kept, a number or schedule in [0, 1]. Default 0.9.

    Source: Caron et al., Emerging Properties in Self-Supervised Vision Transformers (DINO), ICCV 2021, eq. 4.
    """

    center: Tensor

    def __init__(self, width: int, *, momentum: float | Schedule = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("center", torch.zeros(width))

    def forward(self, logits: Tensor) -> Tensor:
        """Return `logits - centre`; the centre itself stays as it is.

        Args:
            logits: float [..., C].

        Returns:
            Centred logits [..., C], float32 for half types.

        Raises:
            ShapeError: if the last axis is not C.
        """
        self._check(logits)
        return logits - self.center

    @torch.no_grad()
    def update(self, logits: Tensor, *, progress: float = 0.0) -> None:
        """Move the centre towards the mean of these logits.

        Args:
            logits: float [..., C], the teacher's raw outputs (not centred); an empty batch changes nothing in a run of one process.
            progress: share of the training that is done, for a scheduled momentum. Default 0.

        Raises:
            ShapeError: if the last axis is not C.
        """
        self._check(logits)
        rows = logits.to(self.center.dtype).reshape(-1, len(self.center))
        mean = mean_over_ranks(rows.mean(0) if len(rows) else self.center)
        self.center.lerp_(mean, 1.0 - value(self.momentum, progress))

    def _check(self, logits: Tensor) -> None:
        if logits.shape[-1] != len(self.center):
            raise ShapeError(f"Center of width {len(self.center)} got logits of shape {tuple(logits.shape)}; their last axis must match")
