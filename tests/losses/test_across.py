"""Statistics of the global batch in two processes: the same value on both, and the gradients of one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tutelage import losses as L
from tutelage.losses.across import count_over_processes, rows_over_processes, shared, sum_over_processes
from tutelage.losses.normality import TESTS
from tutelage.methods.self_supervised.lejepa import LeJEPA
from tutelage.views import Seen

CUT = 5  # of 9 samples the first process has 5, the second 4


def batch() -> Tensor:
    return torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(6, 4).double()


def loss_of(model: nn.Module, x: Tensor, test: str) -> Tensor:
    directions = L.random_directions(12, 4, seed=3).double()
    return L.sigreg(model(x), directions, test=test).mean()


class Method(nn.Module):
    """The method around given views, as DDP wraps it."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.method = LeJEPA(nn.Sequential(nn.Flatten(), student), nn.Identity(), lambda x, generator: Seen(x), slices=7, weight=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.method.losses({"input": x[..., None, None]}).values())


def process(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    assert shared()
    part = batch()[:, :CUT] if rank == 0 else batch()[:, CUT:]
    assert count_over_processes(part.shape[1], part) == 9
    assert torch.equal(rows_over_processes(part), batch())
    assert sum_over_processes(torch.ones(2)).tolist() == [2, 2]
    found: dict[str, Tensor] = {}
    for test in TESTS:
        # Shares of the batch, times the number of processes, weigh each process's loss, as the engine does.
        model = network()
        wrapped = nn.parallel.DistributedDataParallel(model)
        loss = loss_of(wrapped, part, test)
        (loss * part.shape[1] * 2 / 9).backward()
        found |= {f"{test} loss {rank}": loss.detach(), f"{test} gradient": model.weight.grad}
    model = network()
    whole = nn.parallel.DistributedDataParallel(Method(model))  # held: without it nothing averages the gradients
    loss = whole(part)
    (loss * part.shape[1] * 2 / 9).backward()
    found["method gradient"] = model.weight.grad
    torch.save(found, f"{folder}/found-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # the threads of gloo, at times, abort the interpreter's own end


@pytest.mark.slow
def test_two_processes_are_like_one(tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, __file__, str(tmp_path), str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)
    ]
    for part in running:
        _, errors = part.communicate(timeout=240)
        assert part.returncode == 0, errors
    found: dict[str, Tensor] = {}
    for rank in range(2):
        found |= torch.load(tmp_path / f"found-{rank}.pt", weights_only=True)
    for test in TESTS:
        model = network()
        loss = loss_of(model, batch(), test)
        loss.backward()
        for rank in range(2):
            torch.testing.assert_close(found[f"{test} loss {rank}"], loss.detach())
        torch.testing.assert_close(found[f"{test} gradient"], model.weight.grad)
    model = network()
    Method(model)(batch()).backward()
    torch.testing.assert_close(found["method gradient"], model.weight.grad)


def test_one_process_keeps_its_tensors() -> None:
    x = torch.rand(3, 2)
    assert not shared()
    assert sum_over_processes(x) is x
    assert rows_over_processes(x) is x
    assert count_over_processes(3, x) == 3


if __name__ == "__main__":
    process(int(sys.argv[2]), sys.argv[1])
