import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import losses
from tutelage.errors import ShapeError

repeatable = settings(max_examples=30, derandomize=True, deadline=None)
RELATIONS = [losses.similarity_preserving, losses.relational_distance, losses.relational_angle, losses.relational]
every_relation = pytest.mark.parametrize("relation", RELATIONS)


def features(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def huber(difference):
    return 0.5 * difference**2 if abs(difference) <= 1.0 else abs(difference) - 0.5


def test_similarity_preserving_by_hand():
    # Orthogonal samples against equal ones: rows (1, 0), (0, 1) against (1, 1) / sqrt 2.
    student, teacher = torch.eye(2), torch.ones(2, 3)
    expected = ((1.0 - math.sqrt(0.5)) ** 2 + 0.5) / 2.0
    torch.testing.assert_close(losses.similarity_preserving(student, teacher), torch.full((2,), expected))


def test_similarity_preserving_is_the_papers_frobenius_norm():
    student, teacher = features(6, 3, 2), features(6, 5, seed=1)
    gram = [rows.flatten(1) @ rows.flatten(1).T for rows in (student, teacher)]
    unit = [g / g.norm(dim=1, keepdim=True) for g in gram]
    expected = (unit[0] - unit[1]).norm() ** 2 / 6**2
    torch.testing.assert_close(losses.mean(losses.similarity_preserving(student, teacher)), expected)


def test_relational_distance_by_loops():
    student, teacher = features(5, 2), 3.0 * features(5, 4, seed=1)
    pairs = list(itertools.permutations(range(5), 2))
    scale = [sum((x[i] - x[j]).norm().item() for i, j in pairs) / len(pairs) for x in (student, teacher)]
    expected = torch.zeros(5, dtype=torch.float64)
    for i, j in pairs:
        distances = [(x[i] - x[j]).norm().item() / s for x, s in zip((student, teacher), scale, strict=True)]
        expected[i] += huber(distances[0] - distances[1]) / 4
    torch.testing.assert_close(losses.relational_distance(student, teacher), expected)


def test_relational_angle_by_loops():
    student, teacher = features(5, 2), features(5, 4, seed=1)
    expected = torch.zeros(5, dtype=torch.float64)
    for i, j, k in itertools.permutations(range(5), 3):
        cosines = [torch.cosine_similarity(x[i] - x[j], x[k] - x[j], dim=0).item() for x in (student, teacher)]
        expected[j] += huber(cosines[0] - cosines[1]) / 12
    torch.testing.assert_close(losses.relational_angle(student, teacher), expected)


def test_relational_angle_of_a_right_triangle_against_a_line():
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    teacher = torch.tensor([[0.0], [1.0], [-1.0]])
    # At the first point: cosine 0 against -1; both orders of the pair count alike.
    assert losses.relational_angle(student, teacher)[0].item() == pytest.approx(0.5)


def test_relational_is_the_weighted_sum():
    student, teacher = features(4, 3), features(4, 5, seed=1)
    distance, angle = losses.relational_distance(student, teacher), losses.relational_angle(student, teacher)
    torch.testing.assert_close(losses.relational(student, teacher), distance + 2.0 * angle)
    torch.testing.assert_close(losses.relational(student, teacher, distance_weight=0.0, angle_weight=1.0), angle)
    torch.testing.assert_close(losses.relational(student, teacher, distance_weight=3.0, angle_weight=0.0), 3.0 * distance)


@every_relation
@repeatable
@given(st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_scale_and_rotation_change_nothing_and_samples_keep_their_rows(relation, seed, factor):
    student, teacher = features(5, 4, seed=seed), features(5, 3, seed=seed + 1)
    expected = relation(student, teacher)
    assert expected.shape == (5,)
    rotation = torch.linalg.qr(features(4, 4, seed=seed + 2))[0]
    torch.testing.assert_close(relation(factor * student @ rotation, teacher), expected)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(relation(student[order], teacher[order]), expected[order])
    torch.testing.assert_close(relation(teacher, factor * teacher), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("relation", RELATIONS[1:])
def test_moving_all_samples_changes_no_distance_and_no_angle(relation):
    student, teacher = features(5, 4), features(5, 3, seed=1)
    torch.testing.assert_close(relation(student + 5.0, teacher - 2.0), relation(student, teacher))


@every_relation
def test_gradients(relation):
    student, teacher = features(4, 3).requires_grad_(), features(4, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(relation, (student, teacher))


@every_relation
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_few_samples_collapsed_and_dead_ones_have_finite_gradients(relation, samples):
    teacher = torch.randn(samples, 3, generator=torch.Generator().manual_seed(0))
    for student in (torch.ones(samples, 2), torch.zeros(samples, 2)):
        student.requires_grad_()
        loss = relation(student, teacher)
        assert loss.isfinite().all()
        loss.sum().backward()
        assert student.grad.abs().max() < 1e3


def test_one_sample_has_no_relations():
    for relation in RELATIONS[1:]:
        assert relation(torch.ones(1, 2), torch.ones(1, 3)).tolist() == [0.0]


@every_relation
def test_large_features_in_half_types(relation):
    student, teacher = (1e4 * features(6, 4)).bfloat16().requires_grad_(), (1e4 * features(6, 5, seed=1)).bfloat16()
    loss = relation(student, teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), relation(student.detach().double(), teacher.double()), rtol=1e-4, atol=1e-5)
    loss.sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0.0


@every_relation
def test_autocast_does_not_lower_the_precision(relation):
    student, teacher = features(6, 4).float(), features(6, 5, seed=1).float()
    expected = relation(student, teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(relation(student, teacher), expected)


@every_relation
def test_other_samples_are_refused(relation):
    with pytest.raises(ShapeError, match="same number of samples"):
        relation(torch.zeros(3, 2), torch.zeros(4, 2))
