"""The few most probable classes, with or without the rest of the mass."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError
from tutelage.targets.soften import log_soften


class TopK(NamedTuple):
    """The most probable classes of each distribution and what is left over.

    Args:
        log_probs: float [..., k], log-probabilities, highest first.
        indices: int64 [..., k], their classes.
        log_rest: float [...], log of the mass of all other classes; minus infinity when there are none.
        temperature: at which the logits were softened.
    """

    log_probs: Tensor
    indices: Tensor
    log_rest: Tensor
    temperature: float = 1.0

    def dense(self, num_classes: int) -> Tensor:
        """Return log-probabilities of all classes, with the rest of the mass spread evenly over those not kept.

        Args:
            num_classes: C, at least k.

        Returns:
            Log-probabilities [..., C], which sum to 1 when exponentiated.
        """
        others = max(num_classes - self.indices.shape[-1], 1)
        shared = (self.log_rest - math.log(others)).unsqueeze(-1)
        return shared.expand(*self.log_rest.shape, num_classes).scatter(-1, self.indices, self.log_probs)

    def beside(self, student_logits: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return what student and teacher give each of the kept classes and all others together, as log-probabilities.

        A divergence between the two is at most that between the whole distributions, and equal to it when all classes are kept.

        Args:
            student_logits: float [..., C].
            temperature: at which the two are compared; the teacher's own, unless all classes are kept.

        Returns:
            The student's and the teacher's log-probabilities [..., k + 1], or [..., C] when all classes are kept.

        Raises:
            ShapeError: if the logits are of other samples, or of fewer classes than are kept.
            OptionError: for another temperature, which cannot be had without the classes that were left out.
        """
        kept, classes = self.indices.shape[-1], student_logits.shape[-1]
        if student_logits.shape[:-1] != self.log_rest.shape or kept > classes:
            raise ShapeError(
                f"The top {kept} classes of {list(self.log_rest.shape)} samples do not fit student logits of shape "
                f"{list(student_logits.shape)}; both must be of the same samples and classes."
            )
        student = log_soften(student_logits, temperature)
        if kept == classes:  # log-probabilities of all classes are logits
            return student.gather(-1, self.indices), log_soften(self.log_probs * self.temperature, temperature)
        if isinstance(temperature, Tensor) or temperature != self.temperature:
            raise OptionError(
                f"The top {kept} of {classes} classes were kept at temperature {self.temperature:g}, but are asked for at {temperature}. "
                "The classes that were left out would change their share by unknown amounts: label again at that temperature "
                "(--temperature), keep all logits (--keep logits), or set the method's temperature to the stored one."
            )
        lowest = torch.finfo(student.dtype).min
        rest = student.scatter(-1, self.indices, -math.inf).logsumexp(-1, keepdim=True)
        own = torch.cat([self.log_probs.to(student.dtype), self.log_rest.to(student.dtype).unsqueeze(-1)], -1)
        return torch.cat([student.gather(-1, self.indices), rest], -1), own.clamp_min(lowest)


def _kept(k: int, num_classes: int) -> int:
    if k < 1:
        raise OptionError(f"k is {k}; expected at least 1 class to keep")
    return min(k, num_classes)


def top_k(logits: Tensor, k: int, *, temperature: float = 1.0) -> TopK:
    """Return the k most probable classes and the log of the rest of the mass.

    The rest is summed over the other classes in log space: one minus the sum of the kept would lose it to rounding when it is small.

    Args:
        logits: float [..., C]; for probabilities give their logarithm.
        k: classes to keep; all of them if there are fewer.
        temperature: above 0. Default 1.

    Returns:
        A `TopK` of log-probabilities, classes and the log of the rest; float32 for half types.

    Raises:
        OptionError: if k is below 1.
    """
    log_probs = log_soften(logits, temperature)
    kept, indices = log_probs.topk(_kept(k, logits.shape[-1]), dim=-1)
    log_rest = log_probs.scatter(-1, indices, -math.inf).logsumexp(-1)
    return TopK(kept, indices, log_rest, temperature)


def truncate(probs: Tensor, k: int, *, renormalise: bool = False) -> Tensor:
    """Return probabilities with all but the k highest set to 0.

    Args:
        probs: float [..., C], not negative; softmax or sigmoid probabilities. Of equal ones exactly k in all stay.
        k: classes to keep; all of them if there are fewer.
        renormalise: divide by the kept sum, so that a softmax distribution sums to 1 again. Default no.

    Returns:
        Truncated probabilities [..., C].

    Raises:
        OptionError: if k is below 1.

    Source: Gao et al., Knowledge Concentration, 2017, section 3 (without renormalising).
    """
    values, indices = probs.topk(_kept(k, probs.shape[-1]), dim=-1)
    if renormalise:
        values = values / values.sum(-1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    return torch.zeros_like(probs).scatter(-1, indices, values)
