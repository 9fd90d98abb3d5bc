"""Tasks that differ in nothing but the order of their pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tutelage.data.arrays import Arrays, DataSet
from tutelage.errors import DataError, OptionError


def permuted_tasks(whole: DataSet, count: int, *, seed: int = 0, keep_first: bool = False) -> list[DataSet]:
    """Make several tasks of one data set by shuffling the places of all numbers of an input, in one fixed order for each task.

    Args:
        whole: data set whose inputs are tensors in memory, images or tables.
        count: number of tasks.
        seed: seed of the orders; task k has the same order whatever the count.
        keep_first: whether the first task leaves its pixels where they are.

    Returns:
        One data set for each task, with the same labels.

    Raises:
        OptionError: for fewer than one task.
        DataError: if the inputs are not a tensor in memory.

    Source: Goodfellow et al., An empirical investigation of catastrophic forgetting, arXiv 1312.6211.
    """
    if count < 1:
        raise OptionError(f"{count} tasks were asked for; expected at least 1.")
    tasks = []
    for number in range(count):
        random = np.random.default_rng(np.random.SeedSequence((seed, 0x9E23, number)))
        size = int(np.prod(whole.shape))
        order = torch.arange(size) if keep_first and number == 0 else torch.from_numpy(random.permutation(size))
        train, validation, test = (_shuffled(arrays, order) for arrays in (whole.train, whole.validation, whole.test))
        tasks.append(DataSet(f"{whole.name}, permutation {number + 1}", train, validation, test))
    return tasks


def _shuffled(arrays: Arrays, order: Tensor) -> Arrays:
    inputs = arrays.column("input")
    if not isinstance(inputs, Tensor) or inputs.ndim < 2:
        raise DataError(f"The inputs of '{arrays.name}' are a {type(inputs).__name__}; pixels are permuted of tensors [N, ...] in memory.")
    return arrays.replace(input=inputs.flatten(1)[:, order.to(inputs.device)].reshape(inputs.shape))
