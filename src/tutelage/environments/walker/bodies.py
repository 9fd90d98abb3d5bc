"""The bodies that walk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Body:
    """A hull on one or two pairs of legs; lengths in pixels, thirty to a metre.

    Args:
        hull: corners of the hull.
        leg_width: width of a thigh; a shin has four fifths of it.
        leg_height: length of thigh and shin, each.
        hips: where pairs of legs hang, in metres from the hull's centre.
        torque: largest torque of a motor, in newton metres.
        torque_penalty: what a step costs per newton metre.
    """

    hull: tuple[tuple[int, int], ...] = ((-30, 9), (6, 9), (34, 1), (34, -8), (-30, -8))
    leg_width: int = 8
    leg_height: int = 34
    hips: tuple[float, ...] = (0.0,)
    torque: float = 80.0
    torque_penalty: float = 0.00035

    @property
    def joints(self) -> int:
        """Number of motors: a hip and a knee for each leg."""
        return 4 * len(self.hips)


BODIES = {
    "short": Body(leg_height=17),
    "default": Body(),
    "quadrupedal": Body(
        hull=((-46, 13), (6, 13), (50, 5), (50, -12), (-46, -12)),
        leg_width=10,
        leg_height=51,
        hips=(-1.2, 0.85),
        torque=300.0,
        torque_penalty=0.00035 / 8,
    ),
}
"""The three bodies of Portelas et al. 2019; `default` is Gymnasium's BipedalWalker."""
