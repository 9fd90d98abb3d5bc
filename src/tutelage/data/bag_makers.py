"""Made bags of which it is known which instances are easy and which are hard: drawn from normal laws, or from real digits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.data.arrays import Arrays
from tutelage.data.bags import Bags
from tutelage.errors import DataError, OptionError

NEGATIVE, EASY, HARD = 0, 1, 2
"""What the column `kind` says of each instance: background, easily seen, hardly seen."""

_CLASSES = ("negative", "positive")


def hard_easy_bags(
    count: int,
    *,
    shift: float = 3.0,
    easy: int = 4,
    hard: int = 6,
    easy_shift: float = 4.0,
    instances: int = 100,
    features: int = 32,
    tissues: Sequence[int] = (2, 3, 4, 5),
    tissue_shift: float = 2.0,
    seed: int = 0,
    name: str = "bags",
) -> Arrays:
    """Return bags of normal instances, half of them positive: those hold a few easy and some hard instances.

    An instance is drawn from N(0, I) and moved by `tissue_shift` along one of the tissue axes, chosen at random. In a positive bag `easy`
    instances are moved by `easy_shift` along axis 0, and `hard` others by `shift` along axis 1.

    Args:
        count: number of bags; an odd one gets one more negative.
        shift: s_h, how far hard instances lie from the others, in standard deviations. Default 3.
        easy: easy instances of a positive bag. Default 4; 0 makes bags that only hard ones give away.
        hard: hard instances of a positive bag. Default 6.
        easy_shift: how far easy instances lie. Default 4.
        instances: N. Default 100.
        features: D. Default 32.
        tissues: the tissue axes, other than 0 and 1. Default four.
        tissue_shift: how far tissues lie from the origin. Default 2.
        seed: seed of the draw.
        name: what errors call the bags.

    Returns:
        Columns `input` (`Bags` of float32 `[N, D]`), `label` (int64) and `kind` (`Bags` of int64 `[N, 1]`: 0 background, 1 easy, 2 hard).

    Raises:
        OptionError: if the numbers do not fit.

    Source: ours; it gives the easy and the hard instances of arXiv 2307.15254, section 1, a law.
    """
    if count < 2 or min(easy, hard) < 0 or easy + hard > instances or not tissues or not 2 <= min(tissues) <= max(tissues) < features:
        raise OptionError(
            f"Cannot make {count} bags of {instances} instances ({easy} easy, {hard} hard) in {features} dimensions with the tissue axes "
            f"{tuple(tissues)}; expected 2 bags, instances enough and axes from 2 to {features - 1}."
        )
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 2
    x = torch.randn(count, instances, features, generator=generator)
    tissue = torch.tensor(list(tissues))[torch.randint(len(tissues), (count, instances), generator=generator)]
    x.scatter_add_(2, tissue.unsqueeze(2), torch.full((count, instances, 1), tissue_shift))
    kind = torch.zeros(count, instances, dtype=torch.int64)
    kind[:, :easy], kind[:, easy : easy + hard] = EASY, HARD
    kind[label == 0] = NEGATIVE
    x[..., 0] += easy_shift * (kind == EASY)
    x[..., 1] += shift * (kind == HARD)
    # In no order: a model that looks at places shall learn nothing from them.
    order = torch.rand(count, instances, generator=generator).argsort(1)
    x, kind = x.gather(1, order.unsqueeze(2).expand_as(x)), kind.gather(1, order)
    return _arrays(list(x), label, list(kind.unsqueeze(2)), name)


def mnist_bags(
    digits: Arrays,
    count: int,
    *,
    positive: int = 9,
    easy: int = 1,
    hard: int = 2,
    noise: float = 1.0,
    instances: int = 30,
    seed: int = 0,
    name: str = "digit bags",
) -> Arrays:
    """Return bags of real digits, half of them positive: those hold the digit 9, clean (easy) and under heavy noise (hard).

    No image is used twice in a bag. Noise also lies on as many of the other digits of every bag, so that noise alone says nothing.

    Args:
        digits: images of one channel in [0, 1] (or uint8), with labels.
        count: number of bags; an odd one gets one more negative.
        positive: the digit that makes a bag positive. Default 9.
        easy: clean images of it in a positive bag. Default 1.
        hard: images of it under noise in a positive bag. Default 2.
        noise: standard deviation of the normal noise; images are clipped to [0, 1] again. Default 1.
        instances: N. Default 30.
        seed: seed of the draw.
        name: what errors call the bags.

    Returns:
        Columns `input` (`Bags` of float32 `[N, H * W]`), `label` and `kind` as of `hard_easy_bags`.

    Raises:
        OptionError: if the numbers do not fit.
        DataError: if there are too few images.

    Source: after the MNIST-bags of Ilse, Tomczak and Welling, Attention-based Deep Multiple Instance Learning, ICML 2018, section 4.2;
        the noise is ours.
    """
    if count < 2 or min(easy, hard) < 0 or easy + 2 * hard > instances or noise < 0:
        raise OptionError(
            f"Cannot make {count} bags of {instances} digits ({easy} easy, {hard} hard, as many of others under noise, noise {noise})."
        )
    labels = digits.labels.cpu()
    targets, others = (labels == positive).nonzero().flatten(), (labels != positive).nonzero().flatten()
    if len(targets) < easy + hard or len(others) < instances:
        raise DataError(f"'{digits.name}' has {len(targets)} images of the digit {positive} and {len(others)} others: too few for a bag.")
    generator = torch.Generator().manual_seed(seed)
    bags, kinds, label = [], [], torch.arange(count) % 2
    for number in range(count):
        found = easy + hard if label[number] else 0
        rows = torch.cat([_some(targets, found, generator), _some(others, instances - found, generator)])
        kind = torch.full((instances,), NEGATIVE)
        kind[:found] = torch.tensor([EASY] * easy + [HARD] * hard)[:found]
        noisy = torch.zeros(instances, dtype=torch.bool)
        noisy[easy:found] = True
        noisy[found : found + hard] = True
        order = torch.randperm(instances, generator=generator)
        images: Tensor = digits.gather(rows[order])["input"].cpu().flatten(1)
        disturbed = (images + noise * torch.randn(images.shape, generator=generator)).clamp(0, 1)
        bags.append(torch.where(noisy[order].unsqueeze(1), disturbed, images))
        kinds.append(kind[order].unsqueeze(1))
    return _arrays(bags, label, kinds, name)


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:count]]


def _arrays(bags: list[Tensor], label: Tensor, kinds: list[Tensor], name: str) -> Arrays:
    return Arrays({"input": Bags(bags), "label": label, "kind": Bags(kinds)}, _CLASSES, name)
