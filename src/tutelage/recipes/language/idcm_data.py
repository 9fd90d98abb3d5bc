"""What IDCM's recipe learns from and is judged on: newsgroup posts, files of MS MARCO, or made-up tokens with an oracle for a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.data import Arrays
from tutelage.data.orange_texts import newsgroups
from tutelage.data.ranking import Candidates, HashedVocabulary, Planting, Triples, pad, posts, read_candidates, read_qrels, read_triples
from tutelage.deploy.ranking import Windows
from tutelage.deploy.ranking.ranker import Tokens
from tutelage.errors import OptionError
from tutelage.models.ranking import CrossEncoder, PassageScorer, cross_encoder
from tutelage.recipes.language.idcm import IDCMRecipe
from tutelage.views.passages import Passages, document_pairs


@dataclass(frozen=True)
class Lists:
    """Queries with candidates as tokens.

    Args:
        query: int64 `[N, Q]`.
        documents: for each query the windows of its candidates, `[C, P, W]`.
        relevance: int64 `[N, C]`, 0 for padding.
        real: bool `[N, C]`, False where a query has fewer candidates.
    """

    query: Tensor
    documents: list[Passages]
    relevance: Tensor
    real: Tensor

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True)
class Task:
    """All that one seed learns from.

    Args:
        teacher: ETM; untrained, unless there is nothing to learn for it.
        passages: pairs of single passages for step 1, or `None` if it is trained already.
        documents: pairs of documents for steps 2 and 3.
        held: pairs of documents for validation.
        test: lists to rank.
        long: lists of documents of the most tokens that are read, or `None`.
        tokens: makes tokens of texts, or `None` where there are no texts.
    """

    teacher: PassageScorer
    passages: Arrays | None
    documents: Arrays
    held: Arrays
    test: Lists
    long: Lists | None = None
    tokens: Tokens | None = None


def make(recipe: IDCMRecipe, seed: int) -> Task:
    """Return the task of a seed.

    Args:
        recipe: its sizes and files.
        seed: seed of all choices, and of the teacher's first weights.

    Raises:
        OptionError: if some, but not all needed files are named.
    """
    if recipe.data == "synthetic":
        return synthetic(recipe, seed)
    if recipe.data == "marco":
        files = recipe.files
        if not (files.passages and files.documents and files.validation and files.candidates and files.qrels):
            raise OptionError(f"--data marco needs all of passages, documents, validation, candidates and qrels; got {files}.")
        named = (files.passages, files.documents, files.validation)
        passages, documents, validation = (read_triples(name, limit=recipe.read) for name in named)
        return _task(recipe, seed, passages, documents, validation, read_candidates(files.candidates, read_qrels(files.qrels)), None)
    parts = newsgroups().parts
    found = {name: posts(part.column("input"), part.labels.tolist()) for name, part in parts.items()}
    order = torch.randperm(len(found["train"]), generator=torch.Generator().manual_seed(seed)).tolist()
    cut = len(order) // 6
    learn, held = ([found["train"][place] for place in rows] for rows in (order[cut:], order[:cut]))
    planting = Planting(learn, seed)
    long = Planting(found["test"], seed + 1, passages=(38, 40)).candidates(recipe.long_queries) if recipe.long_queries else None
    return _task(
        recipe,
        seed,
        planting.passage_triples(recipe.passage_pairs),
        planting.document_triples(recipe.document_pairs),
        Planting(held, seed, passages=(10, 14)).document_triples(recipe.validation_pairs),
        Planting(found["test"], seed).candidates(recipe.queries),
        long,
    )


def _task(
    recipe: IDCMRecipe, seed: int, passages: Triples, documents: Triples, held: Triples, test: Candidates, long: Candidates | None
) -> Task:
    cut = Windows()
    tokens: Tokens
    torch.manual_seed(seed)
    if recipe.teacher == "small":
        texts = (text for triples in (passages, documents) for column in (triples.queries, triples.positives) for text in column)
        vocabulary = HashedVocabulary.of(texts, recipe.words)
        teacher: PassageScorer = CrossEncoder(len(vocabulary), width=recipe.width, layers=recipe.layers, head=recipe.head)
        tokens = vocabulary
    else:
        teacher, tokens = cross_encoder(recipe.teacher)

    def encode(texts: Sequence[str], limit: int) -> Tensor:
        return pad(tokens.encode(texts), limit)

    def single(texts: Sequence[str]) -> Passages:
        # A passage of step 1 is a window of its own, its first tokens where it is longer.
        width = cut.core + 2 * cut.overlap
        read = encode(texts, width)
        read = nn.functional.pad(read, (0, width - read.shape[1]))
        return Passages(read.unsqueeze(1), read[:, :1] != 0)

    def pairs(triples: Triples, name: str) -> Arrays:
        positive, negative = (cut.cut(encode(texts, cut.document)) for texts in (triples.positives, triples.negatives))
        return document_pairs(encode(triples.queries, cut.query), positive, negative, name)

    def lists(found: Candidates) -> Lists:
        real = nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in found.relevance], batch_first=True)
        relevance = nn.utils.rnn.pad_sequence([torch.as_tensor(row) for row in found.relevance], batch_first=True)
        windows = [cut.cut(encode(texts, cut.document)) for texts in found.documents]
        return Lists(encode(found.queries, cut.query), windows, relevance, real)

    first = document_pairs(
        encode(passages.queries, cut.query), single(passages.positives), single(passages.negatives), "pairs of single passages"
    )
    return Task(
        teacher,
        first,
        pairs(documents, "training documents"),
        pairs(held, "validation documents"),
        lists(test),
        lists(long) if long is not None else None,
        tokens,
    )


class Oracle(PassageScorer):
    """A teacher that knows: the number of query tokens that a window has, on embeddings drawn at random.

    Args:
        vocabulary: number of tokens.
        width: of the embeddings.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width, padding_idx=0)

    def pairs(self, query: Tensor, passage: Tensor) -> Tensor:
        """Return the counts `[M]`."""
        return ((query.unsqueeze(2) == passage.unsqueeze(1)).any(2) & (query != 0)).sum(1).to(self.table.weight.dtype)


