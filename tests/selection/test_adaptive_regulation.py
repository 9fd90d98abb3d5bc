from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.selection import adaptive_regulation


@pytest.mark.parametrize(("p", "s", "eta"), [(1, 0, 1), (0.5, 0, 0.5110), (0.5, 0.1, 0.1251), (0.9, 0.05, 0.4027), (0.2, 0.2, 0.0455)])
def test_known_values(p, s, eta):
    assert adaptive_regulation(torch.tensor([float(p)]), torch.tensor([float(s)])).item() == pytest.approx(eta, abs=5e-5)


def test_it_rises_with_confidence_and_falls_with_spread():
    p, s = torch.meshgrid(torch.linspace(0.01, 1, 40), torch.linspace(1e-3, 0.5, 40), indexing="ij")
    weight = adaptive_regulation(p, s)
    assert (weight > 0).all()
    assert (weight <= 1).all()
    assert (weight.diff(dim=0) > 0).all()
    assert (weight.diff(dim=1) <= 0).all()
    assert (weight.diff(dim=1)[:, 5:] < 0).all()


def test_without_spread_only_confidence_counts():
    p = torch.linspace(0, 1, 11)
    torch.testing.assert_close(adaptive_regulation(p, torch.zeros(11)), 2 * torch.sigmoid(p.exp() - math.e))


def test_no_graph_and_no_broadcasting():
    p = torch.rand(4, requires_grad=True)
    assert not adaptive_regulation(p, torch.rand(4)).requires_grad
    with pytest.raises(ShapeError, match="differ in shape"):
        adaptive_regulation(p, torch.rand(1))
