from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OptionError, ShapeError
from tutelage.selection.controllers import EntropyBalance, LossBalance


def scalars(*values: float) -> list[torch.Tensor]:
    return [torch.tensor(value) for value in values]


# ---- loss balance ----


def test_one_step_of_the_loss_balance_by_hand():
    # l_nat = 0.5, l_adv = 1: targets 1/3 and 2/3, so 0.5 - 0.025 (0.5 - 1/3).
    balance = LossBalance()
    balance.update(scalars(2.0, 4.0), 0.025)
    assert balance.weights.tolist() == [0.5, 0.5]
    weights = balance.update(scalars(1.0, 4.0), 0.025)
    assert weights.tolist() == pytest.approx([0.4958333, 0.5041667], abs=1e-7)


@given(
    ratio=st.floats(0.05, 20),
    beta=st.sampled_from([0.5, 1.0, 2.0]),
    rate=st.sampled_from([0.025, 0.2]),
    steps=st.integers(1, 60),
    complement=st.booleans(),
)
def test_constant_relative_losses_draw_the_weights_to_their_targets_geometrically(ratio, beta, rate, steps, complement):
    balance = LossBalance(beta=beta, complement=complement)
    balance.update(scalars(1.0, 1.0), rate)
    for _ in range(steps):
        balance.update(scalars(ratio, 1.0), rate)
    target = ratio**beta / (ratio**beta + 1)
    expected = target + (1 - rate) ** steps * (0.5 - target)
    assert balance.weights[0].item() == pytest.approx(expected, abs=1e-5)
    assert balance.weights.sum().item() == pytest.approx(1, abs=1e-5)


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=10))
def test_losses_that_fall_alike_leave_equal_weights(levels):
    balance = LossBalance()
    for level in levels:
        balance.update(scalars(level, level), 0.025)
    assert balance.weights.tolist() == pytest.approx([0.5, 0.5], abs=1e-6)


def test_the_loss_learned_less_gains_weight_whatever_its_scale():
    balance = LossBalance(3)
    balance.update(scalars(1000.0, 1.0, 1.0), 0.1)
    weights = balance.update(scalars(900.0, 0.5, 0.1), 0.1)
    assert weights[0] > weights[1] > weights[2]
    assert weights.sum().item() == pytest.approx(1)


def test_rate_zero_keeps_the_weights():
    balance = LossBalance()
    for values in [(1.0, 1.0), (0.1, 5.0), (0.1, 5.0)]:
        balance.update(scalars(*values), 0.0)
    assert balance.weights.tolist() == [0.5, 0.5]


def test_losses_of_zero_leave_finite_weights():
    balance = LossBalance()
    for _ in range(3):
        balance.update(scalars(0.0, 0.0), 0.025)
    assert balance.weights.tolist() == pytest.approx([0.5, 0.5])
    balance.update(scalars(0.3, 0.0), 0.025)
    assert torch.isfinite(balance.weights).all()
    assert balance.weights[0] > 0.5


def test_the_complement_form_follows_the_same_path_as_long_as_nothing_is_clipped():
    torch.manual_seed(0)
    both, one = LossBalance(), LossBalance(complement=True)
    for _ in range(50):
        values = list(torch.rand(2) + 0.1)
        both.update(values, 0.025)
        one.update(values, 0.025)
    torch.testing.assert_close(both.weights, one.weights, atol=1e-5, rtol=0)
    assert abs(both.weights[0].item() - 0.5) > 1e-3


def test_weights_carry_no_graph_and_later_updates_do_not_change_what_was_returned():
    balance = LossBalance()
    x = torch.tensor(1.0, requires_grad=True)
    balance.update([x * 1, x * 2], 0.025)
    before = balance.update([x * 0.5, x * 2], 0.025)
    kept = before.clone()
    balance.update([x * 0.1, x * 2], 0.025)
    assert not before.requires_grad
    assert torch.equal(before, kept)
    assert not torch.equal(balance.weights, kept)


def test_the_state_of_both_balances_is_saved_and_restored():
    loss, entropy = LossBalance(), EntropyBalance()
    for values in [(1.0, 2.0), (0.5, 2.0)]:
        loss.update(scalars(*values), 0.025)
        entropy.update(scalars(*values), 0.1)
    for old, new in [(loss, LossBalance()), (entropy, EntropyBalance())]:
        new.load_state_dict(old.state_dict())
        new.update(scalars(0.3, 0.4), 0.05)
        old.update(scalars(0.3, 0.4), 0.05)
        for a, b in zip(old.buffers(), new.buffers(), strict=True):
            assert torch.equal(a, b)


# ---- entropy balance ----


