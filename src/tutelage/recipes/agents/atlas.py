"""Recipe of ATLAS: investigations in a synthetic security database, by scripted agents that err by stated chances."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from tutelage.errors import CheckpointError, OptionError
from tutelage.files import write_json
from tutelage.recipes.recipe import Recipe, report_for

if TYPE_CHECKING:
    from pathlib import Path

    from tutelage.environments.security_logs import SecurityLogs
    from tutelage.evaluate.stream import Played
    from tutelage.methods.agents.atlas import Atlas
    from tutelage.recipes.agents.atlas_agents import Agents
    from tutelage.report import Report
    from tutelage.train import Run

ALONE, PAIRED, OURS = "student alone", "always paired, no memory", "atlas"
UNPRUNED, RANDOM, PATIENT = "atlas, no pruning", "atlas, random router", "atlas, patient pruning"
ARMS = (ALONE, PAIRED, OURS, UNPRUNED, RANDOM, PATIENT)
LANGUAGE_ALONE, LANGUAGE_OURS = "SmolLM2 alone", "SmolLM2, atlas"
LEARNED, TRANSFER = 5, 55
"""The incident that is learned on and the one that the frozen playbook is tested on, as in the paper."""


@dataclass(frozen=True)
class PruningOptions:
    """When an entry is dropped; the constants of the published code."""

    sessions: int = 10
    """Sessions before which nothing is dropped."""
    hit_rate: float = 0.05
    """Drop below this share of sessions with a hit."""
    harm: float = 0.01
    """Drop if rewards with hits are lower by more than this..."""
    harm_hits: int = 5
    """... over at least so many hits."""
    neutral: float = 0.01
    """Drop if rewards with hits are not higher by this..."""
    neutral_adoption: float = 0.5
    """... although it was adopted in more than this share of its hits..."""
    neutral_hits: int = 10
    """... over at least so many."""
    families: int = 2
    """Drop what had hits in fewer families of tasks..."""
    families_sessions: int = 20
    """... after so many sessions."""


@dataclass(frozen=True)
class AtlasOptions:
    """Options of supervision with a playbook."""

    auto: float = 0.85
    """Confidence from which the student works alone."""
    paired: float = 0.65
    """Confidence from which only its answer is checked; below it its plan is reviewed first."""
    first: Literal["auto", "paired", "coach", "stepwise"] = "paired"
    """Lane of a task without history."""
    fallback: Literal["auto", "paired", "coach", "stepwise"] = "paired"
    """Lane where the probe says nothing."""
    escalate: int | None = None
    """Lane stepwise after so many low rewards in succession; none for never."""
    retries: int = 1
    """Guided attempts after a refused one; the last is not checked."""
    temperatures: tuple[float, ...] = (0.2, 0.5, 0.8)
    """Temperatures of the judge's samples."""
    spread: float = 0.15
    """Standard deviation of scores above which the arbiter is asked."""
    doubt: float = 0.3
    """Uncertainty above which the arbiter is asked."""
    generality: bool = False
    """Mark entries that name incidents, dates or files as provisional."""
    pamphlet: int = 1000
    """Most characters of a pamphlet."""
    threshold: float = 0.5
    """Reward from which a session is a success (ours)."""
    last: int = 10
    """Sessions in the history."""
    note: int = 1024
    """Most characters of a note in the history."""
    high: float = 0.8
    """Rewards of a high streak."""
    low: float = 0.4
    """Rewards of a low streak."""


@dataclass(frozen=True)
class WorldOptions:
    """How the scripted agents err. The scores are ours, found on seeds that are not reported."""

    right: float = 1.2
    """The student's score of the right query for the link that comes next."""
    wrong: float = 0.8
    """Its score of the tempting query beside it."""
    other: float = -1.5
    """Its score of any other query that takes the value at hand."""
    bonus: float = 4.0
    """Added to a query that pamphlet, plan or guidance names."""
    teacher_error: float = 0.05
    """How often the teacher's verdict is turned round."""
    judge_noise: float = 0.1
    """Standard deviation of a judge's score."""
    arbiter_noise: float = 0.03
    """Standard deviation of the arbiter's score."""
    bad_entry: float = 0.2
    """How often the synthesizer writes a bad entry: a cue that names the task, a wrong query, or an expression that does not compile."""
    rewrites: bool = False
    """Whether the synthesizer replaces an entry that new guidance contradicts; else only pruning takes one away."""


