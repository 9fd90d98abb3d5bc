from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError
from tutelage.models.structured import ClassLinear, SelfPacedScale, SeparateLinear, StructuredHead

VERTICALS = [0, 1, 2] * 10
"""Thirty classes of three verticals, interleaved so that the order of classes matters."""


def head(structure: str, shared: int = 0) -> StructuredHead:
    torch.manual_seed(0)
    return StructuredHead(16, VERTICALS, structure=structure, first=8, second=4, shared=shared)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("structure", "shared", "weights"),
    [("fc-fc", 0, 280), ("fc-sc", 0, 344), ("sc-sc", 0, 600), ("fc-sc", 2, 312), ("fc-sc", 4, 280)],
)
def test_weight_counts_follow_the_formulas(structure: str, shared: int, weights: int) -> None:
    assert head(structure, shared).count_weights() == weights


def test_all_units_shared_is_the_fully_connected_head() -> None:
    full, partial = head("fc-fc"), head("fc-sc", shared=4)
    partial.load_state_dict(full.state_dict())
    features = torch.randn(5, 16)
    torch.testing.assert_close(full(features), partial(features))
    hidden = F.relu(full.second(F.relu(full.first(features))))
    plain = (hidden @ full.classes.weight.T + full.classes.bias)[:, full.classes.position]
    torch.testing.assert_close(full(features), plain)


@pytest.mark.parametrize("structure", ["fc-sc", "sc-sc"])
def test_equals_a_fully_connected_layer_with_a_block_mask(structure: str) -> None:
    layer = head(structure)
    features = torch.randn(5, 16)
    hidden = F.relu(layer.first(features))
    if isinstance(layer.second, SeparateLinear):
        wide = torch.block_diag(*layer.second.weight)
        units = F.relu(hidden @ wide + layer.second.bias.flatten())
    else:
        units = F.relu(layer.second(hidden))
    mask = torch.zeros(30, 12)
    dense = torch.zeros(30, 12)
    for c, m in enumerate(VERTICALS):
        mask[c, 4 * m : 4 * m + 4] = 1
        dense[c, 4 * m : 4 * m + 4] = layer.classes.weight[layer.classes.position[c]]
    assert torch.equal(dense * mask, dense)
    torch.testing.assert_close(layer(features), units @ dense.T + layer.classes.bias[layer.classes.position])


@pytest.mark.parametrize("structure", ["fc-sc", "sc-sc"])
def test_a_vertical_is_untouched_by_the_weights_of_another(structure: str) -> None:
    layer = head(structure)
    features = torch.randn(5, 16)
    before = layer(features)
    second = layer.second
    with torch.no_grad():
        if isinstance(second, SeparateLinear):
            second.weight[1] += 1
        else:
            second.weight[4:8] += 1
    after = layer(features)
    first_or_third = torch.tensor([m != 1 for m in VERTICALS])
    assert torch.equal(before[:, first_or_third], after[:, first_or_third])
    assert not torch.allclose(before[:, ~first_or_third], after[:, ~first_or_third])


@pytest.mark.parametrize("structure", ["fc-sc", "sc-sc"])
def test_a_loss_on_one_vertical_has_no_gradient_in_the_blocks_of_others(structure: str) -> None:
    layer = head(structure)
    layer(torch.randn(5, 16))[:, torch.tensor([m == 0 for m in VERTICALS])].square().sum().backward()
    gradient = layer.second.weight.grad
    blocks = gradient if structure == "sc-sc" else gradient.reshape(3, 4, 8)
    assert blocks[0].abs().sum() > 0
    assert torch.equal(blocks[1:], torch.zeros_like(blocks[1:]))
    rows = torch.tensor([m == 0 for m in VERTICALS])
    by_class = layer.classes.weight.grad[layer.classes.position]
    assert by_class[rows].abs().sum() > 0
    assert torch.equal(by_class[~rows], torch.zeros_like(by_class[~rows]))


def test_class_scores_keep_the_order_of_classes() -> None:
    layer = ClassLinear([1, 0, 1], 2)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.zero_()
    scores = layer(torch.tensor([[[1.0, 1.0], [5.0, 5.0]]]))
    assert scores.tolist() == [[10.0, 2.0, 10.0]]


def test_classes_start_at_their_prior_probability() -> None:
    layer = StructuredHead(16, VERTICALS, first=8, second=4, prior=0.1)
    torch.testing.assert_close(layer(torch.zeros(2, 16)).sigmoid(), torch.full((2, 30), 0.1))


def test_head_has_true_gradients() -> None:
    layer = head("fc-sc", shared=1).double()
    assert torch.autograd.gradcheck(layer, torch.randn(2, 16, dtype=torch.double, requires_grad=True))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 1000.0), st.integers(0, 10_000))
