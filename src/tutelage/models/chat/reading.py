"""Reading replies to questions: the answer, the explanation before it, and how likely each answer was. Nothing of a reply is run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tutelage.data.explained_questions import Question, number
from tutelage.errors import DataError
from tutelage.models.chat.protocol import Reply, TokenLogProb

_MARKER = re.compile(r"\b(?:so )?the (?:correct )?(?:answer|choice) is:?\s*", re.IGNORECASE)
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?")
_LONGEST = 20_000


def first_answer(text: str) -> str:
    """Return a reply without what a model adds when it goes on with questions of its own, in one line.

    Args:
        text: the reply; more than 20,000 characters are cut off.
    """
    return " ".join(re.split(r"\n\s*Q:", text[:_LONGEST].strip())[0].split())


def read_answer(question: Question, text: str, *, leading: bool = False) -> str | None:
    """Return the answer that a reply gives.

    After `the answer is` (the last one counts) the first word that is a choice is meant; without that phrase the reply must end in a
    choice. An option may be named by its number or, alone, by its text. Of a `number` question the last number counts.

    Args:
        question: what was asked.
        text: the reply.
        leading: whether the reply begins at the answer, because the prompt ended in `So the answer is` or asked for the answer first;
            the first word that is a choice is meant.

    Returns:
        One of the question's choices, or a number as `number` writes it; `None` where there is none.
    """
    text = first_answer(text)
    marks = list(_MARKER.finditer(text))
    if question.kind == "number":
        return _last_number(text[marks[-1].end() :] if marks else text) or _last_number(text)
    if marks:
        return _first_choice(question, text[marks[-1].end() :])
    if leading:
        return _first_choice(question, text)
    words = re.findall(r"\w+", text.lower())
    return words[-1] if words and words[-1] in question.choices else _option(question, text)


def read_explanation(text: str) -> str:
    """Return what a reply says before `So the answer is`; without that phrase, up to its last full stop."""
    text = first_answer(text)
    marks = list(_MARKER.finditer(text))
    return text[: marks[-1].start()].strip() if marks else text[: text.rfind(".") + 1].strip()


def read_reason(text: str) -> str:
    """Return what a reply that answers first says after `because`; without that word, what follows its first word."""
    text = first_answer(text)
    _, mark, reason = text.partition("because ")
    return reason.strip() if mark else text.partition(" ")[2].strip()


def choice_probabilities(reply: Reply, choices: Sequence[str], *, last: bool = False) -> dict[str, float] | None:
    """Return how likely each choice was as the token at which a reply answers, before temperature.

    Args:
        reply: asked for with `Sampling(log_probs=...)`.
        choices: words that are one token each, or that differ in their first; whatever their case.
        last: read the last token that is a choice, as after an explanation, in place of the first token.

    Returns:
        For each choice its probability; 0 where it is not among the alternatives that were reported. `None` where the reply has no
        log-probabilities, or no such token.
    """
    tokens = [token for token in reply.log_probs or () if token.token.strip()]
    if last:
        tokens = [token for token in tokens if _word(token.token) in choices][-1:]
    if not tokens:
        return None
    found = dict.fromkeys(choices, 0.0)
    for text, value in _alternatives(tokens[0]).items():
        named = [choice for choice in choices if _word(text) and choice.startswith(_word(text))]
        if len(named) == 1:
            found[named[0]] += math.exp(value)
    return {choice: min(value, 1.0) for choice, value in found.items()}


def digits_probability(reply: Reply, answer: str) -> float | None:
    """Return the mean probability of the digits of a number where a reply states one.

    Tokens are followed from the reply's last number on; a token of several digits counts for each. A digit that was not among the
    alternatives counts 0.

    Args:
        reply: asked for with `Sampling(log_probs=...)`.
        answer: the number.

    Returns:
        A mean in [0, 1]; `None` where the reply has no log-probabilities, and 0 where it states no number.
    """
    if reply.log_probs is None:
        return None
    tokens, digits = list(reply.log_probs), [any(c.isdigit() for c in token.token) for token in reply.log_probs]
    start = next((i for i in reversed(range(len(digits))) if digits[i] and (i == 0 or not digits[i - 1])), None)
    if start is None or not answer:
        return 0.0
    rest, total = answer, 0.0
    for token in tokens[start:]:
        fits = [(len(t.strip()), math.exp(p)) for t, p in _alternatives(token).items() if t.strip() and rest.startswith(t.strip())]
        length, value = max(fits, key=lambda fit: fit[1]) if fits else (1, 0.0)
        total, rest = total + length * value, rest[length:]
        if not rest:
            break
    return min(total / len(answer), 1.0)


def _alternatives(token: TokenLogProb) -> dict[str, float]:
    return {**dict(token.top), token.token: token.log_prob}


def _word(text: str) -> str:
    return text.strip().strip(".,:;!\"'()").lower()


def _first_choice(question: Question, text: str) -> str | None:
    found = next((word for word in re.findall(r"\w+", text.lower()) if word in question.choices), None)
    return found or _option(question, text)


def _option(question: Question, text: str) -> str | None:
    """Return the number of the option whose text is named, if only one is; a longer name is not also a shorter one in it."""
    rest, named = text.lower(), []
    for place in sorted(range(len(question.options)), key=lambda i: -len(question.options[i])):
        pattern = rf"(?<!\w){re.escape(question.options[place].lower())}(?!\w)"
        if re.search(pattern, rest):
            rest = re.sub(pattern, "\0", rest)
            named.append(str(place + 1))
    return named[0] if len(named) == 1 else None


def _last_number(text: str) -> str | None:
    found = _NUMBER.findall(text)
    try:
        return number(found[-1]) if found else None
    except DataError:
        return None
