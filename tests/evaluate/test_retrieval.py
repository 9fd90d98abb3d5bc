from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import DataError, OptionError, ShapeError
from tutelage.evaluate.retrieval import judge, ndcg, overlap, reciprocal_rank, retrieval


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 25), st.integers(0, 10_000), st.integers(1, 3))
def test_agrees_with_ir_measures(queries: int, candidates: int, seed: int, threshold: int) -> None:
    pytest.importorskip("ir_measures")
    generator = torch.Generator().manual_seed(seed)
    # Distinct scores: the library breaks ties by the documents' names.
    scores = torch.stack([torch.randperm(candidates, generator=generator).float() for _ in range(queries)])
    relevance = torch.randint(0, 4, (queries, candidates), generator=generator)
    qrels = {f"q{n}": {f"d{c}": int(r) for c, r in enumerate(row)} for n, row in enumerate(relevance.tolist())}
    run = {f"q{n}": {f"d{c}": s for c, s in enumerate(row)} for n, row in enumerate(scores.tolist())}
    theirs = judge(qrels, run, threshold=threshold)
    ours = retrieval(scores, relevance, threshold=threshold)
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_by_hand() -> None:
    scores, relevance = torch.tensor([[0.9, 0.8, 0.7, 0.6]]), torch.tensor([[0, 2, 0, 1]])
    ideal = 2 + 1 / math.log2(3)
    assert float(ndcg(scores, relevance)[0]) == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert float(ndcg(scores, relevance, k=2)[0]) == pytest.approx(2 / math.log2(3) / ideal)
    exponential = (3 / math.log2(3) + 1 / math.log2(5)) / (3 + 1 / math.log2(3))
    assert float(ndcg(scores, relevance, gain="exponential")[0]) == pytest.approx(exponential)
    assert float(reciprocal_rank(scores, relevance)[0]) == 0.5
    assert float(reciprocal_rank(scores, relevance, k=1)[0]) == 0
    assert retrieval(scores, relevance)["map"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert retrieval(scores, relevance, threshold=2)["map"] == pytest.approx(1 / 2)


def test_padding_changes_nothing_whatever_its_score() -> None:
    scores, relevance = torch.randn(5, 8), torch.randint(0, 3, (5, 8))
    mask = torch.cat([torch.ones(5, 8), torch.zeros(5, 3)], 1).bool()
    padded = torch.cat([scores, torch.full((5, 3), math.nan)], 1)
    assert retrieval(padded, torch.cat([relevance, torch.full((5, 3), 3)], 1), mask=mask) == retrieval(scores, relevance)


def test_equal_scores_gain_nothing_by_the_order_of_the_list() -> None:
    relevance = torch.tensor([[1, 0, 0, 0]])
    for flipped in (relevance, relevance.flip(1)):
        assert float(reciprocal_rank(torch.zeros(1, 4), flipped)[0]) == 0.25


def test_a_query_without_a_relevant_candidate_counts_zero() -> None:
    assert retrieval(torch.randn(1, 4), torch.zeros(1, 4)) == {"ndcg": 0.0, "mrr": 0.0, "map": 0.0}


def test_overlap_of_the_best_k() -> None:
    scores, reference = torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.tensor([[1.0, 3.0, 2.0, 4.0]])
    assert float(overlap(scores, reference, 2)[0]) == 0.5
    assert float(overlap(scores, reference, 4)[0]) == 1.0
    mask = torch.tensor([[True, False, True, False]])
    assert float(overlap(scores, reference, 1, mask)[0]) == 0.0
    assert float(overlap(scores, reference, 3, mask)[0]) == 1.0


def test_judgements_of_documents_that_a_run_lacks_count() -> None:
    pytest.importorskip("ir_measures")
    found = judge({"q": {"a": 1, "b": 1}, "unanswered": {"a": 1}}, {"q": {"a": 2.0, "c": 1.0}})
    assert found["map"] == pytest.approx(0.5)
    assert found["mrr"] == 1.0
    with pytest.raises(DataError, match="None of the 1 queries"):
        judge({"q": {"a": 1}}, {"other": {"a": 1.0}})


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="NaN"):
        ndcg(torch.tensor([[math.nan]]), torch.ones(1, 1))
    with pytest.raises(ShapeError, match="shapes"):
        ndcg(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="no query"):
        retrieval(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(OptionError, match="k of at least 1"):
        ndcg(torch.zeros(1, 2), torch.zeros(1, 2), k=0)
