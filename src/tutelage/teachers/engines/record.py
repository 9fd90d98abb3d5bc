"""The engines of a run's teachers in a file, so that the resumed run uses the same ones and ends with the same bits."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from tutelage import files
from tutelage.errors import CheckpointError, OptionError
from tutelage.teachers.engines.choose import Choice
from tutelage.teachers.frozen import Frozen


def remember(frozen: Frozen, path: str | Path, name: str = "teacher") -> None:
    """Write the engine that a teacher uses into a file, beside those of other teachers.

    Args:
        frozen: the teacher; `auto` must have seen a batch.
        path: JSON file, created if it is missing.
        name: the teacher's name in the file.

    Raises:
        OptionError: if there is no choice yet.
        CheckpointError: if the file is damaged.
    """
    if frozen.choice is None:
        raise OptionError("This teacher has not chosen its engine yet: it does so at its first batch. Ask it about one first.")
    _write(Path(path), name, frozen.choice)


def recall(frozen: Frozen, path: str | Path, name: str = "teacher") -> bool:
    """Make a teacher use the engine that a file names for it, instead of timing engines.

    Args:
        frozen: the teacher, built with `engine="auto"` or with the engine that the file names.
        path: a file that `remember` wrote.
        name: the teacher's name in the file.

    Returns:
        Whether the file exists and names this teacher.

    Raises:
        CheckpointError: if the file is damaged.
        OptionError: if the teacher was built with another engine.
    """
    entry = _read(Path(path)).get(name)
    if entry is None:
        return False
    frozen.use(entry["engine"], batch=entry["batch"], reason=entry["reason"])
    return True


def follow(module: nn.Module, path: str | Path | None, *, say: Callable[[str], None] | None = None, calls: int | None = None) -> None:
    """Recall the engine of every frozen teacher inside a module, and remember those that are settled from now on.

    Teachers that run eagerly because nothing else was asked for are left alone. Each process of a distributed run keeps a file of its own.

    Args:
        module: a method.
        path: JSON file of the run, `engine.json`; `None` where nothing is kept.
        say: called once per teacher with the reason for its engine.
        calls: batches that the run will ask about.

    Raises:
        CheckpointError: if the file is damaged.
        OptionError: if a teacher was built with another engine than the file says.
    """
    rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    file = None if path is None else Path(path)
    if file is not None and rank:
        file = file.with_stem(f"{file.stem}-{rank}")
    for name, teacher in module.named_modules():
        if not isinstance(teacher, Frozen) or teacher.engine == "eager":
            continue
        if calls is not None:
            teacher.expect(calls)
        name = name or "teacher"
        keep = _keeper(file, name, None if rank else say)
        if file is not None and recall(teacher, file, name) and teacher.choice is not None:
            _keeper(None, name, None if rank else say)(teacher.choice)
        elif teacher.choice is not None and teacher.choice.batch is not None:
            keep(teacher.choice)
        teacher.on_choice(keep)


def _keeper(path: Path | None, name: str, say: Callable[[str], None] | None) -> Callable[[Choice], None]:
    def keep(choice: Choice) -> None:
        if path is not None:
            _write(path, name, choice)
        if say is not None:
            say(f"Engine of '{name}': {choice.reason}")

    return keep


def _write(path: Path, name: str, choice: Choice) -> None:
    entry = {"engine": choice.engine, "batch": choice.batch, "device": choice.device, "reason": choice.reason}
    files.write_json(path, _read(path) | {name: entry})


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        for entry in found.values():
            if not isinstance(entry["engine"], str) or not isinstance(entry["reason"], str) or not isinstance(entry["batch"], int | None):
                raise ValueError("an entry's engine, batch or reason is of the wrong kind")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}, which names the engines of this run's teachers, is damaged ({error}). Remove it: the engines are then chosen again, "
            "and the run goes on with other roundings."
        ) from error
    return found  # type: ignore[no-any-return]
