"""Learning from labels alone: the baseline of every method, and how teachers are made."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage import losses
from tutelage.train.method import Batch, Method
from tutelage.views import View

IGNORED = 255
"""Label of pixels of no class."""


class Supervised(Method):
    """Cross-entropy with the labels.

    Batch keys: `input` (what the student takes), `label` int64 `[N]`, or `[N, H, W]` for pixels, of which 255 is no class.

    Args:
        student: network that returns logits `[N, C]`, or `[N, C, H, W]`.
        view: augmentation `(images, generator) -> images`, or `None`.
        label_smoothing: share of the target that is spread over all classes.
    """

    def __init__(self, student: nn.Module, *, view: View | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.student = student
        self.view = view
        self.label_smoothing = label_smoothing

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy as `ce`."""
        x = batch["input"] if self.view is None else self.view(batch["input"], self.generator)
        logits, label, weight = self.student(x), batch["label"], None
        if logits.ndim == 4:
            weight = (label != IGNORED).float()
            logits, label = logits.movedim(1, -1), label.masked_fill(label == IGNORED, -100)
        ce = losses.cross_entropy(logits, label)
        if self.label_smoothing:
            uniform = torch.full_like(logits, 1 / logits.shape[-1])
            ce = (1 - self.label_smoothing) * ce + self.label_smoothing * losses.soft_cross_entropy(logits, uniform)
        return {"ce": losses.mean(ce, weight)}
