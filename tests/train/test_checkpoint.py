from __future__ import annotations

import errno
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tutelage.errors import CheckpointError
from tutelage.train import checkpoint
from tutelage.train.checkpoint import Checkpoints, flatten, load_method, unflatten

scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers() | st.text(max_size=4), inner, max_size=3)
)


@given(trees)
@settings(max_examples=60, deadline=None)
def test_a_state_comes_back_through_json_as_it_was(tree):
    plain, tensors = flatten(tree)
    assert unflatten(json.loads(json.dumps(plain)), tensors) == tree


def test_an_optimizer_state_comes_back_bit_for_bit():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
    plain, tensors = flatten(optimizer.state_dict(), "optimizer")
    fresh = torch.optim.AdamW(model.parameters(), lr=0.5)
    fresh.load_state_dict(unflatten(json.loads(json.dumps(plain)), tensors))
    for old, new in zip(optimizer.state.values(), fresh.state.values(), strict=True):
        assert all(torch.equal(old[k], new[k]) for k in old)
    assert fresh.param_groups[0]["lr"] == 0.1


def test_what_json_cannot_hold_is_refused_by_name():
    with pytest.raises(CheckpointError, match=r"'state/hook' of type function"):
        flatten({"hook": lambda: None}, "state")


def _state(value: float) -> dict:
    return {"method": {"w": torch.full((4,), value)}, "note": "text:tensor:odd"}


def test_the_last_two_and_the_best_are_kept(tmp_path):
    store = Checkpoints(tmp_path)
    for step in range(1, 6):
        store.save(step, _state(step), keep=(2,))
    assert [p.name for p in store.paths()] == ["step-000000002", "step-000000004", "step-000000005"]
    found, problems = store.latest()
    assert (found.step, problems) == (5, [])
    assert torch.equal(found.state["method"]["w"], torch.full((4,), 5.0))
    assert found.state["note"] == "text:tensor:odd"


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncate", "alter", "remove"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, file, damage):
    store = Checkpoints(tmp_path)
    store.save(1, _state(1))
    path = store.save(2, _state(2)) / file
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "alter":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    else:
        path.unlink()
    found, problems = store.latest()
    assert found.step == 1
    assert len(problems) == 1
    assert "step-000000002" in problems[0]


def test_no_whole_checkpoint_is_an_error_not_a_fresh_start(tmp_path):
    store = Checkpoints(tmp_path)
    (store.save(1, _state(1)) / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match="No checkpoint can be used"):
        store.latest()


def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_rubbish(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    store.save(1, _state(1))

    def full(path, tensors):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    with pytest.raises(CheckpointError, match=r"step 2 .*No space left.*last good one is .*step-000000001"):
        store.save(2, _state(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001"]
    assert store.latest()[0].step == 1


def test_constant_tensors_are_written_once_and_checked(tmp_path):
    store = Checkpoints(tmp_path)
    constant = {"teacher.w": torch.arange(3.0)}
    store.save(1, _state(1), constant=constant)
    stamp = (tmp_path / "constant.safetensors").stat().st_mtime_ns
    store.save(2, _state(2), constant=constant)
    assert (tmp_path / "constant.safetensors").stat().st_mtime_ns == stamp
    assert torch.equal(Checkpoints(tmp_path).latest()[0].state["method"]["teacher.w"], torch.arange(3.0))
    (tmp_path / "constant.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match="frozen teachers"):
        Checkpoints(tmp_path).latest()


def test_tensors_that_share_memory_are_saved_each(tmp_path):
    base = torch.arange(6.0)
    store = Checkpoints(tmp_path)
    store.save(1, {"method": {"a": base, "b": base[2:], "c": base.view(2, 3).T}})
    state = store.latest()[0].state["method"]
    assert torch.equal(state["a"], base)
    assert torch.equal(state["b"], base[2:])
    assert torch.equal(state["c"], base.view(2, 3).T)


def test_a_checkpoint_of_another_model_names_what_differs(tmp_path):
    with pytest.raises(CheckpointError, match=r"missing: bias.*unknown: extra.*other shape: weight \(2, 2\) instead of \(2, 3\)"):
        load_method(nn.Linear(3, 2), {"weight": torch.zeros(2, 2), "extra": torch.zeros(1)}, tmp_path)
