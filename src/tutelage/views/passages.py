"""Passages: long sequences of tokens cut into windows that overlap their neighbours."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.data import Arrays
from tutelage.errors import DataError, OptionError, ShapeError


class Passages(NamedTuple):
    """Documents as windows.

    Args:
        tokens: int64 `[N, P, W]`, 0 where there is none.
        mask: bool `[N, P]`, True for the windows that a document has: always its first ones.
    """

    tokens: Tensor
    mask: Tensor


def windows(documents: Tensor, *, core: int = 50, overlap: int = 7, limit: int | None = 2000) -> Passages:
    """Cut documents into windows of `core + 2 overlap` tokens whose cores follow each other.

    A window is kept if its core has a token; beyond both ends of a document there is padding. 2,000 tokens make 40 windows of 64.

    Args:
        documents: tokens int64 `[N, L]`, each followed by padding of 0, which is no token.
        core: tokens that belong to one window alone, and the stride. Default 50.
        overlap: tokens on each side that the neighbours have too. Default 7.
        limit: longer documents are cut to so many tokens; `None` for no limit. Default 2,000.

    Returns:
        As many windows P as the longest document has, at least 1.

    Raises:
        OptionError: for sizes out of range.
        ShapeError: if the documents are not `[N, L]`, or have padding between tokens.

    Source: Hofstaetter et al., Intra-Document Cascading, SIGIR 2021, section 4; sizes of its released configuration.
    """
    if core < 1 or overlap < 0 or (limit is not None and limit < 1):
        raise OptionError(f"windows takes a core of at least 1 and an overlap of at least 0, got {core} and {overlap} (limit {limit}).")
    if documents.ndim != 2:
        raise ShapeError(f"Documents have shape {list(documents.shape)}; expected tokens [N, L].")
    documents = documents[:, :limit]
    present = documents != 0
    lengths = present.sum(1)
    # Every token before the first padding: the running product of `present` counts as many.
    if bool((present.cumprod(1).sum(1) != lengths).any()):
        raise ShapeError("A document has padding (0) between its tokens; padding goes behind the last token.")
    longest = int(lengths.max()) if len(documents) else 0
    documents = documents[:, :longest]
    count = max(-(-longest // core), 1)
    padded = F.pad(documents, (overlap, count * core - longest + overlap))
    tokens = padded.unfold(1, core + 2 * overlap, core)
    mask = torch.arange(count, device=documents.device) * core < lengths.unsqueeze(1)
    return Passages(tokens.contiguous(), mask)


def document_pairs(query: Tensor, positive: Passages, negative: Passages, name: str = "document pairs") -> Arrays:
    """Return pairs of documents as training samples of rankers.

    Args:
        query: tokens int64 `[N, Q]`.
        positive: windows of the better document of each query.
        negative: windows of the worse one.
        name: what errors call the samples.

    Returns:
        Columns `query`, `positive`, `positive_mask`, `negative` and `negative_mask`; both sides have as many windows as the longest
        document.

    Raises:
        DataError: if a document has no window, because it has no token.
    """
    count = max(positive.mask.shape[1], negative.mask.shape[1])
    columns = {"query": query}
    for side, cut in (("positive", positive), ("negative", negative)):
        empty = (~cut.mask.any(1)).nonzero()[:, 0].tolist()
        if empty:
            raise DataError(f"{len(empty)} {side} documents of '{name}' have no token, the first in sample {empty[0]}: leave them out.")
        missing = count - cut.mask.shape[1]
        columns[side] = F.pad(cut.tokens, (0, 0, 0, missing))
        columns[f"{side}_mask"] = F.pad(cut.mask, (0, missing))
    return Arrays(columns, name=name)