@dataclass(frozen=True)
class AtlasRecipe(Recipe):
    """A hundred investigations of one incident as they come, then sixty of another with the frozen playbook.

    The programs are honest about their chances and know nothing of the arm they are in: what is tested is the orchestration, not a language
    model. All five seeds take about two minutes. `--language-tasks 30` adds SmolLM2-135M as the student that chooses the queries (extra
    language, about ten minutes of one core), which is reported and not claimed about.
    """

    tasks: int = 100
    """Tasks of the incident that is learned on."""
    transfer: int = 60
    """Tasks of the other incident."""
    devices: int = 40
    """Devices of each incident, each with an alert and an account."""
    max_steps: int = 10
    """Most turns of the student in one attempt."""
    arms: tuple[str, ...] = ARMS
    """What is compared."""
    key: Literal["global", "family"] = "global"
    """One playbook for all tasks, or one per family of tasks."""
    language_tasks: int = 0
    """Tasks on which a real small language model is the student; 0 for none."""
    options: AtlasOptions = AtlasOptions()
    """Options of the method."""
    pruning: PruningOptions = PruningOptions()
    """When entries are dropped."""
    patient: PruningOptions = PruningOptions(harm=0.1, harm_hits=20, neutral_hits=1_000_000, families=0)
    """Pruning that waits for more evidence (ours), for its arm."""
    world: WorldOptions = WorldOptions()
    """How the scripted agents err."""

    def quick(self) -> Self:
        """Return the variant of 30 tasks, and 20 of the other incident, with three arms."""
        return replace(self, tasks=30, transfer=20, devices=12, arms=(ALONE, OURS, UNPRUNED))

    def run(self, run: Run) -> Report:
        """Play every arm's stream for every seed, and check the paper's sentences."""
        from tutelage.recipes.agents.atlas_report import tell

        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or OURS not in self.arms or ALONE not in self.arms:
            raise OptionError(f"arms are {self.arms}; expected '{ALONE}', '{OURS}' and any of {ARMS}.")
        if self.tasks < 9 or self.transfer < 1:
            raise OptionError(f"tasks={self.tasks}, transfer={self.transfer}: expected at least 9 and 1.")
        report = report_for(run, "ATLAS: continual learning of agents without training (2025)")
        found = {seed: self._kept(run, seed) for seed in run.seeds}
        tell(report, self, found)
        if self.language_tasks:
            from tutelage.recipes.agents.atlas_language import tell_language

            tell_language(report, self, run)
        return report

    def _kept(self, run: Run, seed: int) -> dict[str, Any]:
        """Return what an earlier call left of a seed, or play it and keep it.

        Raises:
            CheckpointError: if what was left is damaged.
        """
        folder = None if run.directory is None else run.directory / f"seed-{seed}"
        path = None if folder is None else folder / "played.json"
        if path is not None and path.exists():
            try:
                found: dict[str, Any] = json.loads(path.read_text())
            except ValueError as error:
                raise CheckpointError(f"{path} is damaged ({error}). Remove it to play the seed again.") from error
            return found
        run.say(f"seed-{seed} ...")
        if folder is None:
            import tempfile
            from pathlib import Path

            with tempfile.TemporaryDirectory(prefix="atlas-") as name:
                return self.played(Path(name), seed)
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.sqlite*"):  # of a run that was killed in the middle of this seed
            left.unlink()
        found = self.played(folder, seed)
        write_json(folder / "played.json", found)
        return found

    def played(self, folder: Path, seed: int) -> dict[str, Any]:
        """Play all arms of one seed.

        Args:
            folder: where the memories go.
            seed: seed of the database, the stream and the agents.

        Returns:
            For each arm its `rows` (one per task, in JSON), `transfer` (successes on the other incident), `taught` (one row per entry) and
            `dropped` (for every entry that was dropped, whether it was a right one).
        """
        from tutelage.environments.security_logs import SecurityLogs

        learned, other = (SecurityLogs(incident, seed=seed, devices=self.devices) for incident in (LEARNED, TRANSFER))
        return {
            arm: self._arm(folder / f"{arm.replace(', ', '-').replace(' ', '-')}.sqlite", arm, seed, learned, other) for arm in self.arms
        }

    def _arm(self, path: Path, arm: str, seed: int, learned: SecurityLogs, other: SecurityLogs) -> dict[str, Any]:
        from tutelage.recipes.agents.atlas_agents import Agents
        from tutelage.recipes.agents.atlas_report import right, taught
        from tutelage.selection.learning_memory import DROPPED
        from tutelage.targets.playbook import Entry

        tasks = learned.stream(self.tasks, seed=seed)
        agents = Agents(learned, tasks, self.world, seed=seed)
        atlas = self.atlas(arm, agents, path, seed=seed)
        rows, book, dropped = self.stream(atlas, learned, tasks), None, list[bool]()
        if atlas.memory is not None:
            book = atlas.recall("default")[0]
            dropped = [right(Entry.from_json(event.value["entry"])) for event in atlas.memory.memory.events(DROPPED)]
            atlas.memory.memory.close()
        return {
            "rows": [asdict(row) for row in rows],
            "transfer": self._transfer(path if book is not None and self.key == "global" else None, other, seed),
            "taught": [] if book is None else taught(book),
            "dropped": dropped,
        }

    def atlas(self, arm: str, agents: Agents, path: Path | None, *, seed: int) -> Atlas:
        """Return the method of an arm.

        Args:
            arm: name of the arm.
            agents: the scripted agents.
            path: file of the memory, for arms that have one.
            seed: seed of the random router.
        """
        import random

        from tutelage.methods.agents.atlas import Atlas
        from tutelage.models.chat import Scripted
        from tutelage.models.chat.agent import ToolAgent
        from tutelage.selection.impact import Pruning
        from tutelage.selection.lanes import random_probe, rule_probe

        agent = ToolAgent(Scripted(agents.student, name="student"), max_steps=self.max_steps)
        roles = {role: Scripted(getattr(agents, role), name=role) for role in ("judge", "arbiter", "synthesizer")}
        rules = {UNPRUNED: None, PATIENT: Pruning(**asdict(self.patient))}
        return Atlas(
            agent,
            None if arm == ALONE else Scripted(agents.teacher, name="teacher"),
            memory=None if arm in (ALONE, PAIRED) else path,
            lane={ALONE: "auto", PAIRED: "paired"}.get(arm),  # type: ignore[arg-type]
            probe=random_probe(random.Random(seed)) if arm == RANDOM else rule_probe,
            pruning=rules.get(arm, Pruning(**asdict(self.pruning))),
            **roles,  # type: ignore[arg-type]
            **asdict(self.options),
        )

    def stream(self, atlas: Atlas, logs: SecurityLogs, tasks: Any, log: Path | None = None) -> list[Played]:
        """Play a stream of tasks.

        Args:
            atlas: the method.
            logs: the database.
            tasks: the tasks.
            log: file that is written as it goes, or none.
        """
        from tutelage.evaluate.stream import Played, play

        def solve(task: Any) -> Played:
            key = task.family if self.key == "family" else "default"
            session = atlas.solve(task.text, family=task.family, key=key, tools=logs.tools(task))
            right, student = float(session.answer == task.answer), session.usage["student"].tokens
            written = session.usage["synthesizer"].tokens if "synthesizer" in session.usage else 0
            return Played(
                task.text, task.family, session.route.lane, right, session.reward, session.tokens, session.cost, session.attempts,
                {"student": student, "synthesizer": written},
            )  # fmt: skip

        return play(tasks, solve, log=log, name=lambda task: task.text)

    def _transfer(self, path: Path | None, logs: SecurityLogs, seed: int) -> list[float]:
        """Return successes of the student alone on the other incident, with the frozen playbook or without one."""
        from tutelage.methods.agents.atlas import Atlas
        from tutelage.models.chat import Scripted
        from tutelage.models.chat.agent import ToolAgent
        from tutelage.recipes.agents.atlas_agents import Agents

        tasks = logs.stream(self.transfer, seed=seed)
        agents = Agents(logs, tasks, self.world, seed=seed + 10_000)
        student = ToolAgent(Scripted(agents.student), max_steps=self.max_steps)
        frozen = Atlas(student, None, memory=path, lane="auto", update_enabled=False)
        try:
            return [float(frozen.solve(task.text, tools=logs.tools(task)).answer == task.answer) for task in tasks]
        finally:
            if frozen.memory is not None:
                frozen.memory.memory.close()


RECIPE = AtlasRecipe
OPTIONS = AtlasOptions
