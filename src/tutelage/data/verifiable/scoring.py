"""Asking a reward function about responses, and refusing what is no reward."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from tutelage.errors import DataError, ShapeError, TrainingError

Reward: TypeAlias = Callable[[str, Mapping[str, Any]], float]
"""A reward: takes a response and its row (`prompt`, `answer`, `finished` and the data's other columns), returns a finite number."""

_SHOWN = 80


def score(reward: Reward, responses: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the reward of every response.

    Args:
        reward: the user's function, or a verifier such as `FinalAnswer`.
        responses: what the model wrote.
        rows: the row of each.

    Returns:
        One finite number per response; 1 for right and 0 for wrong, or anything on that scale.

    Raises:
        ShapeError: if the numbers of responses and rows differ.
        TrainingError: if the function raises, or returns anything but one finite number; the prompt is named.
    """
    if len(responses) != len(rows):
        raise ShapeError(f"{len(responses)} responses and {len(rows)} rows do not fit: expected one row for each response.")
    return [_one(reward, response, row) for response, row in zip(responses, rows, strict=True)]


def rows_of(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a reward is shown of each question of a batch: its `prompt`, and the batch's other lists.

    Args:
        batch: `input` holds the prompts.

    Raises:
        DataError: if the prompts are not texts.
    """
    prompts = batch["input"]
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise DataError(f"Prompts are a {type(prompts).__name__}; expected a list of texts under 'input'.")
    others = {name: column for name, column in batch.items() if name not in ("input", "prompt") and isinstance(column, list)}
    return [{"prompt": prompt, **{name: column[row] for name, column in others.items()}} for row, prompt in enumerate(prompts)]


def _one(reward: Reward, response: str, row: Mapping[str, Any]) -> float:
    try:
        found: Any = reward(response, row)
    except Exception as error:
        raise TrainingError(f"The reward function raised {type(error).__name__}: {error}; {_asked(response, row)}") from error
    shape = getattr(found, "shape", ())
    if isinstance(found, str | bytes) or found is None or tuple(shape) != () or not hasattr(found, "__float__"):
        what = f"{type(found).__name__}{f' of shape {tuple(shape)}' if tuple(shape) else ''}"
        raise TrainingError(f"The reward function returned a {what}: expected one number; {_asked(response, row)}")
    number = float(found)
    if not math.isfinite(number):
        raise TrainingError(f"The reward function returned {number}: expected a finite number; {_asked(response, row)}")
    return number


def _asked(response: str, row: Mapping[str, Any]) -> str:
    return f"it was asked about the prompt {_short(str(row.get('prompt', '')))} and the response {_short(response)}."


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