@pytest.mark.parametrize("steps", [1, 10, 500])
def test_the_sharper_teacher_is_warmed_and_the_softer_one_stays_at_the_floor(steps):
    balance = EntropyBalance()
    for _ in range(steps):
        balance.update(scalars(0.1, 1.0), 0.001)
    assert balance.temperatures.tolist() == pytest.approx([1 + 0.001 * steps, 1.0], abs=1e-4)


def test_temperatures_stop_at_the_ceiling():
    balance = EntropyBalance()
    for _ in range(100):
        balance.update(scalars(0.1, 1.0), 0.2)
    assert balance.temperatures.tolist() == pytest.approx([10.0, 1.0])


def test_equal_entropies_and_rate_zero_change_nothing():
    balance = EntropyBalance(start=2.0)
    balance.update(scalars(0.7, 0.7), 0.5)
    balance.update(scalars(0.0, 0.0), 0.5)
    balance.update(scalars(0.1, 0.9), 0.0)
    assert balance.temperatures.tolist() == [2.0, 2.0]


def test_between_the_bounds_the_two_temperatures_move_apart_by_the_same_step():
    balance = EntropyBalance(start=3.0)
    balance.update(scalars(0.9, 0.1), 0.25)
    assert balance.temperatures.tolist() == [2.75, 3.25]


def test_of_three_teachers_each_is_compared_with_the_mean_of_the_others():
    balance = EntropyBalance(3, start=2.0)
    balance.update(scalars(1.0, 0.5, 0.1), 0.5)
    assert balance.temperatures.tolist() == [1.5, 2.5, 2.5]


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6), st.floats(0.5, 10), st.floats(1.01, 3))
def test_entropy_does_not_fall_when_the_temperature_rises(logits, temperature, factor):
    z = torch.tensor(logits, dtype=torch.float64)
    cool, warm = ((z / t).softmax(-1) for t in (temperature, temperature * factor))
    assert torch.special.entr(warm).sum() >= torch.special.entr(cool).sum() - 1e-12


def test_the_rule_brings_two_teachers_to_the_same_entropy():
    torch.manual_seed(1)
    logits = [8 * torch.randn(64, 10), 3 * torch.randn(64, 10)]
    balance = EntropyBalance()

    def entropies():
        return [torch.special.entr((z / t).softmax(-1)).sum(-1).mean() for z, t in zip(logits, balance.temperatures, strict=True)]

    first = entropies()
    for _ in range(300):
        balance.update(entropies(), 0.01)
    sharp, soft = entropies()
    assert first[0] / first[1] < 0.6
    assert math.isclose(sharp / soft, 1, abs_tol=0.02)
    assert balance.temperatures[0] > balance.temperatures[1]


@pytest.mark.parametrize(
    "build", [lambda: EntropyBalance(1), lambda: LossBalance(1), lambda: EntropyBalance(start=0.5), lambda: LossBalance(beta=-1)]
)
def test_options_out_of_range_are_refused(build):
    with pytest.raises(OptionError):
        build()


def test_the_complement_form_needs_two_losses():
    with pytest.raises(OptionError, match="exactly 2"):
        LossBalance(3, complement=True)


@pytest.mark.parametrize("balance", [EntropyBalance(), LossBalance()])
def test_another_number_of_values_is_refused(balance):
    with pytest.raises(ShapeError, match="one scalar for each"):
        balance.update(scalars(1.0, 2.0, 3.0), 0.1)


PROCESS = """
import os, sys, torch
from torch import distributed
from tutelage.selection.controllers import EntropyBalance, LossBalance
rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
loss, entropy = LossBalance(), EntropyBalance(start=2.0)
for values in [((1.0, 2.0), (3.0, 2.0)), ((0.5, 1.0), (0.1, 3.0))]:
    loss.update([torch.tensor(v) for v in values[rank]], 0.5)
    entropy.update([torch.tensor(v) for v in values[rank]], 0.25)
print(*loss.weights.tolist(), *entropy.temperatures.tolist(), flush=True)
distributed.destroy_process_group()
os._exit(0)  # the threads of gloo, at times, abort the interpreter's own end
"""


def test_two_processes_hold_the_state_of_the_whole_batch(tmp_path):
    command = [sys.executable, "-c", PROCESS]
    running = [subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    states = [[float(word) for word in process.communicate(timeout=120)[0].split()] for process in running]
    whole, entropy = LossBalance(), EntropyBalance(start=2.0)
    for values in [(2.0, 2.0), (0.3, 2.0)]:
        whole.update(scalars(*values), 0.5)
        entropy.update(scalars(*values), 0.25)
    expected = whole.weights.tolist() + entropy.temperatures.tolist()
    assert states[0] == states[1]
    assert states[0] == pytest.approx(expected)
    assert expected[0] != 0.5
