from __future__ import annotations

import pytest
import torch

from tutelage.errors import OptionError, ShapeError
from tutelage.models.committee import Committee
from tutelage.models.modular import SumTransformer, modular_pairs
from tutelage.models.output_scale import OutputScale


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_a_committee_is_the_mean_of_its_units_in_any_order():
    net = Committee(4, 6, epsilon=0.3, seed=1)
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_hand = sum((h := x @ w) + 0.15 * h**2 for w in net.weight) / 6
    torch.testing.assert_close(net(x), by_hand)
    with torch.no_grad():
        net.weight.copy_(net.weight.flip(0))
    torch.testing.assert_close(net(x), by_hand)
    for name, function in (("relu", torch.relu), ("erf", torch.erf), ("tanh", torch.tanh)):
        other = Committee(4, 6, activation=name, seed=1)
        torch.testing.assert_close(other(x), function(x @ other.weight.mT).mean(1))


def test_without_the_square_a_committee_is_linear():
    net = Committee(4, 6, epsilon=0.0)
    x, z = torch.randn(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(net(2 * x + z), 2 * net(x) + net(z))


def test_weights_have_the_stated_spread_and_seed():
    net = Committee(100, 300, weight_scale=0.5, seed=2)
    assert float(net.weight.detach().std()) == pytest.approx(0.5, rel=0.02)
    assert torch.equal(net.weight, Committee(100, 300, weight_scale=0.5, seed=2).weight)
    assert not torch.equal(net.weight, Committee(100, 300, weight_scale=0.5, seed=3).weight)


def test_committees_that_cannot_be_are_refused():
    with pytest.raises(OptionError, match="sigmoid"):
        Committee(3, 4, activation="sigmoid")
    with pytest.raises(OptionError, match="at least 1"):
        Committee(0, 4)
    with pytest.raises(OptionError, match="weight_scale"):
        Committee(3, 4, weight_scale=0.0)
    with pytest.raises(ShapeError, match=r"\[N, 3\]"):
        Committee(3, 4)(torch.zeros(2, 5, dtype=torch.float64))


def test_a_scaled_network_starts_at_zero_only_when_centred_and_keeps_its_origin():
    x = torch.randn(5, 4, dtype=torch.float64)
    net = Committee(4, 6)
    first = net(x).detach()
    plain, centred = OutputScale(net, 3.0), OutputScale(net, 3.0, centred=True)
    torch.testing.assert_close(plain(x), 3 * first)
    assert torch.equal(centred(x), torch.zeros(5, dtype=torch.float64))
    with torch.no_grad():
        net.weight.add_(0.1)
    torch.testing.assert_close(centred(x), 3 * (net(x) - first))
    assert [name for name, p in centred.named_parameters() if p.requires_grad] == ["model.weight"]
    for scale in (0.0, float("inf"), float("nan")):
        with pytest.raises(OptionError, match="scale"):
            OutputScale(net, scale)


def test_the_sum_transformer_sees_order_and_all_pairs_are_listed_once():
    pairs, sums = modular_pairs(5)
    assert len({tuple(pair) for pair in pairs.tolist()}) == 25
    assert sums.tolist() == [(a + b) % 5 for a, b in pairs.tolist()]
    torch.manual_seed(0)
    net = SumTransformer(5, width=8, heads=2)
    logits = net(pairs)
    assert logits.shape == (25, 5)
    assert not torch.allclose(logits, net(pairs.flip(1)))
    net.place.data[1] = net.place.data[0]  # without places a sum does not depend on the order
    torch.testing.assert_close(net(pairs), net(pairs.flip(1)))
    with pytest.raises(OptionError, match="multiple of heads"):
        SumTransformer(5, width=9, heads=2)
