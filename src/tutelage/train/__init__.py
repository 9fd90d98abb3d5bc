"""The engine: methods, players, the trainer, checkpoints, runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.train.checkpoint import Checkpoints
    from tutelage.train.engine import Engine
    from tutelage.train.interrupt import Interrupted
    from tutelage.train.log import History
    from tutelage.train.method import Batch, Method, Player
    from tutelage.train.next_token import NextToken
    from tutelage.train.options import TrainOptions
    from tutelage.train.run import Run
    from tutelage.train.supervised import Supervised
    from tutelage.train.trainer import Trainer

__all__ = [
    "Batch",
    "Checkpoints",
    "Engine",
    "History",
    "Interrupted",
    "Method",
    "NextToken",
    "Player",
    "Run",
    "Supervised",
    "TrainOptions",
    "Trainer",
]

_HOMES = {
    "Batch": "method",
    "Checkpoints": "checkpoint",
    "Engine": "engine",
    "History": "log",
    "Interrupted": "interrupt",
    "Method": "method",
    "NextToken": "next_token",
    "Player": "method",
    "Run": "run",
    "Supervised": "supervised",
    "TrainOptions": "options",
    "Trainer": "trainer",
}


def __getattr__(name: str) -> Any:
    """Import a part when it is first asked for, so that reading options does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tutelage.train' has no attribute '{name}'")
    return getattr(importlib.import_module(f"tutelage.train.{_HOMES[name]}"), name)
