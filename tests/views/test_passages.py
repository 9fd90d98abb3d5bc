from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError, OptionError, ShapeError
from tutelage.views.passages import document_pairs, windows


def _document(length: int, total: int | None = None) -> torch.Tensor:
    ids = torch.arange(1, length + 1)
    return torch.cat([ids, torch.zeros((total or length) - length, dtype=torch.int64)])


def test_120_tokens_make_three_windows_of_64_with_cores_of_50_50_and_20():
    tokens, mask = windows(_document(120).unsqueeze(0))
    assert tokens.shape == (1, 3, 64)
    assert mask.tolist() == [[True, True, True]]
    cores = tokens[0, :, 7:57]
    assert (cores != 0).sum(1).tolist() == [50, 50, 20]
    assert cores[cores != 0].tolist() == list(range(1, 121))


def test_50_tokens_make_one_window():
    tokens, mask = windows(_document(50).unsqueeze(0))
    assert tokens.shape == (1, 1, 64)
    assert mask.all()
    assert tokens[0, 0, :7].sum() == 0
    assert tokens[0, 0, 57:].sum() == 0


def test_overlap_tokens_are_the_neighbours_border_tokens():
    tokens, _ = windows(_document(150).unsqueeze(0))
    for left, right in ((0, 1), (1, 2)):
        assert torch.equal(tokens[0, left, -7:], tokens[0, right, 7:14])
        assert torch.equal(tokens[0, right, :7], tokens[0, left, 50:57])


def test_shorter_documents_of_a_batch_have_fewer_windows_and_an_empty_one_has_none():
    documents = torch.stack([_document(101, 130), _document(100, 130), _document(1, 130), _document(0, 130)])
    tokens, mask = windows(documents)
    assert tokens.shape == (4, 3, 64)
    assert mask.tolist() == [[True, True, True], [True, True, False], [True, False, False], [False, False, False]]
    alone = windows(documents[1:2])
    assert torch.equal(alone.tokens[0], tokens[1, :2])


def test_longer_documents_are_cut():
    tokens, mask = windows(_document(2500).unsqueeze(0))
    assert mask.sum() == 40
    assert int(tokens.max()) == 2000
    assert windows(_document(2500).unsqueeze(0), limit=None).mask.sum() == 50


@given(st.integers(1, 200), st.integers(1, 30), st.integers(0, 40))
def test_every_token_is_in_exactly_one_core(length: int, core: int, overlap: int):
    tokens, mask = windows(_document(length, length + 5).unsqueeze(0), core=core, overlap=overlap)
    cores = tokens[0, :, overlap : overlap + core]
    assert mask.shape == (1, -(-length // core))
    assert mask.all()
    assert cores[cores != 0].tolist() == list(range(1, length + 1))


def test_refuses_what_cannot_be_cut():
    with pytest.raises(ShapeError, match="between its tokens"):
        windows(torch.tensor([[1, 0, 2]]))
    with pytest.raises(ShapeError, match=r"expected tokens \[N, L\]"):
        windows(torch.tensor([1, 2]))
    with pytest.raises(OptionError, match="core of at least 1"):
        windows(torch.ones(1, 3, dtype=torch.int64), core=0)


def test_pairs_have_as_many_windows_on_both_sides():
    query = torch.ones(2, 3, dtype=torch.int64)
    long, short = (windows(torch.stack([_document(n, 130), _document(40, 130)])) for n in (130, 60))
    pairs = document_pairs(query, long, short)
    assert pairs.column("negative").shape == pairs.column("positive").shape == (2, 3, 64)
    assert pairs.column("positive_mask").sum(1).tolist() == [3, 1]
    assert pairs.column("negative_mask").sum(1).tolist() == [2, 1]
    empty = windows(torch.stack([_document(9, 20), _document(0, 20)]))
    with pytest.raises(DataError, match=r"1 negative documents .* the first in sample 1"):
        document_pairs(query, long, empty)
