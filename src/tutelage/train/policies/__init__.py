"""Training students of Stable-Baselines3, unchanged, with a teacher of tasks beside them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.train.policies.record import Failure, TaskRecord
    from tutelage.train.policies.state import load_student, save_student
    from tutelage.train.policies.training import Watch, train
    from tutelage.train.policies.vectorised import TaughtEnvs, taught, vectorise
    from tutelage.train.policies.visits import Visited, visit

__all__ = [
    "Failure",
    "TaskRecord",
    "TaughtEnvs",
    "Visited",
    "Watch",
    "load_student",
    "save_student",
    "taught",
    "train",
    "vectorise",
    "visit",
]

_HOMES = {
    "Failure": "record",
    "TaskRecord": "record",
    "TaughtEnvs": "vectorised",
    "Visited": "visits",
    "Watch": "training",
    "load_student": "state",
    "save_student": "state",
    "taught": "vectorised",
    "train": "training",
    "vectorise": "vectorised",
    "visit": "visits",
}


def __getattr__(name: str) -> Any:
    """Import a part when it is first asked for: Stable-Baselines3 takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tutelage.train.policies' has no attribute '{name}'")
    return getattr(importlib.import_module(f"tutelage.train.policies.{_HOMES[name]}"), name)
