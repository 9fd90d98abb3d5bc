from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tutelage.cli import main

FAST = (
    "--epochs",
    "1",
    "--batch-size",
    "16",
    "--accelerator",
    "cpu",
    "--slices",
    "16",
    "--hidden",
    "16",
    "--width",
    "8",
    "--local-views",
    "0",
)


def run(capsys, *words):
    try:
        code = main(list(words))
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_folder_of_unlabelled_images_leaves_a_timm_backbone(tmp_path, capsys):
    timm = pytest.importorskip("timm")
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(32):
        Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{number}.png")
    out = tmp_path / "run"
    words = ("pretrain", "--data", str(tmp_path / "photos"), "--method", "lejepa", "--backbone", "timm:mobilenetv3_small_050")
    code, printed, errors = run(capsys, *words, "--out", str(out), *FAST)
    assert code == 0, errors
    assert "backbone.safetensors" in printed
    assert timm.create_model("mobilenetv3_small_050", num_classes=0, checkpoint_path=str(out / "backbone.safetensors")) is not None
    code, _, errors = run(capsys, *words, "--out", str(out), *FAST)
    assert code == 2
    assert "--resume" in errors


def test_help_and_mistakes(capsys):
    code, out, _ = run(capsys, "pretrain", "--help")
    assert code == 0
    assert "--backbone" in out
    assert "lambda" in out
    code, _, errors = run(capsys, "pretrain", "--method", "hinton")
    assert code == 2
    assert "Those that do: " in errors
    code, _, errors = run(capsys, "pretrain", "--bakbone", "x")
    assert code == 2
    assert "--backbone" in errors
