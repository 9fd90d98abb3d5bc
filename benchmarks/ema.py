"""The moving average of a ResNet-50-sized model against a loop of `lerp_` and the copying form, all with their buffers."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage.teachers import EMA

# Convolutions of a ResNet-50 as (out, in, kernel): 53 of them with their batch norms, and the classifier: 161 tensors of 25.6 million.
STAGES = ((64, 256, 3), (128, 512, 4), (256, 1024, 6), (512, 2048, 3))


def resnet50_sized() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, bias=False), nn.BatchNorm2d(64)]
    width = 64
    for inner, outer, blocks in STAGES:
        for block in range(blocks):
            shapes = [(inner, width, 1), (inner, inner, 3), (outer, inner, 1)] + ([(outer, width, 1)] if block == 0 else [])
            for out, into, kernel in shapes:
                layers += [nn.Conv2d(into, out, kernel, bias=False), nn.BatchNorm2d(out)]
            width = outer
    return nn.Sequential(*layers, nn.Linear(2048, 1000))


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    model = resnet50_sized()
    sizes = [p.numel() for p in model.parameters()]
    assert (len(sizes), round(sum(sizes) / 1e6, 1)) == (161, 25.6)
    teacher = EMA(model, momentum=0.999)
    loop, naive = copy.deepcopy(model), copy.deepcopy(model)

    def buffers(mean: nn.Module) -> None:
        for held, buffer in zip(mean.buffers(), model.buffers(), strict=True):
            held.copy_(buffer)

    def lerp() -> None:
        with torch.no_grad():
            for mean, parameter in zip(loop.parameters(), model.parameters(), strict=True):
                mean.lerp_(parameter, 0.001)
            buffers(loop)

    def copying() -> None:
        with torch.no_grad():
            for mean, parameter in zip(naive.parameters(), model.parameters(), strict=True):
                mean.copy_(0.999 * mean + 0.001 * parameter)
            buffers(naive)

    a, b, c = take_turns(lambda: teacher.update(0.5), lerp, copying, rounds=25, warm_up=3)
    ours = statistics.median(a) * 1000
    ratio = paired_ratio(a, b)
    yield Row("EMA of a ResNet-50 against a lerp_ loop", ours, statistics.median(b) * 1000, "ms", ratio, "<= 1.05 (as fast)", ratio <= 1.05)
    ratio = paired_ratio(c, a)
    yield Row("EMA of a ResNet-50 against the copying form", ours, statistics.median(c) * 1000, "ms", ratio, ">= 3", ratio >= 3)
