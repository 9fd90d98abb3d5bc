"""Noise put into clean data on purpose: wrong labels and images of nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tutelage.data.arrays import Arrays
from tutelage.errors import OptionError


def _choose(arrays: Arrays, fraction: float, seed: int, salt: int) -> tuple[np.random.Generator, np.ndarray]:
    if not 0 <= fraction <= 1:
        raise OptionError(f"The fraction of noisy samples is {fraction}: expected 0 to 1.")
    generator = np.random.default_rng(np.random.SeedSequence((seed, salt)))
    return generator, generator.permutation(len(arrays))[: round(fraction * len(arrays))]


def flip_labels(arrays: Arrays, fraction: float, seed: int = 0) -> Arrays:
    """Replace the labels of some samples by another class drawn uniformly (symmetric label noise).

    Args:
        arrays: labelled samples of at least two classes.
        fraction: share of samples with a wrong label, 0 to 1; exactly this share, rounded to whole samples.
        seed: seed of the choice, at least 0.

    Returns:
        The samples with changed `"label"` and the true ones as `"clean_label"`.

    Raises:
        OptionError: if `fraction` is out of range or there are fewer than two classes.
    """
    if arrays.num_classes < 2:
        raise OptionError(f"Labels of '{arrays.name}' cannot be flipped: it has {arrays.num_classes} class(es), expected at least 2.")
    generator, rows = _choose(arrays, fraction, seed, 0x1ABE1)
    clean = arrays.labels
    shift = torch.from_numpy(generator.integers(1, arrays.num_classes, size=len(rows))).to(clean.device)
    chosen = torch.from_numpy(rows).to(clean.device)
    label = clean.clone()
    label[chosen] = (clean[chosen] + shift) % arrays.num_classes
    return arrays.replace(label=label, clean_label=arrays.columns.get("clean_label", clean))


def noise_images(arrays: Arrays, fraction: float, seed: int = 0, *, mean: float = 0.5, std: float = 0.25) -> tuple[Arrays, Tensor]:
    """Replace some images by Gaussian noise; their labels stay.

    Args:
        arrays: samples with images in memory, uint8 or float32 `[N, C, H, W]`.
        fraction: share of images to replace, 0 to 1; exactly this share, rounded to whole samples.
        seed: seed of the choice and of the noise, at least 0.
        mean: mean of the noise on the scale [0, 1] of images.
        std: standard deviation of the noise on that scale; values are clipped to [0, 1].

    Returns:
        The samples with changed `"input"` and a column `"is_outlier"`, and that column: bool `[N]`, true where an image is noise.

    Raises:
        OptionError: if `fraction` is out of range or the inputs are not images in memory.
    """
    images = arrays.column("input")
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise OptionError(f"The inputs of '{arrays.name}' are not images [N, C, H, W] in memory: they cannot be replaced by noise images.")
    generator, rows = _choose(arrays, fraction, seed, 0x0C71)
    noise = generator.normal(mean, std, size=(len(rows), *images.shape[1:])).clip(0, 1)
    values = torch.from_numpy((noise * 255).round().astype(np.uint8) if images.dtype == torch.uint8 else noise.astype(np.float32))
    chosen = torch.from_numpy(rows).to(images.device)
    changed = images.clone()
    changed[chosen] = values.to(images)
    is_outlier = torch.zeros(len(arrays), dtype=torch.bool, device=images.device)
    is_outlier[chosen] = True
    return arrays.replace(input=changed, is_outlier=is_outlier), is_outlier
