"""Retrieval: nDCG, reciprocal rank and average precision of ranked candidates, and how much two rankings share.

Tensors hold one list of candidates per query. Of equal scores the less relevant candidate counts as ranked higher (in average precision
they enter together), so a scorer that gives the same score to all gains nothing by the order of the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from tutelage.errors import DataError, OptionError, ShapeError, optional
from tutelage.evaluate.ranking import average_precision
from tutelage.selection.passages import pick

Gain = Literal["linear", "exponential"]


def _ranked(scores: Tensor, relevance: Tensor, mask: Tensor | None) -> Tensor:
    """Relevance in the order of the scores, float64 `[N, C]`, padding last with relevance 0."""
    shape = scores.shape
    if scores.ndim != 2 or relevance.shape != shape or (mask is not None and mask.shape != shape):
        shapes = [list(scores.shape), list(relevance.shape), None if mask is None else list(mask.shape)]
        raise ShapeError(f"Scores, relevance and mask have the shapes {shapes}; expected [N, C] for all.")
    real = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    if bool((scores.isnan() & real).any()):
        raise ShapeError("Some scores are NaN, which have no rank; check the model that gave them.")
    relevance = relevance.double().masked_fill(~real, 0.0)
    order = relevance.argsort(dim=1, stable=True)
    order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
    order = order.gather(1, real.gather(1, order).float().argsort(dim=1, descending=True, stable=True))
    return relevance.gather(1, order)


def ndcg(scores: Tensor, relevance: Tensor, *, k: int | None = 10, mask: Tensor | None = None, gain: Gain = "linear") -> Tensor:
    """Return nDCG of each query: `sum_r G(rel_r) / log2(1 + r)` over the first k ranks, divided by the same of the best order.

    Args:
        scores: higher ranks higher, float `[N, C]`.
        relevance: graded, not negative, `[N, C]`.
        k: number of ranks that count; `None` for all. Default 10.
        mask: bool `[N, C]`, False for padding; `None` if there is none.
        gain: `"linear"`: G(rel) = rel, as trec_eval has it (default); `"exponential"`: 2^rel - 1.

    Returns:
        float64 `[N]` in [0, 1]; 0 for a query without a relevant candidate.

    Raises:
        ShapeError: if the shapes differ or a score is NaN.
        OptionError: if k is below 1 or the gain is unknown.

    Source: Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR techniques, TOIS 2002.
    """
    if (k is not None and k < 1) or gain not in ("linear", "exponential"):
        raise OptionError(f"ndcg takes k of at least 1 (or None) and gain 'linear' or 'exponential', got {k} and '{gain}'.")
    ranked = _ranked(scores, relevance, mask)
    best = ranked.sort(dim=1, descending=True).values
    discount = 1.0 / torch.log2(2.0 + torch.arange(ranked.shape[1], dtype=torch.float64, device=ranked.device))
    if k is not None:
        discount[k:] = 0.0
    found, ideal = (((2.0**values - 1.0 if gain == "exponential" else values) * discount).sum(1) for values in (ranked, best))
    return found / ideal.masked_fill(ideal == 0, 1.0)


def reciprocal_rank(scores: Tensor, relevance: Tensor, *, k: int | None = 10, mask: Tensor | None = None, threshold: float = 1) -> Tensor:
    """Return one over the rank of the first relevant candidate of each query; its mean is MRR.

    Args:
        scores: float `[N, C]`.
        relevance: `[N, C]`.
        k: a first relevant candidate below rank k counts 0; `None` for no limit. Default 10.
        mask: bool `[N, C]`, False for padding.
        threshold: relevance from which a candidate is relevant. Default 1; TREC Deep Learning uses 2.

    Returns:
        float64 `[N]` in [0, 1].
    """
    hit = _ranked(scores, relevance, mask) >= threshold
    rank = hit.double().argmax(1) + 1
    found = hit.any(1) & (rank <= (hit.shape[1] if k is None else k))
    return found.double() / rank


def retrieval(scores: Tensor, relevance: Tensor, *, k: int = 10, mask: Tensor | None = None, threshold: float = 1) -> dict[str, float]:
    """Return the means over all queries of nDCG@k, MRR@k and MAP.

    Args:
        scores: float `[N, C]`.
        relevance: `[N, C]`.
        k: cut-off of the first two. Default 10.
        mask: bool `[N, C]`, False for padding.
        threshold: relevance from which a candidate is relevant to MRR and MAP. Default 1.

    Returns:
        `ndcg`, `mrr` and `map`, in [0, 1].

    Raises:
        ShapeError: if there is no query, the shapes differ or a score is NaN.
    """
    if not len(scores):
        raise ShapeError("There is no query to measure on.")
    counted = None if mask is None else mask.t()
    return {
        "ndcg": float(ndcg(scores, relevance, k=k, mask=mask).mean()),
        "mrr": float(reciprocal_rank(scores, relevance, k=k, mask=mask, threshold=threshold).mean()),
        "map": float(average_precision(scores.t(), relevance.t() >= threshold, counted=counted).nan_to_num(0.0).mean()),
    }


def overlap(scores: Tensor, reference: Tensor, k: int, mask: Tensor | None = None) -> Tensor:
    """Return how much of the best k items of a reference another scorer has among its own best k.

    Args:
        scores: float `[N, P]`.
        reference: float `[N, P]`.
        k: at least 1.
        mask: bool `[N, P]`, False for padding.

    Returns:
        Shares in [0, 1], float32 `[N]`; 1 for lists of at most k items.
    """
    ours, theirs = pick(scores, k, mask), pick(reference, k, mask)
    items = scores.shape[1]
    both = (ours.weight(items) * theirs.weight(items)).sum(1)
    return both / theirs.mask.sum(1).clamp_min(1)


def judge(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]], *, k: int = 10, threshold: int = 1
) -> dict[str, float]:
    """Measure a run against judgements by the library ir-measures, whose numbers compare with published ones.

    Relevant documents that the run lacks count, unlike in `retrieval`, which knows its candidates only. Judged queries without an answer
    in the run are left out.

    Args:
        qrels: relevance by query and document, as `data.ranking.read_qrels` returns it.
        run: score by query and document, as `data.ranking.read_run` returns it.
        k: cut-off of nDCG and MRR. Default 10.
        threshold: relevance from which a document is relevant to MRR and MAP. Default 1; TREC Deep Learning uses 2.

    Returns:
        `ndcg`, `mrr` and `map`, in [0, 1].

    Raises:
        DataError: if no query is in both.
        MissingExtra: if ir-measures is not installed.
    """
    measures = optional("ir_measures", "ranking")
    common = [query for query in qrels if query in run]
    if not common:
        raise DataError(
            f"None of the {len(run)} queries of the run is among the {len(qrels)} judged ones: are they of the same collection?"
        )
    wanted = {"ndcg": measures.nDCG @ k, "mrr": measures.RR(rel=threshold) @ k, "map": measures.AP(rel=threshold)}
    judged, ranked = ({query: dict(table[query]) for query in common} for table in (qrels, run))
    found = measures.calc_aggregate(list(wanted.values()), judged, ranked)
    return {name: float(found[measure]) for name, measure in wanted.items()}
