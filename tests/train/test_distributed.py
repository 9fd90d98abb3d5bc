from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "programs" / "distributed.py"


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    alone = [sys.executable, PROGRAM, tmp_path, "alone"]
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PROGRAM, tmp_path]
    for command in (alone, pair):
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
    for what in ("ddp Averaged", "ddp Own", "fsdp", "fsdp resumed"):
        assert done.stdout.count(f"same: {what};") == 2
