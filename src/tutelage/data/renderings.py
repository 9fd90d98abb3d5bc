"""Rendered digits: real digits drawn in several fixed ways, with a generated label tree whose verticals are the ways of drawing.

A small stand-in for a very large multi-label set whose labels form a tree and fall into semantic subsets of unequal size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.data.arrays import Arrays, DataSet
from tutelage.data.label_tree import LabelTree, Verticals
from tutelage.errors import DataError, OptionError, nearest


def edges(images: Tensor) -> Tensor:
    """Return the Sobel gradient magnitude, a quarter of it clipped to 1.

    Args:
        images: float `[N, 1, H, W]` in [0, 1].

    Returns:
        The same shape, in [0, 1].
    """
    horizontal = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([horizontal, horizontal.T]).unsqueeze(1)
    gradient = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernels)
    return gradient.square().sum(dim=1, keepdim=True).sqrt().div(4).clamp(max=1)


def thick(images: Tensor) -> Tensor:
    """Return the images dilated by a 3 x 3 square, then blurred by a 3 x 3 binomial kernel.

    Args:
        images: float `[N, 1, H, W]` in [0, 1].

    Returns:
        The same shape, in [0, 1].
    """
    row = images.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(row, row).expand(1, 1, 3, 3)
    return F.conv2d(F.pad(F.max_pool2d(images, 3, stride=1, padding=1), (1, 1, 1, 1), mode="replicate"), kernel)


def split_mirrored(images: Tensor) -> Tensor:
    """Return the images cut down the middle, each half mirrored in its place.

    Args:
        images: `[N, C, H, W]`.

    Returns:
        The same shape.
    """
    middle = images.shape[3] // 2
    return torch.cat([images[..., :middle].flip(3), images[..., middle:].flip(3)], dim=3)


RENDERINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda images: images,
    "rotated": lambda images: images.rot90(1, (2, 3)),
    "inverted": lambda images: 1 - images,
    "edges": edges,
    "thick": thick,
    "split-mirrored": split_mirrored,
}
"""The six fixed ways of drawing a digit, each from float `[N, 1, H, W]` in [0, 1] to the same."""

_ALL, _FIVE, _THREE = tuple(range(10)), (0, 2, 5, 7, 9), (1, 4, 8)

SIX_VERTICALS: dict[str, tuple[int, ...]] = {
    "plain": _ALL,
    "rotated": _FIVE,
    "inverted": _THREE,
    "edges": _ALL,
    "thick": _FIVE,
    "split-mirrored": _ALL,
}
"""Digits of each vertical: unequal, so that verticals differ in size (15, 10, 8, 15, 10 and 15 labels; 73 in all)."""


@dataclass(frozen=True)
class RenderedDigits:
    """Rendered digits with what is known about their labels.

    Args:
        data: parts with columns `input` float32 `[N, 1, H, W]`, `target` float32 `[N, L]` multi-hot and closed under ancestors, and
            `vertical` int64 `[N]`.
        tree: the label tree.
        verticals: vertical of each label.
    """

    data: DataSet
    tree: LabelTree
    verticals: Verticals


def digit_tree(verticals: Mapping[str, Sequence[int]]) -> LabelTree:
    """Return the label tree of rendered digits.

    Each vertical has a root, the middle labels even, odd, below-5 and from-5, and a leaf per digit below two of them.

    Args:
        verticals: digits of each vertical.

    Returns:
        Labels named `plain`, `plain/even`, `plain/3` and so on.
    """
    edges: list[tuple[str, str]] = []
    for name, digits in verticals.items():
        edges.extend((f"{name}/{middle}", name) for middle in ("even", "odd", "below-5", "from-5"))
        for d in digits:
            edges.append((f"{name}/{d}", f"{name}/{'odd' if d % 2 else 'even'}"))
            edges.append((f"{name}/{d}", f"{name}/{'below-5' if d < 5 else 'from-5'}"))
    return LabelTree.from_edges(edges)


def render_digits(
    digits: DataSet, sizes: Mapping[str, int], *, verticals: Mapping[str, Sequence[int]] = SIX_VERTICALS, seed: int = 0
) -> RenderedDigits:
    """Draw each digit in one way and label it with its leaf and all ancestors: four true labels per image.

    Every leaf gets the same number of images, to within one. No image is used twice, and each part is made of the same part of `digits`.

    Args:
        digits: images of one channel with labels 0 to 9.
        sizes: number of images of each part: train, validation and test.
        verticals: digits of each vertical; its names are among `RENDERINGS`.
        seed: seed of which image is drawn in which way.

    Returns:
        The rendered digits.

    Raises:
        OptionError: if a rendering is unknown or a part is missing in `sizes`.
        DataError: if a part of `digits` has too few images of a digit.
    """
    for name in verticals:
        if name not in RENDERINGS:
            raise OptionError(f"There is no rendering '{name}'.{nearest(name, RENDERINGS)}")
    if set(sizes) != set(digits.parts):
        raise OptionError(f"`sizes` names the parts {sorted(sizes)}; expected {sorted(digits.parts)}.")
    tree = digit_tree(verticals)
    of_label = Verticals.by_root(tree)
    parts = {
        part: _render(arrays, sizes[part], verticals, tree, of_label, np.random.default_rng((seed, number)))
        for number, (part, arrays) in enumerate(digits.parts.items())
    }
    data = DataSet(f"rendered {digits.name}", parts["train"], parts["validation"], parts["test"])
    return RenderedDigits(data, tree, of_label)


def _render(
    arrays: Arrays, size: int, verticals: Mapping[str, Sequence[int]], tree: LabelTree, of_label: Verticals, random: np.random.Generator
) -> Arrays:
    labels = arrays.labels.cpu().numpy()
    pools = {d: random.permutation(np.flatnonzero(labels == d)) for d in sorted({d for ds in verticals.values() for d in ds})}
    leaves = [(name, d) for name, ds in verticals.items() for d in ds]
    images: list[Tensor] = []
    chosen: list[int] = []
    for i, (name, d) in enumerate(leaves):
        count = size * (i + 1) // len(leaves) - size * i // len(leaves)
        rows, pools[d] = pools[d][:count], pools[d][count:]
        if len(rows) < count:
            raise DataError(
                f"'{arrays.name}' has too few images of the digit {d}: {count} more are needed for {name}/{d}, got {len(rows)}."
            )
        images.append(RENDERINGS[name](arrays.gather(rows)["input"]))
        chosen += [tree.position[f"{name}/{d}"]] * count
    order = torch.from_numpy(random.permutation(size))
    leaf = torch.tensor(chosen)[order]
    target = tree.close(F.one_hot(leaf, len(tree.labels)).float())
    columns = {"input": torch.cat(images)[order].contiguous(), "target": target, "vertical": of_label.index[leaf]}
    return Arrays(columns, classes=tree.labels, name=f"rendered {arrays.name}")
