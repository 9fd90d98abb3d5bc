from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Mapped
from tutelage.errors import DataError, OptionError, ShapeError
from tutelage.selection.core_set import cosine, euclidean, greedy_k_centre, nearest_distance


def simplex(rows, classes, seed, dtype=torch.float64):
    logits = torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (3 * logits).softmax(1).to(dtype)


def plain(pool, centres, count, distance):
    """Compare every row with every centre, one pick after the other."""
    far = torch.full((len(pool),), math.inf, dtype=pool.dtype) if centres is None else distance(pool, centres).amin(1)
    chosen, distances = [], []
    for _ in range(count):
        place = int(far.argmax())
        chosen.append(place)
        distances.append(float(far[place]))
        far = torch.minimum(far, distance(pool, pool[place : place + 1])[:, 0])
        far[place] = -1
    return chosen, distances


def test_fact_1_the_first_pick_is_the_farthest_and_the_second_follows_from_it():
    labelled = torch.tensor([[1.0, 0.0, 0.0]])
    pool = torch.tensor([[0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]])
    found = greedy_k_centre(pool, labelled, 3)
    assert found.positions.tolist() == [1, 2, 0]
    assert found.distances[0].item() == pytest.approx(math.sqrt(2))
    after = nearest_distance(pool, torch.cat([labelled, pool[1:2]]))
    assert after[0].item() == pytest.approx(0.141, abs=1e-3)
    assert after[2].item() == pytest.approx(0.860, abs=1e-3)


def test_fact_2_probabilities_are_at_most_the_root_of_two_apart_and_duplicates_come_last():
    pool = simplex(50, 6, 0, torch.float32)
    assert nearest_distance(torch.eye(3), torch.eye(3)[:1]).max().item() == pytest.approx(math.sqrt(2))
    assert nearest_distance(pool, pool[:1]).max() <= math.sqrt(2)
    doubled = torch.cat([pool[:10], pool])  # the first ten twice
    found = greedy_k_centre(doubled, None, 60)
    assert bool((found.distances[50:] == 0).all())
    assert bool((found.distances[:50] > 0).all())


@given(st.integers(0, 500), st.integers(1, 40))
def test_fact_3_the_radius_never_grows(seed, count):
    found = greedy_k_centre(simplex(40, 4, seed), simplex(2, 4, seed + 1), count, block=5)
    assert bool((found.distances.diff() <= 1e-7).all())
    assert len(set(found.positions.tolist())) == count


@given(st.integers(0, 200), st.integers(2, 3))
def test_fact_4_greedy_is_within_twice_the_best_radius(seed, centres):
    pool = simplex(9, 3, seed)
    chosen = greedy_k_centre(pool, None, centres).positions
    greedy = float(nearest_distance(pool, pool[chosen]).max())
    best = min(float(euclidean(pool, pool[list(rows)]).amin(1).max()) for rows in itertools.combinations(range(9), centres))
    assert greedy <= 2 * best + 1e-9


@pytest.mark.parametrize(("metric", "distance"), [("euclidean", euclidean), ("cosine", cosine)])
@pytest.mark.parametrize(
    ("rows", "width", "known", "count", "block", "chunk"), [(400, 8, 9, 60, 16, 50), (300, 3, 0, 300, 7, 1000), (64, 20, 1, 20, 1, 3)]
)
def test_blocks_and_chunks_change_nothing(metric, distance, rows, width, known, count, block, chunk):
    pool, centres = simplex(rows, width, 1), simplex(known, width, 2) if known else None
    found = greedy_k_centre(pool, centres, count, metric=metric, block=block, chunk=chunk)
    chosen, distances = plain(pool, centres, count, distance)
    assert found.positions.tolist() == chosen
    torch.testing.assert_close(found.distances, torch.tensor(distances))


def test_ties_go_to_the_first_row_whatever_the_block():
    corners = torch.eye(4).repeat(8, 1)
    for block in (1, 3, 4, 32):
        found = greedy_k_centre(corners, torch.eye(4)[:1], 6, block=block)
        assert found.positions.tolist() == [1, 2, 3, 0, 4, 5]
        assert found.distances.tolist() == pytest.approx([math.sqrt(2)] * 3 + [0] * 3)


def test_any_function_is_a_metric():
    def city(rows, centres):
        return torch.cdist(rows, centres, p=1)

    pool = simplex(80, 5, 3)
    assert greedy_k_centre(pool, pool[:2], 9, metric=city, block=4).positions.tolist() == plain(pool, pool[:2], 9, city)[0]


def test_a_mapped_file_and_half_precision_are_read_by_the_chunk(tmp_path):
    pool = simplex(500, 16, 4, torch.float32)
    stored = np.lib.format.open_memmap(tmp_path / "pool.npy", "w+", np.float32, (500, 16))
    stored[:] = pool.numpy()
    stored.flush()
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    expected = greedy_k_centre(pool, pool[:3], 30).positions.tolist()
    for source in (mapped, Mapped(mapped), pool.numpy()):
        assert greedy_k_centre(source, pool[:3], 30, chunk=64, block=32).positions.tolist() == expected
    assert greedy_k_centre(pool.half(), pool[:3], 30).positions.tolist()[:5] == expected[:5]


def test_work_is_lazy_where_most_rows_are_near():
    # Ten rows far out and a crowd around the only centre: the crowd is compared with that centre, and never with the picks.
    seen = []

    def counting(rows, centres):
        seen.append(len(rows) * len(centres))
        return euclidean(rows, centres)

    crowd = 1e-3 * torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    pool = torch.cat([crowd, 10 * torch.randn(10, 4, generator=torch.Generator().manual_seed(1))])
    found = greedy_k_centre(pool, torch.zeros(1, 4), 10, metric=counting, block=32)
    assert sorted(found.positions.tolist()) == list(range(5000, 5010))
    assert sum(seen) < 1.1 * len(pool)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((torch.zeros(3, 2), None, 4), OptionError, "4 rows"),
        ((torch.zeros(3), None, 1), ShapeError, r"\[N, D\]"),
        ((torch.zeros(0, 2), None, 0), ShapeError, "at least 1"),
        ((torch.zeros(3, 2), torch.zeros(1, 3), 1), ShapeError, "one length"),
        ((torch.full((3, 2), math.nan), torch.zeros(1, 2), 1), DataError, "NaN"),
    ],
)
def test_what_does_not_fit_is_named(arguments, error, text):
    with pytest.raises(error, match=text):
        greedy_k_centre(*arguments)


def test_unknown_metrics_and_sizes_are_refused():
    with pytest.raises(OptionError, match="cosine"):
        greedy_k_centre(torch.zeros(3, 2), None, 1, metric="cosin")
    with pytest.raises(OptionError, match="block=0"):
        greedy_k_centre(torch.zeros(3, 2), None, 1, block=0)


def test_pages_of_a_mapped_file_do_not_stay_in_memory(tmp_path):
    np.save(tmp_path / "pool.npy", simplex(20_000, 200, 5, torch.float32).numpy())  # 16 MB
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    centres = torch.from_numpy(mapped[:2].copy())

    def held():
        """Resident kilobytes of this process's mapping of the file."""
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        return sum(int(next(line for line in lines if line.startswith("Rss")).split()[1]) for line in lines if "pool.npy" in line)

    if not Path("/proc/self/smaps").exists():
        pytest.skip("no /proc")
    greedy_k_centre(mapped, centres, 10, chunk=1000, block=64)
    assert held() < 4000
    float(mapped.sum())
    assert held() > 10_000
