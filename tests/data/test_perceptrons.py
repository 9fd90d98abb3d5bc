from __future__ import annotations

import pytest
import torch

from tutelage.data.perceptrons import perceptron_task, perceptron_teachers
from tutelage.errors import OptionError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("overlap", "sign"), [(1.0, 1.0), (-1.0, -1.0)])
def test_teachers_of_full_overlap_are_equal_or_opposite(overlap, sign):
    first, second = perceptron_teachers(200, overlap, generator=generator())
    assert torch.equal(second, sign * first)
    assert set(first.tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("overlap", [-0.5, 0.0, 0.6])
def test_overlaps_have_the_stated_mean_and_variance(overlap):
    size, draws, source = 100, 3000, generator(1)
    pairs = [perceptron_teachers(size, overlap, generator=source) for _ in range(draws)]
    found = torch.stack([(pair[0] * pair[1]).mean() for pair in pairs])
    spread = ((1 - overlap**2) / size) ** 0.5
    assert found.mean().item() == pytest.approx(overlap, abs=5 * spread / draws**0.5)
    assert found.std().item() == pytest.approx(spread, rel=0.07)
    assert torch.stack([pair[0].mean() for pair in pairs]).mean().abs() < 0.01


def test_every_teacher_of_a_chain_resembles_the_one_before():
    teachers = perceptron_teachers(20000, 0.5, generator=generator(2), count=3)
    assert (teachers[1] * teachers[2]).mean().item() == pytest.approx(0.5, abs=0.03)
    assert (teachers[0] * teachers[2]).mean().item() == pytest.approx(0.25, abs=0.03)


def test_labels_are_the_teacher_s_also_where_it_is_undecided():
    teacher = perceptron_teachers(4, 0.0, generator=generator(3), count=1)[0]
    task = perceptron_task(teacher, 400, generator=generator(4))
    inputs = task.column("input")
    score = inputs @ teacher
    assert set(inputs.flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(task.labels[score > 0], torch.ones(int((score > 0).sum()), dtype=torch.int64))
    assert not task.labels[score < 0].any()
    assert 0.3 < task.labels[score == 0].float().mean() < 0.7  # neither class takes all ties
    again = perceptron_task(-teacher, 400, generator=generator(4))
    assert torch.equal(again.labels, 1 - task.labels)


def test_numbers_out_of_range_are_named():
    with pytest.raises(OptionError, match=r"overlap 1\.5"):
        perceptron_teachers(5, 1.5, generator=generator())
    with pytest.raises(OptionError, match="0 patterns"):
        perceptron_task(torch.ones(3), 0, generator=generator())
