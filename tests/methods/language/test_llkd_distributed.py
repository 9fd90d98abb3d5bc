"""LLKD in two processes, of which one keeps nothing: both see the same thresholds and counts, and both move by the same gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tutelage.data import Arrays, Batches
from tutelage.methods.language.llkd import LLKD
from tutelage.models.word_bag import WordBag
from tutelage.selection import UseCounter
from tutelage.train import Trainer, TrainOptions


class Choosy(LLKD):
    """Keeps nothing in the second process, and in the last step nowhere."""

    def select(self, confidence, entropy, label):
        kept = super().select(confidence, entropy, label)
        alone = not dist.is_initialized()
        first = len(kept) // 2 if alone else len(kept) * (dist.get_rank() == 0)
        return kept * (torch.arange(len(kept)) < first) * (self.steps_done < 2)


def train(devices: int, rate: float = 0.1) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    columns = {
        "input": torch.randint(1, 30, (48, 6), generator=source),
        "label": torch.randint(3, (48,), generator=source),
        "confidence": 0.4 + 0.6 * torch.rand(48, generator=source),
    }
    torch.manual_seed(1)
    method = Choosy(WordBag(num_classes=3, vocabulary=30, dim=8, hidden=8), 3, counter=UseCounter(48))
    options = TrainOptions(
        epochs=1, batch_size=16, optimizer="SGD", learning_rate=rate, schedule="constant", accelerator="cpu", devices=devices,
        strategy="auto" if devices == 1 else "ddp",
    )  # fmt: skip
    Trainer(method, Batches(Arrays(columns, tuple("abc")), 16, seed=0, shuffle=False), options).fit()
    return method.state_dict()


@pytest.mark.slow
def test_two_processes_keep_and_count_together(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    # The second process adds a gradient of zero, so the mean over both is half of what one process alone takes.
    alone = train(1, rate=0.05)
    torch.manual_seed(1)
    start = WordBag(num_classes=3, vocabulary=30, dim=8, hidden=8)
    assert int(one["counter.shown"].sum()) == 48
    assert 0 < int(one["counter.uses"].sum()) < 16
    for name, value in alone.items():
        assert torch.equal(one[name], other[name]), name
        assert torch.allclose(one[name].float(), value.float(), atol=1e-6), name
    assert not torch.equal(one["student.head.weight"], start.head.weight)


if __name__ == "__main__":
    kept = train(2)
    torch.save(kept, Path(sys.argv[1]) / f"{dist.get_rank()}.pt")
    dist.barrier()
    os._exit(0)  # the threads of gloo, at times, abort the interpreter's own end
