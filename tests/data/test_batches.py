from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Arrays, Batches
from tutelage.errors import DataError, OptionError


def rows(count: int, name: str = "rows") -> Arrays:
    return Arrays(
        {"input": torch.arange(count, dtype=torch.float32)[:, None], "label": torch.zeros(count, dtype=torch.int64)}, ("a",), name
    )


def visited(batches, epoch, **options):
    return [batch["index"].tolist() for batch in batches.epoch(epoch, **options)]


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


sizes = st.integers(1, 60)


@settings(max_examples=60, deadline=None)
@given(count=sizes, size=sizes, seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_every_epoch_is_a_permutation(count, size, seed, epoch):
    batches = Batches(rows(count), size, seed=seed)
    order = visited(batches, epoch)
    assert sorted(flat(order)) == list(range(count))
    assert len(order) == len(batches)
    assert all(len(batch) == min(size, count) for batch in order[:-1])
    assert all(order)


@settings(max_examples=60, deadline=None)
@given(count=sizes, size=sizes, world=st.integers(1, 5), drop_last=st.booleans())
def test_ranks_partition_every_global_batch_in_order(count, size, world, drop_last):
    try:
        batches = Batches(rows(count), size, seed=3, drop_last=drop_last)
        steps = batches.steps(world)
    except (DataError, OptionError):
        assert world > size or count < world or (drop_last and count < size)
        return
    whole = visited(batches, 2)[:steps]
    shares = [visited(batches, 2, rank=rank, world=world) for rank in range(world)]
    assert [flat(parts) for parts in zip(*shares, strict=True)] == whole
    lengths = [{len(part) for part in parts} for parts in zip(*shares, strict=True)]
    assert all(max(length) - min(length) <= 1 and min(length) >= 1 for length in lengths)
    left_out = count - sum(map(len, whole))
    assert left_out == (count % size if (drop_last or count % size < world) else 0)


@settings(max_examples=40, deadline=None)
@given(count=sizes, size=sizes, start=st.integers(0, 70), epoch=st.integers(0, 5))
def test_a_start_equals_skipped_steps(count, size, start, epoch):
    batches = Batches(rows(count), size, companions={"held_out": Batches(rows(7), 3, seed=9)})
    late = [(b["index"].tolist(), b["held_out"]["index"].tolist()) for b in batches.epoch(epoch, start=start)]
    full = [(b["index"].tolist(), b["held_out"]["index"].tolist()) for b in batches.epoch(epoch)]
    assert late == full[start:]


def test_order_depends_on_seed_and_epoch_alone():
    batches = Batches(rows(40), 8, seed=5)
    first = visited(batches, 0)
    assert visited(batches, 1) != first
    assert visited(Batches(rows(40), 8, seed=6), 0) != first
    assert visited(batches, 0) == first  # after another epoch was visited
    torch.manual_seed(1)
    assert visited(Batches(rows(40), 8, seed=5), 0) == first


def test_without_shuffling_rows_come_in_order():
    assert visited(Batches(rows(5), 2, shuffle=False), 7) == [[0, 1], [2, 3], [4]]
    assert visited(Batches(rows(5), 2, shuffle=False, drop_last=True), 7) == [[0, 1], [2, 3]]


def test_companions_cycle_at_their_own_size():
    companion = Batches(rows(5, "held out"), 2, shuffle=False)
    batches = Batches(rows(8), 2, companions={"held_out": companion})
    seen = [b["held_out"]["index"].tolist() for epoch in range(2) for b in batches.epoch(epoch)]
    assert seen == [[0, 1], [2, 3], [4], [0, 1], [2, 3], [4], [0, 1], [2, 3]]
    shuffled = Batches(rows(8), 2, companions={"held_out": Batches(rows(6), 2, seed=1)})
    stream = [b["held_out"]["index"].tolist() for epoch in range(3) for b in shuffled.epoch(epoch)]
    for start in range(0, 12, 3):
        assert sorted(flat(stream[start : start + 3])) == list(range(6))


def test_ranks_share_companions_too():
    batches = Batches(rows(8), 4, companions={"u": Batches(rows(12), 6, seed=2)})
    whole = [b["u"]["index"].tolist() for b in batches.epoch(0)]
    halves = [[b["u"]["index"].tolist() for b in batches.epoch(0, rank=rank, world=2)] for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_impossible_streams_are_refused():
    with pytest.raises(DataError, match="'rows' has 3 samples: too few for one batch of 4"):
        Batches(rows(3), 4, drop_last=True)
    with pytest.raises(DataError, match="0 samples"):
        Batches(rows(0), 4)
    with pytest.raises(OptionError, match="batch_size is 0"):
        Batches(rows(3), 0)
    with pytest.raises(OptionError, match="seed"):
        Batches(rows(3), 1, seed=-1)
    with pytest.raises(OptionError, match="'label' has the name of a column"):
        Batches(rows(3), 1, companions={"label": Batches(rows(3), 1)})
    with pytest.raises(OptionError, match="3 ranks cannot share"):
        list(Batches(rows(30), 2).epoch(0, world=3))
    with pytest.raises(OptionError, match="no step 3"):
        Batches(rows(3), 1).batch(0, 3)


def test_a_moved_stream_visits_the_same_rows():
    batches = Batches(rows(10), 4, seed=4, companions={"u": Batches(rows(6), 2)})
    moved = batches.to("cpu")
    assert visited(moved, 3) == visited(batches, 3)
    assert set(moved.companions) == {"u"}


def test_draws_with_replacement_make_long_epochs_of_few_samples():
    few = Arrays({"input": torch.arange(5.0)[:, None]})
    batches = Batches(few, 8, seed=1, draws=100)
    seen = [torch.cat([batch["index"] for batch in batches.epoch(epoch)]) for epoch in (0, 0, 1)]
    assert batches.steps() == 13
    assert [len(rows) for rows in seen] == [100] * 3
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert set(seen[0].tolist()) == set(range(5))
    assert Batches(few, 8, seed=1, draws=100).to("cpu").steps() == 13
    with pytest.raises(OptionError, match="draws is 0"):
        Batches(few, 8, draws=0)
