from __future__ import annotations

import pytest
import torch

from tutelage.data.teacher_task import gaussian_inputs, quadratic, quadratic_power, teacher_task
from tutelage.errors import DataError, OptionError


def test_inputs_have_the_stated_law_and_smaller_sets_come_first_in_larger_ones():
    x = gaussian_inputs(20_000, 5, seed=3)
    assert x.dtype == torch.float64
    torch.testing.assert_close(x.mT @ x / len(x), torch.eye(5, dtype=torch.float64) / 5, atol=0.01, rtol=0)
    small, large = teacher_task(7, 13, test=50, seed=1), teacher_task(7, 100, test=20, seed=1)
    assert torch.equal(large.train_input[:13], small.train_input)
    assert torch.equal(small.test_input[:20], large.test_input)
    assert torch.equal(small.direction, large.direction)
    assert not torch.equal(teacher_task(7, 13, seed=2).train_input, small.train_input)


def test_the_power_of_the_quadratic_teacher_is_exact():
    direction = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    y = quadratic(gaussian_inputs(400_000, 3, seed=0), direction)
    assert quadratic_power(direction) == pytest.approx(float((y**2).mean()), rel=0.03)
    assert float(y.min()) >= 0
    task = teacher_task(4, 10, seed=0)
    assert task.power == pytest.approx(0.75 * (float((task.direction**2).sum()) / 4) ** 2)
    torch.testing.assert_close(task.train_target, 0.5 * (task.train_input @ task.direction) ** 2)


def test_any_function_can_teach_and_wrong_answers_are_named():
    task = teacher_task(3, 10, test=40, seed=0, teacher=lambda x: x.sum(-1))
    torch.testing.assert_close(task.test_target, task.test_input.sum(1))
    assert task.direction is None
    assert task.power == pytest.approx(float((task.test_target**2).mean()))
    with pytest.raises(DataError, match=r"\[10, 3\].*expected one finite number per row"):
        teacher_task(3, 10, teacher=lambda x: x)
    with pytest.raises(DataError, match="not finite"):
        teacher_task(3, 10, teacher=lambda x: x[:, 0] / 0)
    for wrong in ({"dimensions": 0, "samples": 5}, {"dimensions": 5, "samples": 0}, {"dimensions": 5, "samples": 5, "seed": -1}):
        with pytest.raises(OptionError, match="expected"):
            teacher_task(**wrong)
