from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OptionError, ShapeError
from tutelage.targets import FeatureQueue, OnlineMeans, squared_distances
from tutelage.targets.ranks import gather_over_ranks


def rows(number: int, width: int = 3, seed: int = 0):
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed))


def test_a_push_overwrites_the_oldest_entries_and_moves_the_pointer():
    queue = FeatureQueue(12, 3)
    start = queue.snapshot()
    assert start.min() == 0  # rectified
    assert start.max() > 0
    queue.push(rows(4, seed=1))
    assert int(queue.pointer) == 4
    assert torch.equal(queue.words[:4], rows(4, seed=1))
    assert torch.equal(queue.words[4:], start[4:])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 20))
def test_the_queue_holds_the_last_vectors_of_any_number_of_pushes(batch, batches, pushes):
    queue = FeatureQueue(batch * batches, 2)
    every = [queue.snapshot()]
    for number in range(pushes):
        every.append(rows(batch, 2, seed=number))
        queue.push(every[-1])
    assert int(queue.pointer) == batch * pushes % (batch * batches)
    held = torch.roll(queue.words, -int(queue.pointer), 0)  # oldest first
    assert torch.equal(held, torch.cat(every)[-batch * batches :])


def test_after_size_over_batch_pushes_every_initial_entry_is_gone():
    queue = FeatureQueue(8, 3)
    start = queue.snapshot()
    for number in range(2):
        queue.push(rows(4, seed=number))
    assert int(queue.pointer) == 0
    assert not any(torch.equal(word, first) for word in queue.words for first in start)


def test_a_size_that_is_no_multiple_of_the_batch_is_refused():
    queue = FeatureQueue(8, 3)
    for number in (3, 16, 0):
        with pytest.raises(OptionError, match=f"8 entries got {number} vectors.*drop_last"):
            queue.push(rows(number))
    with pytest.raises(ShapeError, match=r"length 3 got \[4, 5\]"):
        queue.push(rows(4, 5))
    with pytest.raises(OptionError, match="size=0"):
        FeatureQueue(0, 3)


def test_snapshots_stay_and_state_is_restored():
    queue = FeatureQueue(8, 3)
    queue.push(rows(4).requires_grad_())
    before = queue.snapshot()
    other = FeatureQueue(8, 3)
    other.load_state_dict(queue.state_dict())
    for memory in (queue, other):
        memory.push(rows(4, seed=2).to(torch.bfloat16))
    assert torch.equal(queue.words, other.words)
    assert not torch.equal(queue.words, before)
    assert not queue.words.requires_grad
    assert list(queue.parameters()) == []


def test_online_means_by_hand():
    means = OnlineMeans(2, 1, momentum=0.5)
    means.words.copy_(torch.tensor([[0.0], [10.0]]))
    means.push(torch.tensor([[1.0], [3.0], [9.0]]))
    # counts (1, 1) -> (0.5 + 1, 0.5 + 0.5); sums (0, 10) -> (0 + 2, 5 + 4.5)
    torch.testing.assert_close(means.counts, torch.tensor([1.5, 1.0]))
    torch.testing.assert_close(means.words, torch.tensor([[2 / 1.5], [9.5]]))


def test_online_means_find_the_centres_of_clusters():
    centres = torch.tensor([[5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    means = OnlineMeans(3, 2, momentum=0.8)
    for step in range(60):
        means.push(centres.repeat(10, 1) + 0.1 * rows(30, 2, seed=step))
    assert squared_distances(centres, means.words).amin(1).max() < 0.01


def test_means_that_nobody_is_near_to_start_again_inside_the_batch():
    means = OnlineMeans(4, 2, momentum=0.5, floor=0.1)
    means.words.copy_(torch.tensor([[0.0, 0.0], [90.0, 0.0], [0.0, 90.0], [90.0, 90.0]]))
    for step in range(5):
        means.push(rows(20, 2, seed=step))
    assert means.words.abs().max() < 5
    assert torch.isfinite(means.words).all()


def test_wrong_means_are_refused():
    with pytest.raises(OptionError, match="momentum=1"):
        OnlineMeans(2, 2, momentum=1.0)
    with pytest.raises(ShapeError, match="no vectors"):
        OnlineMeans(2, 2).push(torch.zeros(0, 2))


def test_squared_distances_agree_with_brute_force():
    vectors, words = rows(10, 4).view(2, 5, 4), rows(6, 4, seed=1)
    expected = (vectors[:, :, None] - words).square().sum(-1)
    torch.testing.assert_close(squared_distances(vectors, words), expected)
    assert squared_distances(words.half(), words.half()).dtype == torch.float32
    assert squared_distances(words.double(), words.double()).diagonal().abs().max() < 1e-12
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(squared_distances(vectors, words), expected)
    with pytest.raises(ShapeError, match=r"\[2, 5, 4\]"):
        squared_distances(vectors, words[:, :3])


TWO_PROCESSES = """
import os, sys, torch
from tutelage.targets import BagOfWords, FeatureQueue
from tutelage.targets.ranks import gather_over_ranks
store, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
print(gather_over_ranks(torch.full((rank + 1, 1), float(rank))).flatten().tolist(), end=" ")
queue = FeatureQueue(8, 1)
queue.words.zero_()
queue.push(torch.tensor([[1.0], [2.0], [3.0]])[rank : 2 + rank] * (10 if rank else 1))
print(queue.words.flatten().tolist(), int(queue.pointer), end=" ")
bag = BagOfWords(momentum=0.0)
bag.update(torch.tensor([[[1.0, 5.0]], [[3.0, 7.0]]])[rank:rank + 1])
print(bag.mean_distance.item(), flush=True)
os._exit(0)  # the threads of gloo, at times, abort the interpreter's own end
"""


def test_processes_hold_one_queue_and_one_scale(tmp_path):
    command = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path / "store")]
    processes = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert outputs == ["[0.0, 1.0, 1.0] [1.0, 2.0, 20.0, 30.0, 0.0, 0.0, 0.0, 0.0] 4 2.0\n"] * 2


def test_one_process_gathers_nothing():
    own = rows(2)
    assert gather_over_ranks(own) is own
