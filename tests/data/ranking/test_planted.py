from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from tutelage.data import cache
from tutelage.data.orange_texts import NAME, VERSION, newsgroups, read_tab
from tutelage.data.ranking import Planting, posts
from tutelage.errors import DataError, OptionError

SMALL = {"query": (3, 4), "passage": (5, 8), "passages": (3, 5)}


def _texts(count: int = 60) -> tuple[list[str], list[int]]:
    """Posts whose words tell which post they are of: w<post>x<place>; every fourth is a reply to the one before."""
    generator = random.Random(0)
    texts, groups = [], []
    for n in range(count):
        thread = n - 1 if n % 4 == 3 else n
        subject = [f"s{thread}x{place}" for place in range(3)]
        body = [f"w{n}x{place}" for place in range(generator.randint(20, 40))]
        texts.append(" ".join((["re"] if n != thread else []) + subject + body))
        groups.append(thread % 2)
    return texts, groups


@pytest.fixture
def planting() -> Planting:
    return Planting(posts(*_texts(), least=12), 0, **SMALL)


def _sources(document: str) -> list[str]:
    return list(dict.fromkeys(word.split("x")[0] for word in document.split()))


def test_replies_are_of_the_thread_they_answer():
    found = posts(*_texts(), least=12)
    assert len(found) == 60
    assert found[3].thread == found[2].thread == ("s2x0", "s2x1", "s2x2")
    assert found[3].words[0] != "re"


def test_short_posts_are_left_out():
    assert len(posts(["re re a b c", "a b"], [0, 0], least=3)) == 1
    with pytest.raises(DataError, match="None of 1 posts"):
        posts(["a"], [0])


def test_a_passage_is_of_the_querys_post_from_behind_the_query_and_a_negative_of_another_thread(planting):
    found = planting.passage_triples(100)
    assert len(found) == 100
    place = {tuple(post.words): n for n, post in enumerate(planting.posts)}
    for query, positive, negative in zip(found.queries, found.positives, found.negatives, strict=True):
        assert 3 <= len(query.split()) <= 4
        assert 5 <= len(positive.split()) <= 8
        owners = [n for words, n in place.items() if " ".join(words).startswith(query) and positive in " ".join(words)]
        assert owners
        assert not set(query.split()) & set(positive.split())
        thread = planting.posts[owners[0]].thread
        other = next(post for post in planting.posts if negative in " ".join(post.words))
        assert other.thread != thread
        assert other.group == planting.posts[owners[0]].group


def test_candidates_hold_one_document_with_a_passage_of_the_query_and_none_of_its_thread_elsewhere(planting):
    found = planting.candidates(30, negatives=4, pool=20)
    for query, documents, relevance in zip(found.queries, found.documents, found.relevance, strict=True):
        assert sum(relevance) == 1
        assert len(documents) == 5
        thread = {n for n, post in enumerate(planting.posts) if post.thread == tuple(query.split()[:3])}
        holds = [any(f"w{n}" in _sources(document) or f"s{n}" in _sources(document) for n in thread) for document in documents]
        assert holds == [bool(relevant) for relevant in relevance]
        assert all(len(_sources(document)) >= 3 for document in documents)
    assert len({relevance.index(1) for relevance in found.relevance}) > 2


def test_document_triples_put_the_relevant_document_first(planting):
    found = planting.document_triples(20, negatives=4, pool=20)
    for query, positive in zip(found.queries, found.positives, strict=True):
        threads = [n for n, post in enumerate(planting.posts) if post.thread == tuple(query.split()[:3])]
        assert any(f"w{n}" in _sources(positive) for n in threads)


def test_a_seed_decides_everything():
    found = [Planting(posts(*_texts(), least=12), seed, **SMALL).candidates(5, negatives=4, pool=20) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_refuses_what_cannot_be_planted(planting):
    with pytest.raises(OptionError, match="Ranges"):
        Planting(planting.posts, 0, query=(4, 3))
    with pytest.raises(OptionError, match="shorter than a query"):
        Planting(planting.posts, 0, passage=(50, 90), query=(3, 4), passages=(3, 5))
    with pytest.raises(DataError, match="too few threads"):
        Planting(planting.posts, 0, query=(3, 4), passage=(5, 8), passages=(3, 20))


def test_a_small_pool_is_made_up_by_documents_of_the_querys_own(planting):
    assert all(len(documents) == 11 for documents in planting.candidates(3, negatives=10, pool=3).documents)


def test_of_several_passages_the_one_that_shares_rare_words_with_the_query_is_taken():
    body = ["x"] * 30 + ["rare"] + ["x"] * 30
    found = [
        Planting(posts(_texts()[0] + [" ".join(["rare", "a", "b", *body])] * 2, _texts()[1] + [0, 0], least=12), 0, tries=tries, **SMALL)
        for tries in (1, 60)
    ]
    shares = [sum("rare" in planting._passage(60) for _ in range(50)) for planting in found]
    assert shares[0] < 25
    assert shares[1] == 50


def test_the_published_files_have_the_subject_first(tmp_path):
    content = b"Category\tText\nd\tstring\nclass\t\nsci.space\tre moon base costs writes someone said the moon base costs too much\n\n"
    texts, categories = read_tab(content, "sample")
    assert posts(texts, [0] * len(categories), least=5)[0].words[:3] == ("moon", "base", "costs")


@pytest.mark.skipif(not (cache.directory() / f"{NAME.replace('-', '_')}-{VERSION}.whl").is_file(), reason="the wheel is not in the cache")
def test_real_posts_make_documents_of_about_the_stated_length():
    part = newsgroups().parts["test"]
    found = Planting(posts(part.column("input"), part.labels.tolist()), 0).document_triples(3, pool=40)
    assert all(12 * 40 <= len(text.split()) <= 20 * 60 for text in found.positives + found.negatives)


_ALIKE = """
import random
from tutelage.data.ranking import Planting, posts

draw = random.Random(0)
words = [f"word{n}" for n in range(12)]
texts = [" ".join([*(subject := draw.sample(words, 4)), *draw.choices(subject, k=40), f"own{n}"]) for n in range(40)]
found = Planting(posts(texts, [0] * 40, least=20), 0, query=(4, 4), passage=(4, 6), passages=(3, 5)).passage_triples(200)
print(found.positives)
"""


def test_which_of_two_alike_is_planted_is_the_same_in_every_process():
    # The order of a set of words differs from process to process; so would a plain sum over it, in its last bit.
    said = [
        subprocess.run(
            [sys.executable, "-c", _ALIKE], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert said[0] == said[1] == said[2]
