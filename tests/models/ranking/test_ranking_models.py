from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.models.ranking import ConvKernels, CrossEncoder, KernelPooling, PassageScorer, TopScores


def _batch(documents: int = 3, passages: int = 4, vocabulary: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    query = torch.randint(1, vocabulary, (documents, 5), generator=generator)
    query[:, 3:] = 0
    windows = torch.randint(1, vocabulary, (documents, passages, 12), generator=generator)
    windows[:, :, 9:] = 0
    mask = torch.ones(documents, passages, dtype=torch.bool)
    mask[1, 2:] = False
    return query, windows, mask


def _models() -> list[PassageScorer]:
    torch.manual_seed(0)
    table = nn.Embedding(50, 16, padding_idx=0)
    sizes = {"width": 16, "layers": 1, "heads": 2, "passage_length": 12}
    return [
        CrossEncoder(50, head="kernels", **sizes).eval(),
        CrossEncoder(50, head="cls", **sizes).eval(),
        ConvKernels(table).eval(),
        ConvKernels(table, projection=12, width=8).eval(),
    ]


def test_an_exact_match_activates_the_first_kernel_once():
    pooling = KernelPooling()
    vector = F.normalize(torch.randn(1, 1, 6), dim=-1)
    one = torch.ones(1, 1, dtype=torch.bool)
    counts = pooling.activations(vector @ vector.transpose(1, 2), one, one)
    assert counts[0, 0].exp().item() == pytest.approx(1.0, abs=2e-5)


def test_a_padded_passage_gives_the_floor_for_every_query_token():
    pooling = KernelPooling()
    query_mask = torch.tensor([[True, True, True, False]])
    activations = pooling.activations(torch.rand(1, 4, 7), query_mask, torch.zeros(1, 7, dtype=torch.bool))
    torch.testing.assert_close(activations, torch.full((1, 11), 3 * math.log(1e-4)))


def test_kernels_by_hand():
    pooling = KernelPooling(means=(1.0, 0.5), sigma=0.2)
    cosines = torch.tensor([[[0.9, 0.1]]])
    both = torch.ones(1, 2, dtype=torch.bool)
    found = pooling.activations(cosines, torch.ones(1, 1, dtype=torch.bool), both)[0]
    expected = [math.log(sum(math.exp(-((c - mean) ** 2) / 0.08) for c in (0.9, 0.1))) for mean in (1.0, 0.5)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_kernels_start_as_published():
    pooling = KernelPooling()
    assert pooling.centres == pytest.approx([1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9])
    assert pooling.output.weight.abs().max() <= 0.01
    assert pooling.alpha.tolist() == [1.0] * 11


@pytest.mark.parametrize("model", _models(), ids=["kernels", "cls", "ck", "small-ck"])
def test_a_passage_scores_the_same_alone_and_among_others_and_padding_changes_nothing(model):
    query, windows, mask = _batch()
    with torch.no_grad():
        scores = model(query, windows, mask)
        assert scores.shape == mask.shape
        assert (scores[~mask] == 0).all()
        alone = model(query[:1, :3], windows[:1, 1:2], mask[:1, 1:2])
        torch.testing.assert_close(alone[0, 0], scores[0, 1], atol=1e-5, rtol=1e-4)
        # What stands where there is no passage is never read.
        changed = windows.clone()
        changed[1, 2:] = 7
        torch.testing.assert_close(model(query, changed, mask), scores)
        one_query = model(query[:1], windows, mask)
        repeated = model(query[:1].expand(3, -1), windows, mask)
        torch.testing.assert_close(one_query, repeated)


@pytest.mark.parametrize("model", _models(), ids=["kernels", "cls", "ck", "small-ck"])
def test_blocks_of_any_size_give_the_same_scores(model):
    query, windows, mask = _batch()
    small = copy.deepcopy(model)
    small.batch = 3
    with torch.no_grad():
        torch.testing.assert_close(small(query, windows, mask), model(query, windows, mask), atol=1e-5, rtol=1e-4)
        assert model(query, windows, torch.zeros_like(mask)).abs().sum() == 0


def test_the_embeddings_of_ck_are_its_teachers_and_get_no_gradient():
    table = nn.Embedding(50, 16, padding_idx=0)
    student = ConvKernels(table, projection=12, width=8)
    assert not any("table" in name for name in student.state_dict())
    student(*_batch()).sum().backward()
    assert table.weight.grad is None
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert student.table is table


def test_the_convolution_of_ck_looks_ahead_and_is_as_wide_as_the_embeddings():
    student = ConvKernels(nn.Embedding(50, 16))
    assert tuple(student.convolution.weight.shape) == (16, 16, 3)
    ids = torch.tensor([[4, 5, 6, 7]])
    changed = torch.tensor([[9, 5, 6, 7]])
    with torch.no_grad():
        before, after = student.tokens(ids), student.tokens(changed)
    # A token's features hold itself and the two after it, so only the first token's change.
    assert not torch.equal(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert ConvKernels(nn.Embedding(50, 16), projection=384, width=128).convolution.weight.shape == (128, 384, 3)


def test_equal_tokens_match_from_the_start_unless_the_convolution_is_random():
    torch.manual_seed(0)
    table = nn.Embedding(50, 32)
    tokens, other = torch.tensor([[3, 4, 5]]), torch.tensor([[3, 9, 8]])

    def cosine(initial: str) -> float:
        student = ConvKernels(table, initial=initial)
        with torch.no_grad():
            return float((student.tokens(tokens)[0, 0] * student.tokens(other)[0, 0]).sum())

    assert cosine("identity") > 0.95
    assert cosine("torch") < 0.9
    with pytest.raises(OptionError, match="initial is 'zeros'"):
        ConvKernels(table, initial="zeros")


def test_the_best_passage_alone_is_max_p():
    scores, mask = torch.tensor([[0.5, -1.0, 2.0], [-3.0, -2.0, 9.0]]), torch.tensor([[True] * 3, [True, True, False]])
    assert TopScores(1)(scores, mask).tolist() == [2.0, -2.0]


def test_weights_follow_the_order_of_the_scores_and_missing_ones_count_nothing():
    aggregation = TopScores(3)
    assert aggregation.weight.tolist() == [1.0, 1.0, 1.0]
    aggregation.weight.data = torch.tensor([1.0, 0.5, 0.25])
    scores = torch.tensor([[1.0, 4.0, 2.0, 3.0], [5.0, 7.0, 0.0, 0.0]])
    mask = torch.tensor([[True] * 4, [True, False, False, True]])
    # A score of exactly 0 is a score: the second document has 5 and 0.
    assert aggregation(scores, mask).tolist() == [4 + 0.5 * 3 + 0.25 * 2, 5.0]
    assert aggregation(scores[:, :1], mask[:, :1]).tolist() == [1.0, 5.0]
    scores.requires_grad_()
    aggregation(scores, mask).sum().backward()
    assert scores.grad.tolist() == [[0, 1, 0.25, 0.5], [1, 0, 0, 0.5]]


def test_refuses_sizes_out_of_range():
    with pytest.raises(OptionError, match="heads that divide the width"):
        CrossEncoder(50, width=10, heads=4)
    with pytest.raises(OptionError, match="head is 'mean'"):
        CrossEncoder(50, head="mean")
    with pytest.raises(OptionError, match="at least 1"):
        ConvKernels(nn.Embedding(5, 4), width=0)
    with pytest.raises(OptionError, match="at least 1 passage score"):
        TopScores(0)
    with pytest.raises(OptionError, match="sigma"):
        KernelPooling(sigma=0.0)
