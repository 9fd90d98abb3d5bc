"""Dual heads: one backbone and two linear classifiers, one that learns labels and one that learns from a teacher.

Reference: Kang, Lee, Jang, Hwang, "Simple Semi-supervised Knowledge Distillation from Vision-Language Models via Dual-Head
Optimization", 2025.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError
from tutelage.models.backbones import backbone


class DualHead(nn.Module):
    """A backbone with a head for labels (CE) and a head for a teacher (KD) on the same features.

    It answers with the logarithm of the mixture `p = (1 - a) softmax(z_CE) + a softmax(z_KD / b)`, whose softmax is p itself, so that it
    stands wherever a classifier stands.

    Args:
        backbone: from inputs to features `[N, width]`.
        width: number of features.
        num_classes: outputs of each head.
        share: a, weight of the teacher's head in the mixture, in [0, 1]. Default 0.5.
        temperature: b, divides the logits of the teacher's head in the mixture, above 0. Default 1.

    Raises:
        OptionError: for numbers out of range.

    Source:
        Defaults are those of arXiv 2506.00910 for its ten smaller data sets; for ImageNet it has a share of 0.6 (0.8 with a few-shot
        teacher) and a temperature of 0.5.
    """

    def __init__(self, backbone: nn.Module, width: int, num_classes: int, *, share: float = 0.5, temperature: float = 1.0) -> None:
        super().__init__()
        if width < 1 or num_classes < 1:
            raise OptionError(f"A dual head takes at least one feature and one class; got width={width}, num_classes={num_classes}.")
        self.backbone = backbone
        self.ce_head = nn.Linear(width, num_classes)
        self.kd_head = nn.Linear(width, num_classes)
        self.mix(share, temperature)

    def mix(self, share: float, temperature: float) -> None:
        """Set how the heads are mixed.

        Args:
            share: a, in [0, 1]; 0 is the label head alone, 1 the teacher's head alone.
            temperature: b, above 0.

        Raises:
            OptionError: for numbers out of range.
        """
        if not 0 <= share <= 1 or not temperature > 0:
            raise OptionError(f"A mixture takes a share in [0, 1] and a temperature above 0; got share={share}, temperature={temperature}.")
        self.share, self.temperature = share, temperature

    def features(self, inputs: Any) -> Tensor:
        """Return features `[N, width]`.

        Raises:
            ShapeError: if the backbone answers anything else.
        """
        found: Tensor = self.backbone(inputs)
        if not isinstance(found, Tensor) or found.ndim != 2 or found.shape[1] != self.ce_head.in_features:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ShapeError(f"The backbone of a dual head answers {got}; expected features [N, {self.ce_head.in_features}].")
        return found

    def heads(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """Return the logits of both heads, `z_CE` and `z_KD`, each `[N, C]`."""
        features = self.features(inputs)
        return self.ce_head(features), self.kd_head(features)

    def combined(self, features: Tensor) -> Tensor:
        """Return the log-probabilities `[N, C]` of the mixture from features `[N, width]`."""
        label: Tensor = self.ce_head(features).log_softmax(-1)
        if self.share == 0:
            return label
        teacher: Tensor = (self.kd_head(features) / self.temperature).log_softmax(-1)
        if self.share == 1:
            return teacher
        weights = torch.tensor([1 - self.share, self.share], dtype=label.dtype, device=label.device).log()
        return torch.logaddexp(label + weights[0], teacher + weights[1])

    def forward(self, inputs: Any) -> Tensor:
        """Return the log-probabilities `[N, C]` of the mixture, which are logits of it."""
        return self.combined(self.features(inputs))


def dual_head(spec: Any, *, num_classes: int, input_shape: tuple[int, ...], share: float = 0.5, temperature: float = 1.0) -> DualHead:
    """Build a dual head over a backbone by specification.

    Args:
        spec: what `tutelage.models.backbone` takes: `tutelage:small-cnn`, `timm:resnet18?pretrained=true`, a module that answers features.
        num_classes: outputs of each head.
        input_shape: shape of one input.
        share: weight of the teacher's head in the mixture.
        temperature: of the teacher's head in the mixture.

    Raises:
        SpecError: if the specification gives no features of such inputs.
    """
    network, width = backbone(spec, input_shape)
    return DualHead(network, width, num_classes, share=share, temperature=temperature)