def test_score_is_invariant_to_positive_scaling_and_has_norm_gamma(factor: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(4, 30, generator=generator, dtype=torch.double) + 0.1
    scale = SelfPacedScale([0] * 15 + [1] * 10 + [2] * 5).double()
    y = scale(scores)
    torch.testing.assert_close(scale(factor * scores), y)
    norms = torch.stack([part.norm(dim=1) for part in y.split([15, 10, 5], dim=1)], dim=1)
    torch.testing.assert_close(norms, scale.gamma.detach().expand(4, -1))


def test_equal_scores_become_one_when_gamma_is_the_root_of_the_size() -> None:
    scale = SelfPacedScale([0] * 9 + [1] * 4, learned=False)
    assert scale.gamma.tolist() == [3.0, 2.0]
    y = scale(torch.full((1, 13), -7.0))
    torch.testing.assert_close(y, -torch.ones(1, 13))


def test_gradient_is_orthogonal_to_the_scores_of_each_vertical() -> None:
    scale = SelfPacedScale(VERTICALS).double()
    scores = torch.randn(6, 30, dtype=torch.double, requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(scale(scores), torch.rand(6, 30, dtype=torch.double))
    (gradient,) = torch.autograd.grad(loss, scores)
    product = (gradient * scores.detach()).reshape(6, 10, 3).sum(1)  # classes of vertical m are m, m + 3, ...
    torch.testing.assert_close(product, torch.zeros(6, 3, dtype=torch.double), atol=1e-12, rtol=0)
    assert gradient.abs().sum() > 0.01
    assert torch.autograd.gradcheck(scale, scores)


def test_norm_over_all_classes() -> None:
    scale = SelfPacedScale(VERTICALS, norm_scope="all", gamma=10.0, std=0.0)
    torch.testing.assert_close(scale(torch.randn(4, 30)).norm(dim=1), torch.full((4,), 10.0))


@pytest.mark.parametrize("level", ["vertical", "class"])
@pytest.mark.parametrize(("gamma", "expected"), [("sqrt", 10**0.5), (10.0, 10.0)])
def test_gamma_starts_around_its_mean(level: str, gamma: float | str, expected: float) -> None:
    torch.manual_seed(0)
    scale = SelfPacedScale([0] * 10 + [1] * 10 + [2] * 10, level=level, gamma=gamma)  # type: ignore[arg-type]
    assert scale.gamma.shape == ((3,) if level == "vertical" else (30,))
    assert scale.gamma.requires_grad
    assert (scale.gamma - expected).abs().max() < 0.15
    assert (scale.gamma - expected).abs().min() > 0


def test_class_level_scales_each_class_by_its_own_gamma() -> None:
    scale = SelfPacedScale([0, 0, 1], level="class", std=0.0)
    with torch.no_grad():
        scale.gamma.copy_(torch.tensor([1.0, 10.0, 2.0]))
    torch.testing.assert_close(scale(torch.tensor([[3.0, 4.0, -5.0]])), torch.tensor([[0.6, 8.0, -2.0]]))


def test_zero_and_half_precision_scores_stay_finite() -> None:
    scale = SelfPacedScale([0, 0, 1])
    zero = torch.zeros(2, 3, requires_grad=True)
    scale(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()
    assert torch.isfinite(scale(torch.full((1, 3), 6e4, dtype=torch.float16))).all()


@pytest.mark.parametrize(
    "options",
    [{"prior": 1.0}, {"structure": "sc-fc"}, {"shared": 5, "second": 4}, {"shared": 2, "structure": "sc-sc"}, {"first": 0}],
)
def test_head_refuses_options(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        StructuredHead(16, VERTICALS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"level": "image"}, {"norm_scope": "none"}, {"gamma": "big"}])
def test_scale_refuses_options(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        SelfPacedScale(VERTICALS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("verticals", [[], [0, 2], [-1, 0], [[0, 1]]])
def test_verticals_without_a_class_are_refused(verticals: list[int]) -> None:
    with pytest.raises(ShapeError):
        StructuredHead(16, verticals)


@pytest.mark.parametrize("structure", ["fc-fc", "fc-sc", "sc-sc"])
def test_head_and_scale_are_exported_for_any_batch_size(structure: str) -> None:
    model = torch.nn.Sequential(head(structure), SelfPacedScale(VERTICALS)).eval()
    exported = torch.export.export(model, (torch.randn(3, 16),), dynamic_shapes=({0: torch.export.Dim("n", min=2, max=64)},))
    features = torch.randn(7, 16)
    torch.testing.assert_close(exported.module()(features), model(features))
