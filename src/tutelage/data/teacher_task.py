"""Regression samples that a fixed function labels: the generated data of teacher-student theory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError, OptionError

_DIRECTION, _TRAIN, _TEST = range(3)  # streams of a seed, so that no draw depends on the size of another


@dataclass(frozen=True, eq=False)
class TeacherTask:
    """Inputs and the teacher's answers, split into training and test samples.

    Args:
        train_input: `[P, D]`.
        train_target: the teacher's answers `[P]`.
        test_input: `[M, D]`, from the same law.
        test_target: `[M]`.
        direction: the quadratic teacher's vector `[D]`; `None` for any other teacher.
    """

    train_input: Tensor
    train_target: Tensor
    test_input: Tensor
    test_target: Tensor
    direction: Tensor | None = None

    @property
    def dimensions(self) -> int:
        """Number of input dimensions D."""
        return self.train_input.shape[1]

    @property
    def power(self) -> float:
        """Mean squared answer E[y^2]: exact for the quadratic teacher, over the test samples for others."""
        if self.direction is None:
            return float((self.test_target**2).mean())
        return quadratic_power(self.direction)


def quadratic(inputs: Tensor, direction: Tensor) -> Tensor:
    """Return the quadratic single-index function `(direction . x)^2 / 2` of every row.

    Args:
        inputs: `[N, D]`.
        direction: `[D]`.

    Returns:
        `[N]`.

    Source: Kumar et al., Grokking as the Transition from Lazy to Rich Training Dynamics, ICLR 2024.
    """
    return 0.5 * (inputs @ direction) ** 2


def quadratic_power(direction: Tensor) -> float:
    """Return E[y^2] of the quadratic function over inputs of the law N(0, I/D): `3/4 (|direction|^2 / D)^2`.

    Args:
        direction: `[D]`.
    """
    return 0.75 * (float(direction @ direction) / len(direction)) ** 2


def gaussian_inputs(count: int, dimensions: int, *, seed: int, stream: int = 0) -> Tensor:
    """Draw inputs from N(0, I/D), double precision; fewer samples of a seed are the first of more.

    Args:
        count: number of samples.
        dimensions: D.
        seed: seed, at least 0.
        stream: number of an independent sequence of the same seed.

    Returns:
        float64 `[count, dimensions]`.
    """
    draws = np.random.default_rng([seed, stream]).standard_normal((count, dimensions))
    return torch.from_numpy(draws / np.sqrt(dimensions))


def teacher_task(
    dimensions: int, samples: int, *, test: int = 1000, seed: int = 0, teacher: Callable[[Tensor], Tensor] | None = None
) -> TeacherTask:
    """Draw inputs from N(0, I/D) and have a fixed teacher label them.

    Training samples of a seed are nested (those of a smaller set come first in a larger one); teacher and test samples stay the same.

    Args:
        dimensions: D, number of input dimensions.
        samples: P, number of training samples.
        test: number of test samples.
        seed: seed of teacher and samples, at least 0.
        teacher: any function `[N, D] -> [N]`, a network for example; by default the quadratic one with a vector drawn from N(0, I).

    Returns:
        The task, float64.

    Raises:
        OptionError: for sizes below 1 or a negative seed.
        DataError: if the teacher's answers have another shape or are not finite.
    """
    sizes = {"dimensions": dimensions, "samples": samples, "test": test}
    for name, size in sizes.items():
        if size < 1:
            raise OptionError(f"{name} is {size}; expected at least 1.")
    if seed < 0:
        raise OptionError(f"seed is {seed}; expected a whole number of at least 0.")
    direction = None
    if teacher is None:
        direction = torch.from_numpy(np.random.default_rng([seed, _DIRECTION]).standard_normal(dimensions))

    def answers(inputs: Tensor) -> Tensor:
        if direction is not None:
            return quadratic(inputs, direction)
        assert teacher is not None
        with torch.no_grad():
            found = teacher(inputs)
        if found.shape != inputs.shape[:1] or not bool(found.isfinite().all()):
            raise DataError(
                f"The teacher answered {list(found.shape)} to inputs {list(inputs.shape)}, or numbers that are not finite: "
                f"expected one finite number per row, [{len(inputs)}]."
            )
        return found.detach()

    train = gaussian_inputs(samples, dimensions, seed=seed, stream=_TRAIN)
    held_out = gaussian_inputs(test, dimensions, seed=seed, stream=_TEST)
    return TeacherTask(train, answers(train), held_out, answers(held_out), direction)
