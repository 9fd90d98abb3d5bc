"""Clips of real digits in motion, whose class is the order of two moves: what is told from time alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.data.arrays import Arrays
from tutelage.errors import OptionError, nearest, optional

MOVES = {"up": (0.0, -1.0, 0.0), "down": (0.0, 1.0, 0.0), "left": (-1.0, 0.0, 0.0), "right": (1.0, 0.0, 0.0)} | {
    "rotate+": (0.0, 0.0, 1.0),
    "rotate-": (0.0, 0.0, -1.0),
}
"""What each move changes in every frame: place along x and y, and angle (positive is clockwise), in units of its speed."""

FOUR = ("up", "down", "left", "right")
_CHUNK = 256


def moving_digits(
    number: int,
    *,
    seed: int = 0,
    moves: Sequence[str] = tuple(MOVES),
    frames: int = 16,
    size: int = 32,
    digit: int = 14,
    pixels: tuple[float, float] = (0.7, 1.3),
    degrees: tuple[float, float] = (6.0, 12.0),
    part: Literal["train", "test"] = "train",
) -> Arrays:
    """Make clips of one digit each that makes one move for the first half of the time and another for the second.

    The class is the ordered pair of moves, so a clip played backwards is of another class. Digits are scikit-learn's, enlarged and
    coloured; grounds are cut from photographs of brick, grass and gravel (scikit-image's), tinted. Which digit, its colour, where it
    starts, its tilt, the speeds and the ground vary freely and say nothing of the class. Classes are as even as can be.

    Args:
        number: clips.
        seed: seed of everything that is drawn.
        moves: at least two of `MOVES`; m of them make m (m - 1) classes. Default all six.
        frames: length of a clip, at least 4.
        size: height and width of a frame, in pixels.
        digit: height and width of a digit, in pixels.
        pixels: least and largest speed of a shift, in pixels per frame.
        degrees: least and largest speed of a turn, in degrees per frame.
        part: which half of the digits is used, so that no handwriting of a test clip was seen in training.

    Returns:
        `input` uint8 `[number, frames, 3, size, size]`, `label` int64, classes named such as "up, left".

    Raises:
        OptionError: if an option is out of range, or the digit would leave the frame.
        MissingExtra: without the extras `digits` and `scenes`.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; textures of scikit-image, public domain.
    """
    for move in moves:
        if move not in MOVES:
            raise OptionError(f"There is no move '{move}'.{nearest(move, MOVES)}")
    room = size - 0.75 * digit - pixels[1] * (frames - 1)
    if number < 1 or len(set(moves)) < max(2, len(moves)) or frames < 4 or digit < 4 or part not in ("train", "test") or room < 0:
        raise OptionError(
            f"Moving digits got number={number}, moves={tuple(moves)}, frames={frames}, size={size}, digit={digit}, pixels={pixels}, "
            f"part='{part}': expected at least one clip, two different moves and four frames, and paths that fit into the frame."
        )
    pairs = list(permutations(moves, 2))
    generator = torch.Generator().manual_seed(seed)
    label = (torch.arange(number) % len(pairs))[torch.randperm(number, generator=generator)]
    drift = torch.tensor([[MOVES[a], MOVES[b]] for a, b in pairs])[label]
    speed = torch.rand(number, 2, 2, generator=generator)
    fast = torch.stack([_between(pixels, speed[..., 0]), _between(pixels, speed[..., 0]), _between(degrees, speed[..., 1])], -1)
    path = _paths(drift * fast, frames)
    path[..., 2] += 30 * torch.rand(number, 1, generator=generator) - 15
    reach = size / 2 - 0.375 * digit
    low, high = path[..., :2].amin(1), path[..., :2].amax(1)
    path[..., :2] += (-reach - low + (2 * reach - (high - low)) * torch.rand(number, 2, generator=generator))[:, None]
    ink = _ink(digit, part)
    chosen = torch.randint(len(ink), (number,), generator=generator)
    ground, light = _grounds(number, size, generator)
    clips = [_drawn(path[rows], ink[chosen[rows]], ground[rows], light[rows]) for rows in torch.split(torch.arange(number), _CHUNK)]
    columns = {"input": torch.cat(clips), "label": label}
    return Arrays(columns, tuple(f"{a}, {b}" for a, b in pairs), f"moving digits ({part})")


def _between(limits: tuple[float, float], share: Tensor) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * share


def _paths(drift: Tensor, frames: int) -> Tensor:
    """Return place and angle in every frame, `[N, frames, 3]`, of drifts `[N, 2, 3]` per frame, from 0."""
    half = torch.arange(frames - 1) < (frames - 1) / 2
    steps = torch.where(half[None, :, None], drift[:, :1], drift[:, 1:])
    return F.pad(steps.cumsum(1), (0, 0, 1, 0))


def _ink(digit: int, part: str) -> Tensor:
    bunch = optional("sklearn.datasets", "digits").load_digits()
    images = torch.tensor(bunch.images).float() / 16
    half = torch.arange(len(images)) % 2 == (part == "test")
    return F.interpolate(images[half][:, None], (digit, digit), mode="bilinear", align_corners=False)


def _grounds(number: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return dark tinted grounds `[N, 3, size, size]` and the digits' light colours `[N, 3]`, in [0, 1]."""
    data = optional("skimage.data", "scenes")
    textures = torch.stack([torch.tensor(read()) for read in (data.brick, data.grass, data.gravel)]).float() / 255
    which = torch.randint(len(textures), (number,), generator=generator).tolist()
    corner = torch.randint(0, textures.shape[-1] - size + 1, (number, 2), generator=generator).tolist()
    ground = torch.stack([textures[w, t : t + size, x : x + size] for w, (t, x) in zip(which, corner, strict=True)])
    tint = 0.1 + 0.25 * torch.rand(number, 3, generator=generator)
    ground = (tint[:, :, None, None] + 0.3 * (ground[:, None] - 0.5)).clamp(0, 1)
    return ground, 0.7 + 0.3 * torch.rand(number, 3, generator=generator)


def _drawn(path: Tensor, ink: Tensor, ground: Tensor, light: Tensor) -> Tensor:
    """Draw clips, uint8 `[N, T, 3, S, S]`: digits `[N, 1, d, d]` at `path` `[N, T, 3]`, measured from the middle of the frame."""
    number, frames = path.shape[:2]
    size, digit = ground.shape[-1], ink.shape[-1]
    x, y, angle = path.flatten(0, 1).unbind(-1)
    cosine, sine = (angle * math.pi / 180).cos(), (angle * math.pi / 180).sin()
    zoom = size / digit
    # From a place in the frame to the place in the digit that it shows; both span [-1, 1].
    across = torch.stack([cosine, sine, -(cosine * x + sine * y) * 2 / size], -1)
    along = torch.stack([-sine, cosine, -(cosine * y - sine * x) * 2 / size], -1)
    grid = F.affine_grid(zoom * torch.stack([across, along], 1), [number * frames, 1, size, size], align_corners=False)
    cover = F.grid_sample(ink.repeat_interleave(frames, 0), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    cover = cover.view(number, frames, 1, size, size)
    image = ground[:, None] + (light[:, None, :, None, None] - ground[:, None]) * cover
    return (image * 255).round().clamp(0, 255).byte()
