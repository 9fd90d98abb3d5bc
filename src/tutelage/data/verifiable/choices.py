"""Questions of multiple choice, whose options are shuffled so that no letter is a safe guess."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from tutelage.data.arrays import Arrays
from tutelage.errors import DataError


def multiple_choice(questions: Sequence[str], options: Sequence[Sequence[str]], right: Sequence[int], *, seed: int = 0) -> Arrays:
    """Write questions with lettered options; the answer is a letter, to be verified by `FinalAnswer(kind="choice")`.

    Args:
        questions: N texts.
        options: of each question, 2 to 26 different texts.
        right: position of the right one.
        seed: of the order of the options, at least 0; a question's order depends on its position and the seed alone.

    Returns:
        Columns `input` (question and options, one a line), `answer` (a letter) and `solution` (the text of the right option).

    Raises:
        DataError: if a question lacks text, different options or a right one among them; its position is named.
    """
    if not len(questions) == len(options) == len(right) or not len(questions):
        raise DataError(f"{len(questions)} questions, {len(options)} lists of options and {len(right)} right positions do not fit.")
    prompts, letters, solutions = [], [], []
    for number, (question, offered, answer) in enumerate(zip(questions, options, right, strict=True)):
        if not question.strip() or not 2 <= len(offered) <= 26 or len(set(offered)) < len(offered) or not all(o.strip() for o in offered):
            raise DataError(f"Question {number} needs a text and 2 to 26 different options; it is {question!r} with {list(offered)}.")
        if not 0 <= answer < len(offered):
            raise DataError(f"Question {number} has {len(offered)} options, but the right one is said to be number {answer}.")
        order = np.random.default_rng(np.random.SeedSequence((seed, number))).permutation(len(offered)).tolist()
        lines = [f"{letter}) {offered[place]}" for letter, place in zip(string.ascii_uppercase, order, strict=False)]
        prompts.append("\n".join([question, *lines, ""]))
        letters.append(string.ascii_uppercase[order.index(answer)])
        solutions.append(offered[answer])
    return Arrays({"input": prompts, "answer": letters, "solution": solutions}, name="multiple-choice")
