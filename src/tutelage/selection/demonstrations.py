"""Which of a student's past answers become demonstrations: those where an explanation helped, or as many of each answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError


def useful(pre: Sequence[str | None], post: Sequence[str | None], gold: Sequence[str]) -> Tensor:
    """Return weight 1 where an explanation turned a wrong answer into the right one: `pre != post` and `post == gold`.

    Args:
        pre: what the student answered alone, N; `None` where nothing could be read.
        post: what it answered with the explanation.
        gold: the right answers.

    Returns:
        float32 `[N]`.

    Source:
        arXiv 2306.09299, the filter of personalised explanations.
    """
    if not len(pre) == len(post) == len(gold):
        raise ShapeError(f"Useful demonstrations need as many answers alone, taught and right; got {len(pre)}, {len(post)}, {len(gold)}.")
    return torch.tensor([float(a != b and b == c) for a, b, c in zip(pre, post, gold, strict=True)])


def balanced(answers: Sequence[str | None], count: int, choices: Sequence[str] = ()) -> Tensor:
    """Return weight 1 for the first items that make `count` answers, as many of each choice.

    Where a choice has too few, the first others fill up. Without choices the first `count` readable answers are taken.

    Args:
        answers: what the student answered, N; `None` is never taken.
        count: how many to take.
        choices: what it can answer.

    Returns:
        float32 `[N]`, with `count` ones, or as many as there are answers.

    Raises:
        OptionError: for a negative count.

    Source:
        arXiv 2306.09299: two yes and two no for four demonstrations; filling up is ours.
    """
    if count < 0:
        raise OptionError(f"{count} demonstrations were asked for; expected 0 or more.")
    weights = torch.zeros(len(answers))
    share = count // len(choices) if choices else 0
    for choice in choices:
        weights[[place for place, answer in enumerate(answers) if answer == choice][:share]] = 1.0
    left = count - int(weights.sum())
    others = [place for place, answer in enumerate(answers) if answer is not None and not weights[place]]
    weights[others[:left]] = 1.0
    return weights
