"""A real small language model as the student of ATLAS: SmolLM2-135M chooses the queries, all other roles are the scripted ones."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tutelage.environments.security_logs import QUERIES, Query, SecurityLogs, SecurityTask
from tutelage.models.chat import Chat, Message, Reply, Sampling
from tutelage.models.chat.agent import read_turn
from tutelage.recipes.agents.atlas import ALONE, LANGUAGE_ALONE, LANGUAGE_OURS, LEARNED, OURS, AtlasRecipe
from tutelage.recipes.agents.atlas_agents import Agents

if TYPE_CHECKING:
    from tutelage.report import Report
    from tutelage.train import Run

_SAMPLING = Sampling(temperature=0.0, max_tokens=8, stop=("\n",))
_SHOTS = (
    Message("system", "You pick one name from a list of queries, and say nothing else."),
    Message("user", "Task: what is the colour of the car?\nQueries: car_price, car_colour"),
    Message("assistant", "car_colour"),
    Message("user", "Task: who wrote the book?\nHints: use book_writer\nQueries: book_writer, book_printer"),
    Message("assistant", "book_writer"),
)
"""Shows a small model what is wanted."""


class LanguageAgents(Agents):
    """The scripted agents with a language model in the student's place: a program keeps the frame, the model chooses every query.

    It sees the task, the pamphlet, the guidance and the names of the queries that take the value at hand. A reply that names none of them
    is counted in `unreadable`, and one of the list is drawn.

    Args:
        chat: the model.
        *given: see `Agents`.
        **more: see `Agents`.
    """

    def __init__(self, chat: Chat, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.chat = chat
        self.asked = self.unreadable = 0
        self._tokens = (0, 0)

    def student(self, messages: tuple[Message, ...]) -> Reply:
        """Take the student's turn; the reply counts the tokens of the model."""
        self._tokens = (0, 0)
        said = super().student(messages)
        return Reply(str(said), prompt_tokens=self._tokens[0], completion_tokens=self._tokens[1], cost=0.0)

    def _choose(self, task: SecurityTask, kind: str, said: Mapping[str, str], tried: set[str]) -> Query | None:
        names = sorted(query.name for query in QUERIES.values() if query.takes == kind and query.name not in tried)
        if not names:
            return None
        hints = "\n".join(said[name] for name in ("Pamphlet", "Plan", "Guidance") if name in said)
        lines = [f"Task: {task.text}", *([f"Hints: {hints}"] if hints else []), f"Queries: {', '.join(names)}"]
        reply = self.chat.complete([[*_SHOTS, Message("user", "\n".join(lines))]], sampling=_SAMPLING)[0]
        self._tokens = (self._tokens[0] + (reply.prompt_tokens or 0), self._tokens[1] + (reply.completion_tokens or 0))
        self.asked += 1
        name = read_turn(reply.text, names)[1]
        self.unreadable += not name
        return QUERIES[name or self.draw["student"].choice(names)]


def student() -> Chat:
    """Return SmolLM2-135M-Instruct as a chat model.

    Raises:
        DataError: if its package cannot be fetched.
        MissingExtra: if the extra language is not installed.
    """
    from tutelage.models.chat import TransformersChat
    from tutelage.models.language import smollm2

    model = smollm2()
    return TransformersChat(model.model, model.tokenizer, name="smollm2-135m-instruct")


def tell_language(report: Report, recipe: AtlasRecipe, run: Run) -> None:
    """Play a short stream with the language model, alone and under ATLAS, and report it without a claim.

    Args:
        report: takes the numbers.
        recipe: its `language_tasks` say how many tasks.
        run: the run; its first seed is that of the stream.
    """
    seed, chat = run.seeds[0], student()
    logs = SecurityLogs(LEARNED, seed=seed, devices=recipe.devices)
    tasks = logs.stream(recipe.language_tasks, seed=seed)
    folder = None if run.directory is None else run.directory / "language"
    for left in folder.glob("*.sqlite*") if folder is not None else ():
        left.unlink()
    for arm, name in ((ALONE, LANGUAGE_ALONE), (OURS, LANGUAGE_OURS)):
        run.say(f"{name} ...")
        agents = LanguageAgents(chat, logs, tasks, recipe.world, seed=seed)
        rows = recipe.stream(recipe.atlas(arm, agents, folder and folder / "atlas.sqlite", seed=seed), logs, tasks)
        report.add(
            name,
            seed,
            success=100 * fmean(row.success for row in rows),
            **{
                "student tokens per task": fmean(row.used["student"] for row in rows),
                "alone": 100 * fmean(row.lane == "auto" for row in rows),
                "unreadable": 100 * agents.unreadable / max(1, agents.asked),
            },
        )
    report.note(
        f"{LANGUAGE_ALONE} and {LANGUAGE_OURS}: SmolLM2-135M-Instruct, greedy, names every query in {recipe.language_tasks} tasks of seed "
        f"{seed}; a program keeps the frame, all other roles are scripted. `unreadable` is the share of its replies, in percent, that name "
        "no query; one is drawn then. The model is small for the task: the numbers are reported, and nothing is claimed."
    )
