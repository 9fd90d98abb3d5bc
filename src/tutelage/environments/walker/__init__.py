"""BipedalWalker over boxes of tasks: stump tracks and hexagon tracks, walked by short, default and quadrupedal bodies."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tutelage.environments.walker.bodies import BODIES, Body
from tutelage.environments.walker.tracks import HEXAGONS, STUMPS, Obstacle, hexagons, stumps

if TYPE_CHECKING:
    from tutelage.environments.walker.walker import TaskWalker, hexagon_tracks, stump_tracks

__all__ = ["BODIES", "HEXAGONS", "STUMPS", "Body", "Obstacle", "TaskWalker", "hexagon_tracks", "hexagons", "stump_tracks", "stumps"]


def __getattr__(name: str) -> Any:
    """Import what needs Box2D when it is first asked for."""
    if name not in ("TaskWalker", "hexagon_tracks", "stump_tracks"):
        raise AttributeError(f"module 'tutelage.environments.walker' has no attribute '{name}'")
    return getattr(importlib.import_module("tutelage.environments.walker.walker"), name)
