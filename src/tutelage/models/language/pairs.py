"""Prompts with their answers as padded arrays, to learn the next token from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tutelage.data import Arrays
from tutelage.errors import DataError


def encode(tokenizer: Any, texts: Sequence[str], *, end: bool = False) -> list[list[int]]:
    """Return the tokens of texts, without special tokens but the wanted end.

    Args:
        tokenizer: of transformers.
        texts: N texts.
        end: add the tokenizer's end token to each. Default no.

    Returns:
        N lists of tokens.

    Raises:
        DataError: if a text has parts that the tokenizer has no token for, or it has no end token and one is wanted.
    """
    if end and tokenizer.eos_token_id is None:
        raise DataError("An end token is wanted after each text, but the tokenizer has none: set its eos_token.")
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    unknown = tokenizer.unk_token_id
    for text, tokens in zip(texts, found, strict=True):
        if unknown is not None and unknown in tokens and tokenizer.unk_token not in text:
            strange = next((c for c in text if unknown in tokenizer(c, add_special_tokens=False)["input_ids"]), text)
            raise DataError(
                f"The tokenizer has no token for {strange!r} in {text[:60]!r}: make it with that character, or change the text."
            )
    return [[*tokens, tokenizer.eos_token_id] for tokens in found] if end else found


def answer_pairs(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, pad: int = 0, context: int | None = None, name: str = "answers"
) -> Arrays:
    """Pad prompts with their answers to arrays.

    Args:
        prompts: N lists of tokens; empty where the whole text is the answer, whose first token then has nothing to be learned from.
        answers: N lists of tokens, none empty, the end token included.
        pad: token of the padding. Default 0.
        context: longest text that the model takes; longer ones are refused. Default any.
        name: what errors call them.

    Returns:
        `input` int64 [N, L], padded on the right; `length` int64 [N], tokens of prompt and answer; `prompt` int64 [N], of the prompt.

    Raises:
        DataError: if there are none, one is empty or too long, or their numbers differ.
    """
    if len(prompts) != len(answers) or not prompts:
        raise DataError(f"'{name}' has {len(prompts)} prompts and {len(answers)} answers; expected one answer each, and at least one.")
    whole = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    empty = next((row for row, answer in enumerate(answers) if not len(answer)), None)
    if empty is not None:
        raise DataError(f"Answer {empty} of '{name}' has no tokens: there is nothing to learn. Leave it out, or end it with the end token.")
    longest = max(map(len, whole))
    if context is not None and longest > context:
        row = next(row for row, tokens in enumerate(whole) if len(tokens) > context)
        raise DataError(
            f"Prompt and answer {row} of '{name}' have {len(whole[row])} tokens; the model's context is {context}: leave it out or cut it."
        )
    return Arrays(
        {
            "input": torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens in whole]),
            "length": torch.tensor([len(tokens) for tokens in whole]),
            "prompt": torch.tensor([len(prompt) for prompt in prompts]),
        },
        name=name,
    )
