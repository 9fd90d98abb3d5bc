"""A frozen convolutional teacher on each engine against the same teacher run eagerly, on batches of 128 pictures of 28x28."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage import models
from tutelage.teachers import Frozen

GOALS = {"folded": 1.5, "compile": 1.5, "onnxruntime": 2.0}
BATCH, CALLS = 128, 5


def teacher() -> nn.Module:
    """Three convolution layers whose batch norms have statistics as training leaves them."""
    torch.manual_seed(0)
    model = models.cnn(num_classes=10, widths=(32, 64, 128))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    model = teacher()
    images = torch.rand(BATCH, 1, 28, 28)
    engines = {name: Frozen(model, name, batch=BATCH) for name in ("eager", *GOALS)}
    for engine in engines.values():
        engine(images)  # builds it

    def calls(engine: Frozen) -> None:
        for _ in range(CALLS):
            engine(images)

    seconds = dict(zip(engines, take_turns(*(lambda e=e: calls(e) for e in engines.values()), rounds=9), strict=True))
    eager = seconds["eager"]
    for name, goal in GOALS.items():
        ratio = paired_ratio(eager, seconds[name])
        ours, theirs = (statistics.median(s) * 1000 / CALLS for s in (seconds[name], eager))
        yield Row(f"teacher on engine '{name}' against eager", ours, theirs, "ms", ratio, f">= {goal}", ratio >= goal)