def synthetic(recipe: IDCMRecipe, seed: int) -> Task:
    """Return made-up tokens: one window of a relevant document repeats the query, one of another document half of it.

    Args:
        recipe: its sizes.
        seed: seed of everything.
    """
    random = torch.Generator().manual_seed(seed)
    vocabulary, size, least, most, width = 1000, 6, 8, 16, 24

    def document(query: Tensor, shared: int) -> Tensor:
        count = int(torch.randint(least, most + 1, (), generator=random))
        tokens = torch.randint(1, vocabulary, (count, width), generator=random)
        place = int(torch.randint(count, (), generator=random))
        tokens[place, torch.randperm(width, generator=random)[:shared]] = query[torch.randperm(size, generator=random)[:shared]]
        return nn.functional.pad(tokens, (0, 0, 0, most - count))

    def passages(documents: list[Tensor]) -> Passages:
        found = torch.stack(documents)
        return Passages(found, (found != 0).any(2))

    def drawn(count: int) -> Tensor:
        return torch.randint(1, vocabulary, (count, size), generator=random)

    def pairs(count: int) -> Arrays:
        query = drawn(count)
        positive, negative = (passages([document(row, shared) for row in query]) for shared in (size, size // 2))
        return document_pairs(query, positive, negative)

    query, candidates = drawn(recipe.queries), 20
    place = torch.randint(candidates, (recipe.queries,), generator=random).tolist()
    documents = [
        passages([document(row, size if n == at else size // 2) for n in range(candidates)]) for row, at in zip(query, place, strict=True)
    ]
    relevance = nn.functional.one_hot(torch.tensor(place), candidates)
    test = Lists(query, documents, relevance, torch.ones_like(relevance, dtype=torch.bool))
    torch.manual_seed(seed)
    oracle = Oracle(vocabulary, recipe.width)
    return Task(oracle, None, pairs(recipe.document_pairs), pairs(recipe.validation_pairs), test)
