from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).parents[1] / "programs" / "killed.py"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_again_and_again_ends_with_the_same_bits(tmp_path, seed):
    done = subprocess.run([sys.executable, PROGRAM, tmp_path, str(seed)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 2
    whole, parts = (torch.load(tmp_path / name / "final.pt", weights_only=True) for name in ("whole", "parts"))
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name
    metrics = [(tmp_path / name / "seed-0/lesson/metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
