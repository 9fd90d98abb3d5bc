"""Programs that play a role in the world of facts: a teacher that looks facts up, and a student that is a table of probabilities."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tutelage.data.fact_world import STYLES, FactWorld, greater, last_asked, style_of

if TYPE_CHECKING:
    from tutelage.models.chat import Message, Reply

ERRORS = 0.05
_SURE = 0.9  # probability that the scripted student gives to what it answers


def teacher(
    world: FactWorld, *, seed: int, errors: float = ERRORS, style: str = "", imitates: bool = False, lies: bool = False
) -> Callable[[tuple[Message, ...]], str]:
    """Return a teacher that looks facts up, for `Scripted`.

    Args:
        world: the facts.
        seed: of its errors and of its style where nothing decides it.
        errors: share of questions whose explanation is wrong.
        style: of all explanations; empty for one by chance.
        imitates: explain in the style of most demonstrations of the topic in its prompt, where there are any; else by chance.
        lies: explain everything wrongly.
    """

    def explain(messages: tuple[Message, ...]) -> str:
        text = messages[-1].content
        asked = last_asked(text)
        chance = random.Random(f"teacher {seed} {asked}")
        wrong, drawn = chance.random() < errors, STYLES[chance.randrange(2)]
        chosen = style or drawn
        if imitates:
            shown = Counter(style_of(demo) for demo in text.split("\n\n")[:-1] if last_asked(demo).topic == asked.topic)
            ranked = [(count, name) for name, count in shown.items() if name]
            if ranked and sum(count == max(ranked)[0] for count, _ in ranked) == 1:
                chosen = max(ranked)[1]
        says = world.right(asked) != (wrong or lies)
        return f"{world.explain(asked, chosen, wrong=wrong or lies)} So the answer is {'yes' if says else 'no'}"

    return explain


def student(
    world: FactWorld, knows: Mapping[str, float], reads: Mapping[tuple[str, str], float], *, seed: int
) -> Callable[[tuple[Message, ...]], Reply]:
    """Return a student that is a table of probabilities, for `Scripted`; it answers the same question always alike.

    Args:
        world: the facts.
        knows: for each topic how often it is right alone.
        reads: for each topic and style how often it follows an explanation; otherwise it guesses.
        seed: of what it knows and reads.
    """
    from tutelage.models.chat import Reply, TokenLogProb

    def answer(messages: tuple[Message, ...]) -> Reply:
        text = messages[-1].content
        asked = last_asked(text)
        given = text[text.rfind("\nA:") + 3 :].strip()
        more = greater(given)
        chance = random.Random(f"student {seed} {asked} {given}")
        if not more:
            says = world.right(asked) == (chance.random() < knows[asked.topic])
        elif chance.random() < reads[asked.topic, style_of(given)]:
            says = more == asked.first
        else:
            says = chance.random() < 0.5
        words = ("yes", "no") if says else ("no", "yes")
        lead = "" if more else "I think so . So the answer is "
        top = ((words[0], math.log(_SURE)), (words[1], math.log(1 - _SURE)))
        return Reply(lead + words[0], (TokenLogProb(words[0], top[0][1], top),), "stop", len(text.split()), len(lead.split()) + 1, 0.0)

    return answer
