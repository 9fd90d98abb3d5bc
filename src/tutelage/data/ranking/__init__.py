"""Data of ranking: files of MS MARCO and TREC, a word vocabulary, BM25, and passages planted into documents."""

from tutelage.data.ranking.bm25 import BM25
from tutelage.data.ranking.marco import Candidates, Triples, read_candidates, read_triples
from tutelage.data.ranking.planted import Planting, Post, posts
from tutelage.data.ranking.trec import read_qrels, read_run, write_run
from tutelage.data.ranking.words import HashedVocabulary, pad

__all__ = [
    "BM25",
    "Candidates",
    "HashedVocabulary",
    "Planting",
    "Post",
    "Triples",
    "pad",
    "posts",
    "read_candidates",
    "read_qrels",
    "read_run",
    "read_triples",
    "write_run",
]
