"""How well a language model answers verifiable questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tutelage.data import Arrays
from tutelage.data.verifiable import Reward, rows_of, score
from tutelage.errors import OptionError
from tutelage.models import language
from tutelage.models.language import Rollouts


@dataclass(frozen=True)
class Answers:
    """What a language model answered, and what it earned.

    Args:
        rollouts: N answers.
        rewards: of each.
        unreadable: how many gave no final answer in the stated format; `None` where the reward does not tell.
    """

    rollouts: Rollouts
    rewards: list[float]
    unreadable: int | None


def answer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    reward: Reward,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int | torch.Generator = 0,
    batch: int | None = None,
) -> Answers:
    """Let a language model answer prompts and verify what it says.

    Args:
        model: causal language model of transformers.
        tokenizer: its tokenizer.
        rows: N rows with a `prompt` and whatever the reward asks for; the reward is also told whether the answer `finished` by itself.
        reward: as for `tutelage.data.verifiable.score`.
        max_new_tokens: longest answer.
        temperature: of sampling; 0 for the likeliest tokens. Default 1.
        seed: of sampling.
        batch: answers at a time. Default all.

    Returns:
        The answers, in the order of the rows.

    Raises:
        DataError: for prompts that the model cannot take.
        TrainingError: if the reward fails.
    """
    rollouts = language.sample(
        model,
        language.encode(tokenizer, [row["prompt"] for row in rows]),
        max_new_tokens=max_new_tokens,
        end=language.ends(model, tokenizer),
        pad=tokenizer.pad_token_id,
        temperature=temperature,
        seed=seed,
        batch=batch,
    )
    texts = rollouts.texts(tokenizer)
    asked = [{**row, "finished": finished} for row, finished in zip(rows, rollouts.ended.tolist(), strict=True)]
    rewards, read = score(reward, texts, asked), getattr(reward, "read", None)
    unreadable = None if read is None else sum(read(text, row) is None for text, row in zip(texts, asked, strict=True))
    return Answers(rollouts, rewards, unreadable)


def verified(
    model: Any,
    tokenizer: Any,
    questions: Arrays,
    reward: Reward,
    *,
    max_new_tokens: int,
    samples: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    batch: int = 1024,
) -> dict[str, float]:
    """Let a model answer questions, several times each, and verify the answers.

    Args:
        model: causal language model of transformers.
        tokenizer: its tokenizer.
        questions: columns `input` (prompts as texts) and whatever the reward asks for.
        reward: as for `tutelage.data.verifiable.score`; right is 1.
        max_new_tokens: longest answer.
        samples: answers to each question. Default 1.
        temperature: of sampling; 0 for the likeliest tokens. Default 1.
        seed: of sampling.
        batch: answers at a time. Default 1024.

    Returns:
        `accuracy` (pass@1 in percent: the mean reward over all answers), `length` (mean tokens of an answer, its end included),
        `cut` (percent of answers that the length limit cut off), and `unreadable` (percent without a final answer in the stated format)
        where the reward tells.

    Raises:
        OptionError: for fewer than one sample.
        DataError: for prompts that the model cannot take.
        TrainingError: if the reward fails.
    """
    if samples < 1:
        raise OptionError(f"samples is {samples}; expected at least 1 answer to each question")
    rows = [row for row in rows_of(questions.gather()) for _ in range(samples)]
    found = answer(model, tokenizer, rows, reward, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, batch=batch)
    told = {} if found.unreadable is None else {"unreadable": 100 * found.unreadable / len(rows)}
    return {
        "accuracy": 100 * sum(found.rewards) / len(rows),
        "length": float(found.rollouts.lengths.float().mean()),
        "cut": 100 - 100 * float(found.rollouts.ended.float().mean()),
        **told,
    }
