"""Tutelage: teacher-student learning in one grammar.

Teachers, views, targets, selectors, losses and schedules compose into methods; recipes run them against their
baselines. Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.recipes.own import compare, distill
    from tutelage.recipes.pretrain import pretrain
    from tutelage.recipes.teach import teach
    from tutelage.report import Report
    from tutelage.train import Method, Run, Trainer, TrainOptions

__version__ = "0.1.0"

__all__ = ["Method", "Report", "Run", "TrainOptions", "Trainer", "__version__", "compare", "distill", "pretrain", "teach"]

_HOMES = {
    "Method": "tutelage.train",
    "Report": "tutelage.report",
    "Run": "tutelage.train",
    "TrainOptions": "tutelage.train",
    "Trainer": "tutelage.train",
    "compare": "tutelage.recipes.own",
    "distill": "tutelage.recipes.own",
    "pretrain": "tutelage.recipes.pretrain",
    "teach": "tutelage.recipes.teach",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tutelage' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
