from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tutelage.errors import OptionError, ShapeError
from tutelage.evaluate.kernels import centre, cka, kernel_change, kernel_descent, kernel_regression, tangent_kernel
from tutelage.models.linearised import Linearised


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def network(outputs: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, outputs)).double()


def test_the_tangent_kernel_is_the_gram_matrix_of_gradients():
    net = network(2)
    x, z = torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)

    def gradients(samples):
        rows = [[torch.autograd.grad(net(s[None])[0, c], list(net.parameters())) for c in range(2)] for s in samples]
        return torch.stack([torch.stack([torch.cat([g.flatten() for g in one]) for one in row]) for row in rows])

    wanted = torch.einsum("ick,jck->ij", gradients(x), gradients(z))
    torch.testing.assert_close(tangent_kernel(net, x, z), wanted)
    torch.testing.assert_close(tangent_kernel(net, x, z, chunk=2), wanted)
    own = tangent_kernel(net, x)
    torch.testing.assert_close(own, own.mT)
    assert float(torch.linalg.eigvalsh(own).min()) > -1e-10
    with pytest.raises(ShapeError, match="empty"):
        tangent_kernel(net.requires_grad_(False), x)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["columns", "both"]))
def test_cka_lies_between_minus_one_and_one(seed, centring):
    g = torch.Generator().manual_seed(seed)
    y, roots = torch.randn(6, dtype=torch.float64, generator=g), torch.randn(6, 4, dtype=torch.float64, generator=g)
    assert -1 <= float(cka(roots @ roots.mT, y, centring=centring)) <= 1
    any_kernel = torch.randn(6, 6, dtype=torch.float64, generator=g)
    assert -1 <= float(cka(any_kernel, y, centring=centring)) <= 1


def test_cka_is_one_for_the_labels_own_kernel_and_knows_neither_scale_nor_shift():
    y = torch.randn(7, dtype=torch.float64)
    centred = y - y.mean()
    kernel = torch.outer(centred, centred)
    assert float(cka(kernel, y)) == pytest.approx(1)
    assert float(cka(-kernel, y)) == pytest.approx(-1)
    roots = torch.randn(7, 3, dtype=torch.float64)
    other = roots @ roots.mT
    torch.testing.assert_close(cka(5 * other + 2, 3 * y + 1, centring="both"), cka(other, y, centring="both"))
    torch.testing.assert_close(cka(torch.stack([kernel, other]), torch.stack([y, y])), torch.stack([cka(kernel, y), cka(other, y)]))
    assert float(cka(torch.ones(7, 7, dtype=torch.float64), y)) == 0
    torch.testing.assert_close(centre(other).sum(0), torch.zeros(7, dtype=torch.float64))
    with pytest.raises(OptionError, match="columns or both"):
        centre(other, "rows")
    with pytest.raises(ShapeError, match="does not fit"):
        cka(other, y[:3])


def test_kernel_regression_solves_the_system_or_takes_the_least_norm():
    roots, new = torch.randn(5, 9, dtype=torch.float64), torch.randn(4, 9, dtype=torch.float64)
    y = torch.randn(5, dtype=torch.float64)
    kernel, cross = roots @ roots.mT, new @ roots.mT
    torch.testing.assert_close(kernel_regression(kernel, y, cross), cross @ torch.linalg.solve(kernel, y))
    ridge = kernel + 0.7 * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(kernel_regression(kernel, y, cross, ridge=0.7), cross @ torch.linalg.solve(ridge, y))
    narrow, narrow_new = roots[:, :2], new[:, :2]  # singular: least squares on the features themselves
    fitted = narrow_new @ torch.linalg.lstsq(narrow, y[:, None]).solution[:, 0]
    torch.testing.assert_close(kernel_regression(narrow @ narrow.mT, y, narrow_new @ narrow.mT), fitted)
    with pytest.raises(OptionError, match="ridge"):
        kernel_regression(kernel, y, cross, ridge=-1.0)
    assert float(kernel_change(2 * kernel, kernel)) == pytest.approx(1)


def test_kernel_descent_is_the_linearised_network_under_gradient_descent():
    net = network()
    x, new, y = torch.randn(5, 3).double(), torch.randn(4, 3).double(), torch.randn(5).double()
    kernel, cross = tangent_kernel(net, x), tangent_kernel(net, new, x)
    rate, steps = 0.05, [0, 1, 2, 17, 60]
    fitted, found = kernel_descent(kernel, y, cross, rate=rate, steps=steps)
    line = Linearised(net, centred=True)
    optimizer = torch.optim.SGD([p for p in line.parameters() if p.requires_grad], lr=rate)
    for step in range(61):
        if step in steps:
            torch.testing.assert_close(line(x)[:, 0], fitted[steps.index(step)])
            torch.testing.assert_close(line(new)[:, 0], found[steps.index(step)])
        optimizer.zero_grad()
        ((line(x)[:, 0] - y) ** 2).mean().backward()
        optimizer.step()


def test_kernel_descent_ends_in_kernel_regression_and_refuses_to_diverge():
    roots, new, y = torch.randn(4, 6).double(), torch.randn(3, 6).double(), torch.randn(4).double()
    kernel, cross = roots @ roots.mT, new @ roots.mT
    limit = 4 / float(torch.linalg.eigvalsh(kernel).max())  # rate * 2 / N * largest eigenvalue = 2
    fitted, found = kernel_descent(kernel, y, cross, rate=0.7 * limit, steps=[1_000_000])
    torch.testing.assert_close(fitted[0], y)
    torch.testing.assert_close(found[0], kernel_regression(kernel, y, cross))
    with pytest.raises(OptionError, match="diverges above"):
        kernel_descent(kernel, y, cross, rate=1.01 * limit, steps=[1])
    singular = roots[:, :1] @ roots[:, :1].mT
    fitted, _ = kernel_descent(singular, y, singular, rate=1e-3, steps=[3])
    wanted = torch.zeros(4).double()
    for _ in range(3):
        wanted = wanted - 1e-3 * 2 / 4 * singular @ (wanted - y)
    torch.testing.assert_close(fitted[0], wanted)
