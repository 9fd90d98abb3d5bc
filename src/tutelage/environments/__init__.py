"""Environments of control and agents: boxes of tasks, factories from a task to a Gymnasium environment, small spaces, states, databases.

Importing this package imports neither torch nor Gymnasium.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tutelage.environments.tasks import TaskBox

if TYPE_CHECKING:
    from tutelage.environments.episodes import Episodes, Position
    from tutelage.environments.guarded_sql import GuardedSql
    from tutelage.environments.mazes import SerpentineMaze
    from tutelage.environments.minigrid_view import fast_view
    from tutelage.environments.recording import record
    from tutelage.environments.rooms import TwoRooms
    from tutelage.environments.security_logs import SecurityLogs
    from tutelage.environments.simulators import load_state, save_state
    from tutelage.environments.snapshot_starts import SnapshotStarts
    from tutelage.environments.snapshots import Snapshots
    from tutelage.environments.subgoals import Subgoal, SubgoalTracker
    from tutelage.environments.task_environment import TaskEnvironment
    from tutelage.environments.toy import ToySpace

__all__ = [
    "Episodes",
    "GuardedSql",
    "Position",
    "SecurityLogs",
    "SerpentineMaze",
    "SnapshotStarts",
    "Snapshots",
    "Subgoal",
    "SubgoalTracker",
    "TaskBox",
    "TaskEnvironment",
    "ToySpace",
    "TwoRooms",
    "fast_view",
    "load_state",
    "record",
    "save_state",
]

_HOMES = {
    "Episodes": "episodes",
    "GuardedSql": "guarded_sql",
    "Position": "episodes",
    "SecurityLogs": "security_logs",
    "SerpentineMaze": "mazes",
    "SnapshotStarts": "snapshot_starts",
    "Snapshots": "snapshots",
    "Subgoal": "subgoals",
    "SubgoalTracker": "subgoals",
    "TaskEnvironment": "task_environment",
    "ToySpace": "toy",
    "TwoRooms": "rooms",
    "fast_view": "minigrid_view",
    "load_state": "simulators",
    "record": "recording",
    "save_state": "simulators",
}


def __getattr__(name: str) -> Any:
    """Import an environment when it is first asked for, so that a box of tasks does not import Gymnasium."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tutelage.environments' has no attribute '{name}'")
    return getattr(importlib.import_module(f"tutelage.environments.{_HOMES[name]}"), name)
