"""Teacher perceptrons of binary weights, which label random patterns."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.data.arrays import Arrays
from tutelage.errors import OptionError


def perceptron_teachers(size: int, overlap: float, *, generator: torch.Generator, count: int = 2) -> Tensor:
    """Draw binary perceptrons, each of which agrees with the one before at every site with probability `(1 + overlap) / 2`.

    Args:
        size: weights of each, N.
        overlap: r_0 in [-1, 1], mean of the product of two neighbours' weights; it varies between draws by `(1 - r_0^2) / N`.
        generator: source of randomness.
        count: how many, one for each task.

    Returns:
        float32 `[count, size]` of -1 and 1.

    Raises:
        OptionError: for an overlap or numbers out of range.

    Source: arXiv 2212.02846.
    """
    if not -1 <= overlap <= 1 or size < 1 or count < 1:
        raise OptionError(f"size {size}, overlap {overlap}, count {count}: expected positive numbers and an overlap from -1 to 1.")
    draws = torch.rand(count, size, generator=generator, dtype=torch.float64)
    agree = torch.where(draws < (1 + overlap) / 2, 1.0, -1.0)
    agree[0] = torch.where(draws[0] < 0.5, 1.0, -1.0)
    return agree.cumprod(0).float()


def perceptron_task(teacher: Tensor, samples: int, *, generator: torch.Generator, name: str = "perceptron") -> Arrays:
    """Draw patterns of independent signs, labelled by a teacher.

    Args:
        teacher: `[N]` of -1 and 1.
        samples: number of patterns, P.
        generator: source of randomness.
        name: what errors call them.

    Returns:
        Arrays of `"input"`, float32 `[P, N]` of -1 and 1, and `"label"`, int64 `[P]`: 1 where `teacher . x > 0`, also where it is zero and
        the first site agrees with the teacher.

    Raises:
        OptionError: for fewer than one pattern.
    """
    if samples < 1:
        raise OptionError(f"A task of {samples} patterns was asked for; expected at least 1.")
    inputs = torch.randint(0, 2, (samples, len(teacher)), generator=generator).float().mul_(2).sub_(1)
    score = inputs @ teacher
    label = (torch.where(score == 0, inputs[:, 0] * teacher[0], score) > 0).long()
    return Arrays({"input": inputs, "label": label}, ("-1", "+1"), name)
