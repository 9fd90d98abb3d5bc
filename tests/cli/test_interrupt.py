from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    out = tmp_path / "run"
    words = ["--teacher", "tutelage:mlp", "--student", "tutelage:mlp?widths=8", "--data", "digits", "--no-ship", "--accelerator", "cpu"]
    command = [sys.executable, "-m", "tutelage.cli", "distill", *words, "--epochs", "40", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("seed-0/*/checkpoints/step-*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "stopped after step" in error
    assert "--resume" in error
    assert "Traceback" not in error
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "hinton" in done.stdout
