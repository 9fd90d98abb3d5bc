"""Scenes of real digits for pixel-wise classification, in two domains: clean ones, and ones on real textures."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.data.arrays import Arrays
from tutelage.errors import DataError, OptionError, optional

CLASSES = ("background", *"0123456789")


def digit_scenes(
    number: int,
    domain: Literal["clean", "textured"] = "clean",
    *,
    seed: int = 0,
    size: int = 48,
    digit: int = 16,
    classes: int = 10,
    digits: tuple[int, int] = (2, 4),
    inverted: float = 0.5,
    roughness: float = 1.0,
    part: Literal["train", "test"] = "train",
) -> Arrays:
    """Make scenes of a few digits, with the class of every pixel.

    Digits are scikit-learn's, enlarged; a pixel belongs to the digit whose ink covers it. Clean scenes show light digits on a flat
    dark ground. Textured ones lie on photographs of brick, grass and gravel (scikit-image's), of random contrast, inverted by
    chance, and blurred.

    Args:
        number: scenes.
        domain: `"clean"` or `"textured"`.
        seed: seed of everything that is drawn.
        size: height and width of a scene, in pixels.
        digit: height and width of a digit, in pixels.
        classes: how many of the ten digits occur, from 0 up.
        digits: least and largest number of digits in a scene; a later one covers an earlier one.
        inverted: share of textured scenes whose contrast is inverted.
        roughness: factor of the textures' own contrast.
        part: which half of the digits is used, so that no handwriting of a test scene was seen in training.

    Returns:
        `input` float32 `[number, 1, size, size]` in [0, 1], `label` int64 `[number, size, size]`: 0 for the ground, 1 + the digit else.

    Raises:
        OptionError: if an option is out of range.
        MissingExtra: without the extras `digits` and, for textures, `scenes`.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; textures of scikit-image, public domain.
    """
    if domain not in ("clean", "textured") or not 1 <= classes <= 10 or not 1 <= digits[0] <= digits[1] or not digit <= size:
        raise OptionError(
            f"Scenes got domain='{domain}', classes={classes}, digits={digits}, digit={digit}, size={size}: expected 'clean' or "
            "'textured', 1 to 10 classes, at least one digit, and digits no larger than the scene."
        )
    generator = torch.Generator().manual_seed(seed)
    ink, kinds = _digits(classes, digit, part)
    cover = torch.zeros(number, size, size)
    label = torch.zeros(number, size, size, dtype=torch.int64)
    counts = torch.randint(digits[0], digits[1] + 1, (number,), generator=generator)
    for place in range(digits[1]):
        chosen = torch.randint(len(ink), (number,), generator=generator)
        corner = torch.randint(0, size - digit + 1, (2, number), generator=generator)
        for scene in torch.nonzero(counts > place)[:, 0].tolist():
            top, left = corner[:, scene].tolist()
            window = (scene, slice(top, top + digit), slice(left, left + digit))
            drawn = ink[chosen[scene]]
            cover[window] = torch.maximum(cover[window], drawn)
            label[window] = torch.where(drawn > 0.4, kinds[chosen[scene]] + 1, label[window])
    image: Tensor = _clean(cover, generator) if domain == "clean" else _textured(cover, size, inverted, roughness, generator)
    return Arrays({"input": image[:, None].clamp(0, 1), "label": label}, CLASSES[: classes + 1], f"{domain} scenes")


def _digits(classes: int, digit: int, part: str) -> tuple[Tensor, Tensor]:
    bunch = optional("sklearn.datasets", "digits").load_digits()
    images, kinds = torch.tensor(bunch.images).float() / 16, torch.tensor(bunch.target)
    half = torch.arange(len(images)) % 2 == (part == "test")
    kept = half & (kinds < classes)
    ink = F.interpolate(images[kept][:, None], (digit, digit), mode="bilinear", align_corners=False)[:, 0]
    return ink, kinds[kept]


def _clean(cover: Tensor, generator: torch.Generator) -> Tensor:
    ground, light = torch.rand(2, len(cover), 1, 1, generator=generator)
    ground, light = 0.05 + 0.15 * ground, 0.75 + 0.25 * light
    made: Tensor = ground + (light - ground) * cover
    return made


def _textured(cover: Tensor, size: int, inverted: float, roughness: float, generator: torch.Generator) -> Tensor:
    data = optional("skimage.data", "scenes")
    textures = torch.stack([torch.tensor(read()) for read in (data.brick, data.grass, data.gravel)]).float() / 255
    if textures.shape[-1] < size:
        raise DataError(f"The textures have {textures.shape[-1]} pixels a side; scenes of {size} do not fit into them.")
    which = torch.randint(len(textures), (len(cover),), generator=generator).tolist()
    corner = torch.randint(0, textures.shape[-1] - size + 1, (2, len(cover)), generator=generator).T.tolist()
    ground = torch.stack([textures[w, t : t + size, x : x + size] for w, (t, x) in zip(which, corner, strict=True)])
    strength, light, chance, spread = torch.rand(4, len(cover), 1, 1, generator=generator)
    ground = 0.35 + roughness * (0.3 + 0.5 * strength) * (ground - 0.5)
    image = ground + (0.55 + 0.3 * light - ground) * cover * (0.7 + 0.3 * light)
    image = torch.where(chance < inverted, 1 - image, image)
    return _blurred(image, 0.3 + 0.7 * spread[:, 0, 0])


def _blurred(image: Tensor, sigma: Tensor) -> Tensor:
    places = torch.arange(-2, 3)
    weights = torch.exp(-(places[None] ** 2) / (2 * sigma[:, None] ** 2))
    weights = weights / weights.sum(1, keepdim=True)
    flat = F.pad(image[None], (2, 2, 2, 2), mode="reflect")
    flat = F.conv2d(flat, weights[:, None, :, None], groups=len(image))
    blurred: Tensor = F.conv2d(flat, weights[:, None, None, :], groups=len(image))[0]
    return blurred
