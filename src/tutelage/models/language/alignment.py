"""Teachers and students with different tokenizers: the same tokens under other numbers, or the same text in other pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError, ShapeError
from tutelage.models.language.pairs import encode
from tutelage.models.language.rollouts import Rollouts

ROLES = ("pad_token", "eos_token", "bos_token", "unk_token")
SHOWN = 5
INSIDE = -1


@dataclass(frozen=True)
class Alignment:
    """Two vocabularies of the same tokens.

    Logits of both compare as `student_logits[..., a.student]` with `teacher_logits[..., a.teacher]`, heads as `weight[a.student]` with
    `weight[a.teacher]`: what is left out are the rows by which an embedding is larger than its vocabulary.

    Args:
        student: int64 [n], numbers of all tokens in the student's vocabulary, ascending.
        teacher: int64 [n], numbers of the same tokens in the teacher's.
        identity: whether the numbers are the same, so that nothing has to be mapped.
    """

    student: Tensor
    teacher: Tensor
    identity: bool

    def tokens(self, tokens: Tensor) -> Tensor:
        """Return the student's tokens under the teacher's numbers.

        Args:
            tokens: int64, any shape; none of them padding of an embedding.

        Raises:
            ShapeError: if one is no token of the vocabulary.
        """
        if self.identity:
            return tokens
        table = torch.full((int(self.student[-1]) + 1,), -1, device=tokens.device)
        table[self.student.to(tokens.device)] = self.teacher.to(tokens.device)
        found = table[tokens.clamp(max=len(table) - 1)].where(tokens < len(table), -1)
        if (found < 0).any():
            raise ShapeError(f"Token {int(tokens[found < 0][0])} is none of the {len(self.student)} tokens of the student's tokenizer.")
        return found

    def rollouts(self, rollouts: Rollouts) -> Rollouts:
        """Return rollouts of the student under the teacher's numbers; the log-probabilities stay the student's.

        Args:
            rollouts: the student's.
        """
        if self.identity:
            return rollouts
        real = rollouts.tokens.where(rollouts.attention, int(self.student[0]))
        return Rollouts(self.tokens(real), rollouts.attention, rollouts.mask, rollouts.log_probs, rollouts.ended)


def align(student: Any, teacher: Any) -> Alignment:
    """Match the vocabularies of two tokenizers, token by token.

    Tokens match by their text; those for padding, beginning, end and unknown text match by their role where their texts differ.

    Args:
        student: the student's tokenizer, of transformers.
        teacher: the teacher's.

    Returns:
        The numbers of all tokens on both sides.

    Raises:
        ShapeError: if one has tokens that the other has not.
    """
    ours, theirs = dict(student.get_vocab()), dict(teacher.get_vocab())
    for role in ROLES:
        mine, other = getattr(student, role, None), getattr(teacher, role, None)
        if mine is not None and other is not None and mine != other and mine not in theirs and other not in ours:
            theirs[mine] = theirs.pop(other, teacher.convert_tokens_to_ids(other))
    missing, more = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if missing or more:
        raise ShapeError(
            f"The tokenizers of student and teacher differ: {_some(missing, len(ours), 'the student', 'the teacher')}, and "
            f"{_some(more, len(theirs), 'the teacher', 'the student')}. Take models of one tokenizer, or compare whole spans of text "
            "(align_texts), for which log-probabilities of the drawn tokens are enough."
        )
    numbers = sorted(ours.values())
    names = {number: token for token, number in ours.items()}
    mapped = [theirs[names[number]] for number in numbers]
    return Alignment(torch.tensor(numbers), torch.tensor(mapped), numbers == mapped)


def _some(tokens: Sequence[str], count: int, whose: str, whom: str) -> str:
    shown = ", ".join(repr(token) for token in tokens[:SHOWN]) + (", ..." if len(tokens) > SHOWN else "")
    return f"{len(tokens)} of the {count} tokens of {whose} are unknown to {whom}{f' ({shown})' if tokens else ''}"


@dataclass(frozen=True)
class TextAlignment:
    """Rollouts of a student and the same texts in the teacher's tokens, both cut into spans at the places where tokens of both end.

    Args:
        rollouts: the same texts in the teacher's tokens; its log-probabilities are not known.
        student: int64 [B, T], the span of each token of the student.
        teacher: int64 [B, T'], the span of each token of the teacher.
        mask: bool [B, S], the spans that exist. Where a continuation has ended, its end tokens are the last one.
    """

    rollouts: Rollouts
    student: Tensor
    teacher: Tensor
    mask: Tensor

    def of_student(self, log_probs: Tensor) -> Tensor:
        """Return the student's log-probability of every span, float [B, S], with gradient.

        Args:
            log_probs: of its tokens, float [B, T], 0 where there is none.
        """
        return log_probs.new_zeros(self.mask.shape).scatter_add(1, self.student, log_probs)

    def of_teacher(self, log_probs: Tensor) -> Tensor:
        """Return the teacher's log-probability of every span, float [B, S].

        Args:
            log_probs: of the tokens of `rollouts`, float [B, T'], 0 where there is none.
        """
        return log_probs.new_zeros(self.mask.shape).scatter_add(1, self.teacher, log_probs)


def align_texts(rollouts: Rollouts, student: Any, teacher: Any, *, prompts: Sequence[Sequence[int]] | None = None) -> TextAlignment:
    """Write a student's rollouts in the teacher's tokens, and match both by the characters that they cover.

    A span's log-probability is the sum over its tokens: that of its text in this very division into tokens.

    Args:
        rollouts: the student's.
        student: its tokenizer, of transformers.
        teacher: the teacher's tokenizer.
        prompts: B lists of the teacher's tokens. Default the prompts' texts, without special tokens.

    Returns:
        The teacher's rollouts, and the spans, on the rollouts' device.

    Raises:
        DataError: if the teacher's tokenizer does not give a text back unchanged, or has no token for a part of it.
    """
    if prompts is None:
        prompts = encode(teacher, [student.decode(row, skip_special_tokens=True) for row in rollouts.prompts()])
    own, ended = rollouts.lists(), rollouts.ended.tolist()
    bodies = [row[:-1] if over else row for row, over in zip(own, ended, strict=True)]
    texts = [_text(student, row) for row in bodies]
    others = encode(teacher, texts)
    pairs = [spans(student, a, teacher, b) for a, b in zip(bodies, others, strict=True)]
    counts = [max([*a, *b], default=-1) + 1 + over for (a, b), over in zip(pairs, ended, strict=True)]
    ends = [[teacher.eos_token_id] if over else [] for over in ended]
    theirs = Rollouts.of(prompts, [b + end for b, end in zip(others, ends, strict=True)], ended=ended, pad=teacher.pad_token_id or 0)
    device, spread = rollouts.tokens.device, max(counts)
    sides = [[row + [count - 1] * over for row, count, over in zip(side, counts, ended, strict=True)] for side in zip(*pairs, strict=True)]
    mask = torch.arange(spread) < torch.tensor(counts)[:, None]
    return TextAlignment(
        theirs.to(device),
        _padded(sides[0], rollouts.mask.shape[1]).to(device),
        _padded(sides[1], theirs.mask.shape[1]).to(device),
        mask.to(device),
    )


def spans(first: Any, tokens: Sequence[int], second: Any, others: Sequence[int]) -> tuple[list[int], list[int]]:
    """Number the shortest spans of text that begin and end with whole tokens of both of two divisions.

    Args:
        first: a tokenizer of transformers.
        tokens: a text in its tokens.
        second: another tokenizer.
        others: the same text in its tokens.

    Returns:
        The span of each token, from 0, on both sides. A token without text of its own belongs to the span before it.

    Raises:
        DataError: if the texts differ.
    """
    text, other = _text(first, tokens), _text(second, others)
    if text != other:
        at = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
        raise DataError(
            f"The tokenizers do not give the same text: {text[:60]!r} and {other[:60]!r} differ at character {at}. One of them changes "
            "texts (lower case, spaces); such a pair cannot be aligned."
        )
    ours, theirs = _ends(first, tokens, text), _ends(second, others, text)
    common = {*ours} & {*theirs} - {INSIDE, 0}
    place = {end: number for number, end in enumerate(sorted(common))}

    def numbers(ends: list[int]) -> list[int]:
        found, span = [], 0
        for before, end in zip([0, *ends], ends, strict=False):
            if before in place and end != before:
                span = place[before] + 1
            found.append(span)
        return found

    return numbers(ours), numbers(theirs)


def _ends(tokenizer: Any, tokens: Sequence[int], text: str) -> list[int]:
    """Return the character at which each token ends; -1 inside a character."""
    before = [_text(tokenizer, tokens[: n + 1]) for n in range(len(tokens))]
    return [len(start) if text.startswith(start) else INSIDE for start in before]


def _text(tokenizer: Any, tokens: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _padded(rows: Sequence[Sequence[int]], length: int) -> Tensor:
    return torch.tensor([[*row] + [0] * (length - len(row)) for row in rows], dtype=torch.int64).view(len(rows), length)
