from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OptionError, ShapeError
from tutelage.selection import queries
from tutelage.selection.core_set import greedy_k_centre
from tutelage.selection.queries import RULES, Answers, rule


def answers(rows, seed, classes=4, width=6):
    generator = torch.Generator().manual_seed(seed)
    probabilities = (2 * torch.randn(rows, classes, generator=generator)).softmax(1)
    features = torch.randn(rows, width, generator=generator)
    return Answers(probabilities, features, torch.randint(0, classes, (rows,), generator=generator))


@given(st.sampled_from(sorted(RULES)), st.integers(0, 30), st.integers(0, 1000))
def test_every_rule_chooses_so_many_different_rows(name, count, seed):
    chosen = rule(name)(answers(30, seed), answers(5, seed + 1), count, torch.Generator().manual_seed(seed))
    assert chosen.dtype == torch.int64
    assert chosen.shape == (count,)
    assert len(set(chosen.tolist())) == count
    assert all(0 <= row < 30 for row in chosen.tolist())


def test_entropy_asks_about_the_least_certain_and_survives_zero_probabilities():
    pool = Answers(torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1], [0.6, 0.4]]))
    assert queries.entropy(pool, pool, 3).tolist() == [1, 3, 2]


def test_replacing_probabilities_by_features_gives_core_set():
    pool, labelled = answers(40, 0), answers(4, 1)
    chosen = queries.feature_core_set(pool, labelled, 8)
    units = [torch.nn.functional.normalize(a.features, dim=1) for a in (pool, labelled)]
    # On the sphere the cosine distance is half the squared Euclidean one, so both choose alike.
    assert chosen.tolist() == greedy_k_centre(*units, 8).positions.tolist()
    swapped = queries.probability_core_set(Answers(units[0]), Answers(units[1]), 8)
    assert chosen.tolist() == swapped.tolist()


def test_labelled_probabilities_are_centres_and_not_their_labels():
    pool = Answers(torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]]))
    doubtful = Answers(torch.tensor([[0.1, 0.9, 0.0]]), labels=torch.tensor([0]))
    assert queries.probability_core_set(pool, doubtful, 3).tolist()[-1] == 1


def test_badge_takes_the_longest_gradient_and_then_the_least_alike():
    pool = answers(25, 2)
    one_hot = torch.nn.functional.one_hot(pool.probabilities.argmax(1), 4)
    gradients = torch.einsum("nc,nd->ncd", one_hot - pool.probabilities, pool.features).flatten(1)
    expected = [int(gradients.norm(dim=1).argmax())]
    while len(expected) < 7:
        far = (1 - gradients @ gradients[expected].T).amin(1)
        far[expected] = -torch.inf
        expected.append(int(far.argmax()))
    assert queries.gradient_core_set(pool, answers(3, 3), 7).tolist() == expected


def test_balanced_queries_go_where_labels_are_few():
    pool = Answers(torch.eye(3).repeat_interleave(20, 0))
    labelled = Answers(torch.eye(3)[[0, 0, 0, 1]], labels=torch.tensor([0, 0, 0, 1]))
    chosen = queries.class_balanced(pool, labelled, 14, torch.Generator().manual_seed(0))
    # 1/4 : 1/2 : 1/1 of 14 queries are 2, 4 and 8.
    assert torch.bincount(chosen // 20).tolist() == [2, 4, 8]
    again = queries.class_balanced(pool, labelled, 14, torch.Generator().manual_seed(1))
    assert chosen.tolist() != again.tolist()


def test_balanced_queries_pass_on_what_a_class_lacks():
    pool = Answers(torch.eye(3)[[0] * 10 + [1] * 10 + [2]])
    labelled = Answers(torch.eye(3)[:2], labels=torch.tensor([0, 1]))
    chosen = queries.class_balanced(pool, labelled, 9, torch.Generator().manual_seed(0))
    assert torch.bincount(pool.probabilities[chosen].argmax(1)).tolist() == [4, 4, 1]
    assert sorted(queries.class_balanced(pool, labelled, 21).tolist()) == list(range(21))


def test_random_follows_its_generator():
    pool = answers(30, 4)
    a, b, c = (queries.random(pool, pool, 5, torch.Generator().manual_seed(s)).tolist() for s in (0, 0, 1))
    assert a == b != c


def test_what_is_missing_is_named():
    bare = Answers(torch.full((4, 2), 0.5))
    with pytest.raises(ShapeError, match="features"):
        queries.feature_core_set(bare, bare, 1)
    with pytest.raises(ShapeError, match="labels"):
        queries.class_balanced(bare, bare, 1)
    with pytest.raises(OptionError, match="5 queries"):
        queries.random(bare, bare, 5)
    with pytest.raises(OptionError, match="entropy"):
        rule("entrop")
    with pytest.raises(ShapeError, match="3 of features"):
        Answers(torch.zeros(4, 2), torch.zeros(3, 2))
    assert rule(queries.entropy) is queries.entropy
