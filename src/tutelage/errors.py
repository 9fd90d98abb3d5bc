"""Errors that name the thing, what was got, what was expected and the cure.

Every mistake a user can make ends in a [`TutelageError`][tutelage.errors.TutelageError]; the command line prints its message and exits with
code 2. Anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any


class TutelageError(Exception):
    """A mistake that its reader can cure: bad input, a bad option, a missing extra."""


class SpecError(TutelageError):
    """A model or data specification that does not name something usable."""


class DataError(TutelageError):
    """Data that cannot be learned from: missing, truncated, empty, out of range, not finite."""


class OptionError(TutelageError):
    """An option or name that does not exist, or a value that it does not take."""


class ShapeError(TutelageError):
    """Tensors, classes or models that do not fit each other."""


class TrainingError(TutelageError):
    """A training that cannot go on: a loss that is not finite, an empty batch, a missing key."""


class CheckpointError(TutelageError):
    """A checkpoint or run directory that is damaged or belongs to something else."""


class ChatError(TutelageError):
    """A chat model that refuses, fails, or answers what cannot be used.

    Args:
        message: what happened and what to do.
        replies: what was answered all the same: one entry per conversation, in their order, `None` where there is no answer.
        failures: position of a conversation to what went wrong with it.
    """

    def __init__(self, message: str, *, replies: Sequence[Any] = (), failures: Mapping[int, str] | None = None) -> None:
        super().__init__(message)
        self.replies = list(replies)
        self.failures = dict(failures or {})


class BudgetError(ChatError):
    """A request that was not sent because it could have cost more than is left of the stated budget."""


class StoreError(TutelageError):
    """A label store that is damaged, unfinished, or belongs to another teacher, other data or other settings."""


class MissingExtra(TutelageError):
    """An optional library is not installed, or is installed but does not load."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that offers the known names closest to a mistyped one.

    Args:
        name: what was typed.
        known: the names that exist.

    Returns:
        `" Did you mean 'x'?"` with up to three names, or a list of all of them when none is close.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return " Did you mean " + " or ".join(f"'{n}'" for n in close) + "?"
    return " Known: " + ", ".join(known) + "."


def optional(module: str, extra: str) -> ModuleType:
    """Import a library that only some users need.

    Args:
        module: dotted name of the module to import.
        extra: name of the extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtra: if it is absent or its compiled parts do not load (a mismatched torchvision raises
            RuntimeError, a mismatched torchaudio OSError).
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingExtra(
            f"'{module.partition('.')[0]}' is needed here but could not be imported ({error}). "
            f"Install it with: pip install 'tutelage[{extra}]'"
        ) from error
