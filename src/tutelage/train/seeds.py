"""Where randomness comes from: every draw is a function of the seed and the place in the training."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def derive(*numbers: int) -> int:
    """Return a well-mixed 63-bit seed that depends on every number and their order (splitmix64 finaliser).

    Args:
        *numbers: seed, step, rank, ...: non-negative integers.

    Returns:
        An integer in [0, 2^63).
    """
    state = 0
    for number in numbers:
        state = (state + 0x9E3779B97F4A7C15 + number) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1
