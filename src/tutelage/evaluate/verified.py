"""How well a language model answers verifiable questions."""

from __future__ import annotations

from typing import Any

from tutelage.data import Arrays
from tutelage.data.verifiable import Reward, rows_of, score
from tutelage.errors import OptionError
from tutelage.models import language


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
    prompts = language.encode(tokenizer, [row["prompt"] for row in rows])
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    rollouts = language.sample(
        model, prompts, max_new_tokens=max_new_tokens, end=end, pad=pad, temperature=temperature, seed=seed, batch=batch
    )
    texts = rollouts.texts(tokenizer)
    asked = [{**row, "finished": finished} for row, finished in zip(rows, rollouts.ended.tolist(), strict=True)]
    rewards = score(reward, texts, asked)
    found = {
        "accuracy": 100 * sum(rewards) / len(rewards),
        "length": float(rollouts.lengths.float().mean()),
        "cut": 100 - 100 * float(rollouts.ended.float().mean()),
    }
    read = getattr(reward, "read", None)
    if read is not None:
        found["unreadable"] = 100 * sum(read(text, row) is None for text, row in zip(texts, asked, strict=True)) / len(texts)
    return found
