"""A small world of facts: entities with a value for every topic, yes/no questions that compare two, explanations in two styles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.data.explained_questions import Question
from tutelage.errors import OptionError

TOPICS = ("height", "weight", "age", "speed", "price", "depth", "heat", "noise", "charm")
"""What entities have values of."""
STYLES = ("numbers", "relation")
"""How a comparison is explained: by both values, or by which entity is above."""
VALUES = 100

_QUESTION = re.compile(r"Is (E\d+) more than (E\d+) in (\w+) \?")
_NUMBERS = re.compile(r"(E\d+) (\d+) , (E\d+) (\d+) \.")
_RELATION = re.compile(r"(E\d+) over (E\d+) \.")


@dataclass(frozen=True)
class Asked:
    """A comparison: is `first` more than `second` in `topic`?"""

    first: str
    second: str
    topic: str


class FactWorld:
    """Values 0 to 99 of every entity, all different within a topic.

    Args:
        entities: how many, from 2 to 100.
        seed: of the values.

    Raises:
        OptionError: for another number of entities.
    """

    def __init__(self, entities: int = 60, *, seed: int = 0) -> None:
        if not 2 <= entities <= VALUES:
            raise OptionError(f"A world has 2 to {VALUES} entities, not {entities}.")
        generator = np.random.default_rng(np.random.SeedSequence((seed, 0xFAC7)))
        self.entities = tuple(f"E{number}" for number in range(entities))
        self.values = {topic: dict(zip(self.entities, generator.permutation(VALUES)[:entities].tolist(), strict=True)) for topic in TOPICS}

    def right(self, asked: Asked) -> bool:
        """Return whether the first entity has more."""
        values: dict[str, int] = self.values[asked.topic]
        return values[asked.first] > values[asked.second]

    def explain(self, asked: Asked, style: str, *, wrong: bool = False) -> str:
        """Return an explanation of a comparison.

        Args:
            asked: the comparison.
            style: one of `STYLES`.
            wrong: swap the two values, so that it leads to the wrong answer.
        """
        return told(asked, self.values[asked.topic][asked.first], self.values[asked.topic][asked.second], style, wrong=wrong)

    def question(self, asked: Asked, style: str) -> Question:
        """Return a comparison as a question, explained rightly in a style, with one harmful explanation."""
        text = f"Is {asked.first} more than {asked.second} in {asked.topic} ?"
        answer = "yes" if self.right(asked) else "no"
        return Question(text, answer, self.explain(asked, style), topic=asked.topic, harmful=(self.explain(asked, style, wrong=True),))

    def questions(
        self,
        count: int,
        *,
        seed: int,
        topics: Sequence[str] = TOPICS[:-1],
        entities: Sequence[str] = (),
        without: Sequence[Question] = (),
    ) -> list[Question]:
        """Return different questions, as many of every topic as of the others, each explained in a style by chance.

        Args:
            count: how many.
            seed: of the choice.
            topics: what they are about.
            entities: which are compared; by default all.
            without: questions that must not be among them.

        Raises:
            OptionError: if there are too few.
        """
        generator = np.random.default_rng(np.random.SeedSequence((seed, 0xA5C)))
        names, taken = tuple(entities or self.entities), {question.question for question in without}
        found: list[Question] = []
        for place, topic in enumerate(topics):
            share = count // len(topics) + (place < count % len(topics))
            pairs = [(a, b) for a in names for b in names if a != b]
            for number in generator.permutation(len(pairs)).tolist():
                if share == 0:
                    break
                first, second = pairs[number]
                question = self.question(Asked(first, second, topic), STYLES[int(generator.integers(2))])
                if question.question not in taken:
                    found.append(question)
                    share -= 1
            if share:
                raise OptionError(f"{len(names)} entities have fewer than the {count} questions about {len(topics)} topics.")
        return [found[i] for i in generator.permutation(len(found)).tolist()]


def told(asked: Asked, first: int, second: int, style: str, *, wrong: bool = False) -> str:
    """Return the explanation of a comparison of two values.

    Args:
        asked: the comparison.
        first: value of its first entity.
        second: value of its second.
        style: "numbers" or "relation".
        wrong: swap the values.
    """
    if style not in STYLES:
        raise OptionError(f"No style is called '{style}': expected 'numbers' or 'relation'.")
    one, other = (second, first) if wrong else (first, second)
    if style == "numbers":
        return f"{asked.first} {one} , {asked.second} {other} ."
    return f"{asked.first} over {asked.second} ." if one > other else f"{asked.second} over {asked.first} ."


def last_asked(text: str) -> Asked:
    """Return the last comparison in a text.

    Raises:
        OptionError: if there is none.
    """
    found = _QUESTION.findall(text)
    if not found:
        raise OptionError("There is no comparison of the world of facts in this text.")
    return Asked(*found[-1])


def style_of(explanation: str) -> str:
    """Return the style of an explanation; empty for neither."""
    return "numbers" if _NUMBERS.search(explanation) else "relation" if _RELATION.search(explanation) else ""


def greater(explanation: str) -> str:
    """Return the entity that an explanation says has more; empty where it says nothing."""
    numbers = _NUMBERS.search(explanation)
    if numbers:
        return numbers[1] if int(numbers[2]) > int(numbers[4]) else numbers[3]
    relation = _RELATION.search(explanation)
    return relation[1] if relation else ""
