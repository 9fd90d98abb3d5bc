"""A chat model that works with tools: it names one per turn, sees what came of it, and answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tutelage.errors import OptionError, TutelageError
from tutelage.models.chat.protocol import Chat, Message, Sampling
from tutelage.models.chat.sections import assemble

Tool = Callable[[str], str]
"""From what the model gives a tool (data, of any content) to what it is shown; an exception is shown as a text."""

_TURN = re.compile(r"^[ \t]*(USE|ANSWER)\b[ \t]*:?[ \t]*(.*)$", re.MULTILINE)
_LONGEST = 20_000  # characters of a reply that are read, and of a tool's output that are shown

PLAN = "Write the plan: one short step per line, and nothing else."
WORK = (
    "Work on the task. Each of your turns is one line: 'USE tool: input' runs a tool and shows you its output; "
    "'ANSWER: text' ends the work with your answer."
)
PLAIN = "Answer the task with one line: 'ANSWER: text'."


@dataclass(frozen=True)
class Step:
    """One use of a tool.

    Args:
        tool: its name.
        input: what it was given.
        output: what the model was shown.
    """

    tool: str
    input: str
    output: str


@dataclass(frozen=True)
class Attempt:
    """What came of a task.

    Args:
        answer: the answer; empty where there was none.
        steps: the tools that were used, in order.
        unparsable: turns that were neither a tool nor an answer.
        ended: whether the model said its answer itself, before the steps were used up.
    """

    answer: str
    steps: tuple[Step, ...] = ()
    unparsable: int = 0
    ended: bool = True

    @property
    def trace(self) -> str:
        """The steps as text, one line each, with the first line of every output."""
        return "\n".join(f"USE {step.tool}: {step.input} -> {first_line(step.output)}" for step in self.steps)


def first_line(output: str) -> str:
    """Return the first line of a tool's output, at most 200 characters."""
    return output.split("\n", 1)[0][:200]


class ToolAgent:
    """A chat model with tools, the student or executor of an agent's task.

    A turn is read as data: `ANSWER: text`, or `USE tool: input` with a tool of the list, or else the name of one of the tools anywhere in
    it. A turn that is none of these is counted; without tools it is the answer, with tools the model is told what was expected. After
    `max_steps` turns the first line of the last output is the answer.

    Args:
        chat: the model.
        tools: by name; empty for a model that answers from its own knowledge.
        max_steps: most turns of one task.
        sampling: how turns are drawn; by default as the chat model was set up.

    Raises:
        OptionError: for a limit below 1, or a tool's name that is no single word.
    """

    def __init__(
        self, chat: Chat, tools: Mapping[str, Tool] | None = None, *, max_steps: int = 10, sampling: Sampling | None = None
    ) -> None:
        self.chat, self.tools, self.max_steps, self.sampling = chat, dict(tools or {}), max_steps, sampling
        if max_steps < 1:
            raise OptionError(f"max_steps is {max_steps}; expected at least 1.")
        wrong = [name for name in self.tools if not re.fullmatch(r"[\w.-]+", name)]
        if wrong:
            raise OptionError(f"A tool is called {wrong[0]!r}; expected a single word of letters, digits, '_', '.' and '-'.")

    def plan(self, task: str, *, pamphlet: str = "", guidance: Sequence[str] = (), tools: Mapping[str, Tool] | None = None) -> str:
        """Ask for a plan.

        Args:
            task: what is asked.
            pamphlet: what the model should know from earlier tasks.
            guidance: what a teacher said about this one.
            tools: the tools of this task; those of the constructor by default.

        Returns:
            The plan as the model wrote it.

        Raises:
            ChatError: as the chat model.
        """
        prompt = assemble(
            Task=task,
            Tools=", ".join(self.tools if tools is None else tools),
            Pamphlet=pamphlet,
            Guidance="\n".join(guidance),
            Instruction=PLAN,
        )
        return self.chat.complete([prompt], sampling=self.sampling)[0].text[:_LONGEST].strip()

    def solve(
        self,
        task: str,
        *,
        pamphlet: str = "",
        guidance: Sequence[str] = (),
        plan: str = "",
        step: str = "",
        context: str = "",
        tools: Mapping[str, Tool] | None = None,
    ) -> Attempt:
        """Work on a task, or on one step of its plan.

        Args:
            task: what is asked.
            pamphlet: what the model should know from earlier tasks.
            guidance: what a teacher said about this one.
            plan: the plan, if there is one.
            step: the step of the plan to do now; the whole task where it is empty.
            context: what came of the steps before, or of an attempt before.
            tools: the tools of this task; those of the constructor by default.

        Returns:
            The answer and how it was reached.

        Raises:
            ChatError: as the chat model.
        """
        tools = self.tools if tools is None else tools
        prompt = assemble(
            Task=task,
            Tools=", ".join(tools),
            Pamphlet=pamphlet,
            Plan=plan,
            Context=context,
            Step=step,
            Guidance="\n".join(guidance),
            Instruction=WORK if tools else PLAIN,
        )
        said, steps, unparsable = [Message("user", prompt)], list[Step](), 0
        for _ in range(self.max_steps):
            turn = self.chat.complete([said], sampling=self.sampling)[0].text[:_LONGEST]
            kind, name, given = read_turn(turn, tools)
            if kind == "ANSWER":
                return Attempt(given, tuple(steps), unparsable)
            if kind == "USE":
                output = _used(tools[name], given)
                steps.append(Step(name, given, output))
            else:
                unparsable += 1
                if not tools:
                    return Attempt(turn.strip(), (), unparsable)
                output = "That was neither 'USE tool: input' with a tool of the list nor 'ANSWER: text'."
            said += [Message("assistant", turn or " "), Message("user", output or "(nothing)")]
        return Attempt(first_line(steps[-1].output) if steps else "", tuple(steps), unparsable, ended=False)


def _used(tool: Tool, given: str) -> str:
    """Run a tool; what it cannot do with what the model gave it is told to the model."""
    try:
        return tool(given)[:_LONGEST]
    except TutelageError:
        raise
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"[:500]


def read_turn(turn: str, tools: Collection[str]) -> tuple[str, str, str]:
    """Read what a model said in its turn.

    Args:
        turn: what it said. An answer reaches up to the next turn that the model made up, or to the end.
        tools: names of the tools.

    Returns:
        `("ANSWER", "", answer)`, `("USE", tool, input)` or `("", "", "")`.
    """
    found = list(_TURN.finditer(turn))
    ends = [*(match.start() for match in found[1:]), len(turn)]
    for match, end in zip(found, ends, strict=False):
        if match[1] == "ANSWER":
            answer = turn[match.start(2) : end].strip()
            if answer:
                return "ANSWER", "", answer
        name, _, given = match[2].partition(":")
        if match[1] == "USE" and name.strip() in tools:
            return "USE", name.strip(), given.strip()
    places = {name: hit.start() for name in tools if (hit := re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", turn))}
    return ("USE", min(places, key=lambda name: places[name]), "") if places else ("", "", "")
