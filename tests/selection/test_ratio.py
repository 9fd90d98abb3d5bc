"""The triangles' lengths, corners and edges, and the ratio network."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tutelage.errors import OptionError
from tutelage.selection.ratio import RatioNetwork, Triangles


def corners(seed: int, n: int = 7, classes: int = 10):
    generator = torch.Generator().manual_seed(seed)
    s, t, m = (torch.softmax(2 * torch.randn(n, classes, generator=generator), dim=1) for _ in range(3))
    return s, t, F.one_hot(torch.randint(0, classes, (n,), generator=generator), classes).float(), m


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 90),
        ({"edges": "dist"}, 45),
        ({"edges": "dist_only"}, 5),
        ({"student_teacher_edge": False}, 80),
        ({"inter": False}, 60),
        ({"inter": False, "student_teacher_edge": False}, 50),
        ({"intra": False}, 60),
        ({"edges": "dist_only", "inter": False}, 3),
    ],
)
def test_length_of_the_state(options, size):
    triangles = Triangles(**options)
    assert triangles(*corners(0)).shape == (7, size)
    assert triangles.size(10) == size


def test_squared_edges_stand_after_the_corners_in_order():
    s, t, g, m = corners(1)
    blocks = Triangles()(s, t, g, m).split(10, dim=1)
    expected = [s, t, g, m, (s - g) ** 2, (s - t) ** 2, (t - g) ** 2, (s - m) ** 2, (m - g) ** 2]
    for got, want in zip(blocks, expected, strict=True):
        assert torch.equal(got, want)


def test_lengths_are_euclidean_and_consistent_with_squared_edges():
    s, t, g, m = corners(2)
    lengths = Triangles("dist_only")(s, t, g, m)
    squared = Triangles("sq")(s, t, g, m)[:, 40:].reshape(7, 5, 10).sum(dim=2)
    torch.testing.assert_close(lengths, squared.sqrt())
    assert torch.equal(Triangles("dist")(s, t, g, m), torch.cat([s, t, g, m, lengths], dim=1))


@given(seed=st.integers(0, 1000))
def test_each_triangle_obeys_the_triangle_inequality(seed):
    sg, st_, tg, sm, mg = Triangles("dist_only")(*corners(seed)).double().unbind(dim=1)
    for a, b, c in (*itertools.permutations((sg, st_, tg)), *itertools.permutations((sg, sm, mg))):
        assert (a <= b + c + 1e-6).all()


def test_student_equal_to_teacher_has_no_edge_between_them():
    s, _, g, m = corners(3)
    assert torch.equal(Triangles()(s, s, g, m)[:, 50:60], torch.zeros(7, 10))


def test_a_perfect_teacher_has_no_edge_between_class_mean_and_label():
    s, _, g, _ = corners(4)
    assert torch.equal(Triangles()(s, g, g, g)[:, 80:], torch.zeros(7, 10))


@pytest.mark.parametrize(
    ("options", "match"), [({"edges": "cosine"}, "edges is 'cosine'"), ({"intra": False, "inter": False}, "no triangle")]
)
def test_impossible_options_are_refused(options, match):
    with pytest.raises(OptionError, match=match):
        Triangles(**options)


def test_the_network_has_the_stated_layers_and_answers_in_the_open_unit_interval():
    network = RatioNetwork(90)
    kinds = [(type(layer), getattr(layer, "out_features", None)) for layer in network.layers]
    assert kinds == [(nn.Linear, 32), (nn.LeakyReLU, None), (nn.Linear, 16), (nn.LeakyReLU, None), (nn.Linear, 1)]
    ratios = network(torch.randn(11, 90))
    assert ratios.shape == (11,)
    assert ((ratios > 0) & (ratios < 1)).all()


def test_a_zero_last_layer_answers_one_half_and_no_hidden_layer_is_a_linear_model():
    network = RatioNetwork(5, hidden=())
    assert len(network.layers) == 1
    nn.init.zeros_(network.layers[-1].weight)
    nn.init.zeros_(network.layers[-1].bias)
    assert torch.equal(network(torch.randn(4, 5)), torch.full((4,), 0.5))
