from __future__ import annotations

import pytest
import torch

from tutelage.data.clips import FOUR, moving_digits
from tutelage.errors import OptionError


@pytest.fixture(scope="module")
def clips():
    return moving_digits(240, seed=1)


def centre(frames):
    """Where the light digit is in each frame, [N, T, 2]: the ground does not move, so it is taken off."""
    change = (frames.float().mean(2) - frames.float().mean(2).amin(1, keepdim=True)).clamp_min(40) - 40
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    mass = change.flatten(2).sum(-1).clamp_min(1e-6)
    return torch.stack([(change * x).flatten(2).sum(-1) / mass, (change * y).flatten(2).sum(-1) / mass], -1)


def test_shapes_and_even_classes(clips):
    assert clips.shape == (16, 3, 32, 32)
    assert clips.column("input").dtype == torch.uint8
    assert clips.num_classes == 30
    assert torch.bincount(clips.labels).tolist() == [8] * 30
    assert clips.classes[0] == "up, down"
    assert "rotate+, rotate+" not in clips.classes
    assert moving_digits(24, moves=FOUR).num_classes == 12


def test_the_class_is_the_order_of_the_moves(clips):
    place = centre(clips.column("input"))
    directions = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}
    right = total = 0
    for row, label in enumerate(clips.labels.tolist()):
        for (begin, end), move in zip(((1, 6), (9, 14)), clips.classes[label].split(", "), strict=True):
            if move in directions:
                drift = place[row, end] - place[row, begin]
                along = drift @ torch.tensor(directions[move], dtype=torch.float32)
                right += bool(along > 0.7 * drift.norm())
                total += 1
    assert right / total > 0.9


def test_ground_stays_and_digits_move(clips):
    frames = clips.column("input").int()
    change = (frames[:, 1:] - frames[:, :-1]).abs().amax(2)
    assert (change > 8).float().mean() < 0.2
    assert (change.flatten(2).amax(-1) > 8).float().mean() > 0.99


def test_the_seed_decides_and_hands_are_not_shared(clips):
    again, other = moving_digits(240, seed=1), moving_digits(240, seed=2)
    assert clips.fingerprint() == again.fingerprint() != other.fingerprint()
    assert moving_digits(240, seed=1, part="test").fingerprint() != clips.fingerprint()


@pytest.mark.parametrize(
    "wrong", [{"moves": ("up",)}, {"moves": ("up", "up")}, {"frames": 3}, {"size": 24}, {"pixels": (1.0, 3.0)}, {"part": "all"}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError, match="Moving digits got"):
        moving_digits(8, **wrong)
    with pytest.raises(OptionError, match="no move 'upp'"):
        moving_digits(8, moves=("upp", "down"))
