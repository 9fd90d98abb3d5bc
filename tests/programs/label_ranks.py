"""Labels in one process, and as two ranks at the same time.

usage: label_ranks.py DIRECTORY
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from tutelage import store
from tutelage.data import Arrays, DataSet

torch.set_num_threads(1)


def label(out: Path, rank: int, world: int) -> None:
    torch.manual_seed(3)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    whole = Arrays({"input": torch.rand(160, 1, 6, 6, generator=torch.Generator().manual_seed(0))})
    data = DataSet("data", whole.subset(range(20, 160)), whole.subset(range(10)), whole.subset(range(10, 20)))
    store.label(teacher, data, out, keep="top-k:3", view="crop", views=2, shard_rows=8, batch_size=4, rank=rank, world=world)


def main() -> None:
    directory = Path(sys.argv[1])
    children = []
    for name, rank, world in (("serial", 0, 1), ("ranks", 1, 2), ("ranks", 0, 2)):
        child = os.fork()
        if child == 0:
            label(directory / name, rank, world)
            os._exit(0)
        children.append(child)
        time.sleep(0.2)  # rank 1 is there before rank 0
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


main()
