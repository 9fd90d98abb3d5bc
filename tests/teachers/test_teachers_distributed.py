"""Teachers in two processes: replicated by DDP, and sharded by FSDP2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tutelage.errors import ShapeError
from tutelage.teachers import EMA, Ensemble, Frozen


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Sequential(nn.ReLU(), nn.Linear(5, 2)))


def reference() -> dict[str, torch.Tensor]:
    """One process: three steps on the whole batch, an average after each."""
    student, guide = network(0), Frozen(network(1))
    ema = EMA(student, momentum=0.8)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for step in range(3):
        inputs = batch(step)
        loss = (student.eval()(inputs) - Ensemble([ema, guide])(inputs)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(step / 3)
    return ema.state_dict()


def batch(step: int) -> torch.Tensor:
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(step))


def process(rank: int, folder: str, kind: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    student, guide = network(0).eval(), Frozen(network(1))
    if kind == "ddp":
        wrapped: nn.Module = nn.parallel.DistributedDataParallel(student)
        ema = EMA(wrapped, momentum=0.8)
        assert ema.student is student
    else:
        wrapped, ema = shard(student)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    teacher = Ensemble([ema, guide])
    for step in range(3):
        inputs = batch(step)[4 * rank : 4 * rank + 4]
        loss = (wrapped(inputs) - teacher(inputs)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(step / 3)
    state = {n: v.full_tensor() if hasattr(v, "full_tensor") else v for n, v in ema.state_dict().items()}
    if rank == 0:
        torch.save(state, f"{folder}/state.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # the threads of gloo, at times, abort the interpreter's own end


def shard(student: nn.Module) -> tuple[nn.Module, EMA]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh("cpu", (2,))
    ema = EMA(student, momentum=0.8)
    for model in (student, ema.model):
        fully_shard(model[2], mesh=mesh)
        if model is student:
            fully_shard(model, mesh=mesh)
            with pytest.raises(ShapeError, match="sharded in only one"):
                ema.update(0.0)
            ema.updates.zero_()
    fully_shard(ema.model, mesh=mesh)
    assert all(isinstance(p, DTensor) for p in ema.model.parameters())
    with pytest.raises(Exception, match="before fully_shard"):
        EMA(student)
    return student, ema


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes_average_like_one(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path), kind]
    running = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for part in running:
        _, errors = part.communicate(timeout=240)
        assert part.returncode == 0, errors
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    expected = reference()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(state[name], value, atol=1e-6), name
    assert int(state["updates"]) == 3


if __name__ == "__main__":
    process(int(sys.argv[3]), sys.argv[1], sys.argv[2])
