from __future__ import annotations

import pytest
import torch

from tutelage.data.teacher_task import gaussian_inputs, quadratic
from tutelage.evaluate.kernels import tangent_kernel
from tutelage.evaluate.second_moment import alignment, answers, committee_kernel, loss_parts, second_moment
from tutelage.methods.theory.grokking import Grokking

D = 5


def test_answers_from_neurons_are_those_from_the_second_moment():
    student = Grokking(D, alpha=1.7, epsilon=0.4, width=9, centred=False, seed=2)
    x = gaussian_inputs(40, D, seed=0)
    torch.testing.assert_close(student.student(x), answers(second_moment(student.weight), x, 1.7, 0.4))


@pytest.mark.parametrize("centred", [True, False])
def test_the_parts_add_up_to_the_test_loss(centred):
    generator = torch.Generator().manual_seed(0)
    student = Grokking(D, alpha=0.8, epsilon=0.6, width=7, centred=centred)
    origin = second_moment(student.initial) if centred else None
    with torch.no_grad():
        student.weight.add_(0.3 * torch.randn(7, D, dtype=torch.float64, generator=generator))
    direction = torch.randn(D, dtype=torch.float64, generator=generator)
    x = gaussian_inputs(400_000, D, seed=1)
    squares = (student.student(x).detach() - quadratic(x, direction)) ** 2
    parts = loss_parts(second_moment(student.weight.detach()), direction, alpha=0.8, epsilon=0.6, origin=origin)
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(float(squares.mean()), abs=5 * float(squares.std()) / len(x) ** 0.5)


def test_the_parts_vanish_only_for_the_teacher_itself():
    direction = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    # Neurons +-v have no mean, and M = v v'.
    weight = torch.stack([direction, -direction]) / 0.5**0.5 / 2
    parts = loss_parts(second_moment(weight), direction, alpha=4.0, epsilon=0.5)
    assert sum(parts.values()) == pytest.approx(0, abs=1e-12)
    assert loss_parts(second_moment(weight + 0.1), direction, alpha=4.0, epsilon=0.5)["C"] > 0
    assert loss_parts(second_moment(1.1 * weight), direction, alpha=4.0, epsilon=0.5)["A"] > 0


def test_the_kernel_is_the_gram_matrix_of_gradients_and_scales_with_alpha():
    student = Grokking(D, alpha=1.3, epsilon=0.2, width=6)
    x, z = gaussian_inputs(12, D, seed=0), gaussian_inputs(7, D, seed=1)
    moment = second_moment(student.initial)
    found = committee_kernel(moment, x, z, alpha=1.3, epsilon=0.2, width=6)
    torch.testing.assert_close(found, tangent_kernel(student.student, x, z))
    torch.testing.assert_close(committee_kernel(moment, x, z, alpha=2.6, epsilon=0.2, width=6), 4 * found)


def test_alignment_is_one_when_only_the_teachers_direction_grew():
    direction = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    origin = torch.eye(4, dtype=torch.float64)
    moved = origin.clone()
    assert alignment(moved, origin, direction) == 0
    moved[:3, :3] += 2.5 * torch.outer(direction, direction)
    assert alignment(moved, origin, direction) == pytest.approx(1)
    assert alignment(origin - (moved - origin), origin, direction) == pytest.approx(-1)
