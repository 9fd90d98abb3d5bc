import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import targets
from tutelage.errors import ShapeError
from tutelage.schedules import linear
from tutelage.targets.ranks import mean_over_ranks


def test_moving_average_by_hand():
    center = targets.Center(2, momentum=0.9)
    logits = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    assert torch.equal(center(logits), logits)
    center.update(logits)
    torch.testing.assert_close(center.center, torch.tensor([0.2, 0.1]))
    center.update(logits.unsqueeze(0))
    torch.testing.assert_close(center.center, torch.tensor([0.38, 0.19]))
    torch.testing.assert_close(center(logits), logits - center.center)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.integers(0, 10_000))
def test_without_momentum_centred_outputs_have_mean_zero(seed):
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))
    center = targets.Center(5, momentum=0.0)
    center.update(logits)
    torch.testing.assert_close(center(logits).mean(0), torch.zeros(5), atol=1e-6, rtol=0.0)


def test_a_constant_added_to_the_centre_changes_no_target():
    center, logits = targets.Center(4), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    before = targets.soften(center(logits), 0.04)
    center.center += 2.0
    torch.testing.assert_close(targets.soften(center(logits), 0.04), before, rtol=1e-4, atol=1e-6)


def test_momentum_may_be_scheduled():
    center = targets.Center(1, momentum=linear(0.0, 1.0))
    center.update(torch.tensor([[4.0]]), progress=0.5)
    assert center.center.item() == 2.0
    center.update(torch.tensor([[100.0]]), progress=1.0)
    assert center.center.item() == 2.0


def test_state_half_types_gradients_and_empty_batches():
    center = targets.Center(2, momentum=0.5)
    logits = torch.tensor([[2.0, 4.0]], dtype=torch.bfloat16, requires_grad=True)
    center.update(logits)
    assert center.center.dtype == torch.float32
    assert not center.center.requires_grad
    assert center(logits).dtype == torch.float32
    restored = targets.Center(2)
    restored.load_state_dict(center.state_dict())
    assert torch.equal(restored.center, torch.tensor([1.0, 2.0]))
    restored.update(torch.zeros(0, 2))
    assert torch.equal(restored.center, torch.tensor([1.0, 2.0]))


def test_other_widths_are_refused():
    center = targets.Center(3)
    for part in (center, center.update):
        with pytest.raises(ShapeError, match="Center of width 3"):
            part(torch.zeros(3, 2))


TWO_PROCESSES = """
import os, sys, torch
from tutelage.selection import MovingThreshold
from tutelage.targets import Center
store, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
center, own = Center(2, momentum=0.5), torch.tensor([[4.0, 0.0]]) * (rank + 1)
center.update(own)
assert own.tolist() == [[4.0 * (rank + 1), 0.0]]
moving = MovingThreshold(2, momentum=0.0)
moving.update(torch.tensor([[0.75, 0.25], [0.5, 0.5]][rank]))
print(center.center.tolist(), moving.share.tolist(), moving.level.item(), flush=True)
os._exit(0)  # the threads of gloo, at times, abort the interpreter's own end
"""


def test_processes_share_one_average(tmp_path):
    command = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path / "store")]
    processes = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    # The mean of (4, 0) and (8, 0) is (6, 0), half of the way there; probabilities average to 0.625 and 0.375.
    assert outputs == ["[3.0, 0.0] [0.625, 0.375] 0.625\n"] * 2


def test_one_process_shares_with_nobody():
    statistic = torch.ones(2)
    assert mean_over_ranks(statistic) is statistic
