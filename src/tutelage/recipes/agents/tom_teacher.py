"""Recipe of ToM-Teacher: small decoders that know some topics and read some explanations, and a teacher that finds out which."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from tutelage.errors import CheckpointError
from tutelage.files import write_json
from tutelage.recipes.recipe import Recipe, report_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tutelage.data.explained_questions import Question
    from tutelage.data.fact_world import FactWorld
    from tutelage.evaluate.budget_curve import BothWays
    from tutelage.methods.agents.tom_teacher import TomTeacher
    from tutelage.models.chat import Chat
    from tutelage.report import Report
    from tutelage.train import Run

STRATEGIES = ("utility", "random", "least-pre", "most-post", "true-utility", "oracle")
TRUE = ("least-confidence", "true-pre", "true-post", "teacher-confidence")
"""Strategies of the study of true confidences."""
ALONE, LANGUAGE, HUMAN, DECEIVE = "student alone", "utility, language model", "human", "deceive"
PERSONALISED, PERSONALISED_TRUE = "personalised", "personalised, true utility"
TURNS = {"teacher": "explained by the teacher", "human": "explained by people", "none": "not explained", "utility": "explained, by utility"}
"""What the demonstrations of the study of several turns are, and their names."""


@dataclass(frozen=True)
class TomTeacherOptions:
    """Options of teaching with a mental model."""

    strategy: str = "utility"
    """Whom to teach first: utility, random, least-pre, most-post, least-confidence, true-pre, true-post, true-utility,
    teacher-confidence, oracle, deceive."""
    explainer: Literal["cot", "rationalise", "personalised", "human", "harmful"] = "cot"
    """Who explains, and how it is prompted."""
    demonstrations: int = 4
    """Demonstrations in the prompts of student and blind teacher."""
    mental_demonstrations: int = 4
    """Answers of the student, alone and taught each, that the mental model sees."""
    useful_demonstrations: int = 4
    """Demonstrations that helped the student, for a personalised teacher."""
    per_topic: bool = False
    """A personalised teacher sees those of the question's own topic."""
    balance: bool = True
    """As many of the student's yes as of its no among the mental model's demonstrations."""
    reference: Literal["gold", "teacher"] = "gold"
    """What utility is about: the right answer, or the teacher's own."""
    alone: Literal["explain", "answer"] = "explain"
    """What the student does alone: explain and answer, or answer."""
    pool: int = 200
    """Most training questions that are asked for each purpose."""
    max_tokens: int = 100
    """Longest reply, in tokens."""


@dataclass(frozen=True)
class TomTeacherRecipe(Recipe):
    """Students of 0.9 million parameters in a world of facts, under every strategy, teacher and budget.

    Prompts have no demonstrations for these students, which were trained on the form of the questions. A student learns for about
    four minutes of one thread; one of width 64 with two layers takes a fifth of that for the same texts.
    """

    default_seeds: ClassVar[tuple[int, ...]] = (41, 42, 43)

    students: Literal["decoder", "table"] = "decoder"
    """decoder: language models trained here; table: programs that answer by probabilities for each topic."""
    entities: int = 60
    """Entities of the world."""
    known: float = 0.9
    """Share of the entities whose facts a decoder saw, on four of eight topics."""
    test: int = 800
    """Test questions."""
    train: int = 800
    """Training questions, of which the teacher learns what the student can do."""
    observed: tuple[int, ...] = (32, 16, 64)
    """Answers that the mental model sees, alone and taught each; the first is the one that is compared."""
    width: int = 128
    """Width of a student."""
    layers: int = 4
    """Layers of a student."""
    rows: int = 100_000
    """Texts that a student learns from."""
    learning_rate: float = 3e-3
    """Of AdamW for a student, falling to zero; small students (width 64, two layers) take 1e-2."""
    mental_rows: int = 6000
    """Other students, of schools like the student's, whose logs train the language model that is compared as a mental model; 0 leaves it
    out."""
    mental_items: int = 16
    """Answers that it sees, alone and taught each."""
    mental_width: int = 160
    """Its width, more than a student's."""
    mental_layers: int = 3
    """Its layers."""
    mental_learning_rate: float = 2e-3
    """Of AdamW for it."""
    turns: tuple[int, ...] = (2, 4, 6, 8, 10)
    """Numbers of demonstrations of a new topic that are compared, on which a decoder takes 20 steps; none leaves the study out."""
    strategyqa: str = ""
    """Folder with StrategyQA's train.json and dev.json: adds SmolLM2-135M-Instruct as a student of 100 questions, for the record."""
    options: TomTeacherOptions = TomTeacherOptions(
        demonstrations=0, mental_demonstrations=32, useful_demonstrations=8, per_topic=True, pool=800, max_tokens=16
    )
    """Options of the method."""

    def quick(self) -> Self:
        """Return the variant with a table of probabilities in the place of every decoder."""
        return replace(self, students="table", mental_rows=0, turns=(), test=400)

    def run(self, run: Run) -> Report:
        """Let every student answer both ways under every teacher, and follow its accuracy over the budgets."""
        from tutelage.recipes.agents.tom_teacher_report import tell

        report = report_for(run, "ToM-Teacher: explanations where a mental model promises the most (Saha et al. 2023)")
        mental = self._language(run)
        curves: list[dict[str, list[float]]] = []
        turns: list[dict[str, list[float]]] = []
        for seed in run.seeds:
            world, student, test, train = self._world(run, seed)
            curves.append(kept(run, f"seed-{seed}/curves.json", partial(self._curves, seed, world, student, test, train, mental)))
            report.add(ALONE, seed, accuracy=curves[-1].pop(ALONE)[0])
            turns.append(self._turns(run, seed, world, student) if self.turns and self.students == "decoder" else {})
        tell(report, curves, turns, self.turns)
        if self.strategyqa:
            from tutelage.recipes.agents.tom_teacher_smol import smol

            smol(report, self.strategyqa, seed=run.seeds[0])
        return report

    def method(self, student: Chat, teacher: Any, mental: Any, seed: int, **options: Any) -> TomTeacher:
        """Return the method with a teacher that is a program (or none) and a mental model."""
        from dataclasses import asdict

        from tutelage.methods.agents.tom_teacher import TomTeacher
        from tutelage.models.chat import Scripted

        stated: dict[str, Any] = asdict(self.options) | options
        return TomTeacher(student, None if teacher is None else Scripted(teacher, name="facts"), mental, seed=seed, **stated)

    def _world(self, run: Run, seed: int) -> tuple[FactWorld, Chat, list[Question], list[Question]]:
        from tutelage.data.fact_world import FactWorld

        world = FactWorld(self.entities, seed=seed)
        test = world.questions(self.test, seed=seed)
        train = world.questions(self.train, seed=seed + 1000, without=test)
        if self.students == "table":
            from tutelage.data.fact_world import STYLES, TOPICS
            from tutelage.models.chat import Scripted
            from tutelage.recipes.agents import tom_teacher_roles as roles

            knows = {topic: 0.9 if place < 4 else 0.5 for place, topic in enumerate(TOPICS)}
            able = {"numbers": TOPICS[:6], "relation": TOPICS[4:8]}
            reads = {(topic, style): 0.95 * (topic in able[style]) for topic in TOPICS for style in STYLES}
            return world, Scripted(roles.student(world, knows, reads, seed=seed), name="table"), test, train
        from tutelage.recipes.agents.tom_teacher_students import Sizes, student

        sizes = Sizes(self.width, self.layers, self.rows, 96, self.learning_rate)
        return world, student(run, f"seed-{seed}/student", world, sizes, known=self.known, seed=seed), test, train

    def _language(self, run: Run) -> Any:
        """Return the language model that is compared as a mental model, one for all seeds, whose own students live elsewhere."""
        if not self.mental_rows or self.students == "table":
            return None
        from tutelage.data.fact_world import FactWorld
        from tutelage.recipes.agents.tom_teacher_students import Sizes, mental_model

        sizes = Sizes(self.mental_width, self.mental_layers, self.mental_rows, 16, self.mental_learning_rate)
        return mental_model(run, "mental", FactWorld(self.entities, seed=9999), sizes, self.mental_items + 1, seed=9999)

    def _curves(
        self,
        seed: int,
        world: FactWorld,
        student: Chat,
        test: list[Question],
        train: list[Question],
        language: Any,
    ) -> dict[str, list[float]]:
        """Return accuracy over budget of every arm, and that of the student alone."""
        from tutelage.data.fact_world import style_of
        from tutelage.recipes.agents import tom_teacher_roles as roles
        from tutelage.teachers.mental import Estimator, FewShot

        def studied(teacher: Any, mental: Any, **options: Any) -> BothWays:
            method = self.method(student, teacher, mental, seed, **({"strategy": "utility"} | options))
            method.prepare(train)
            return method.study(test)

        blind = roles.teacher(world, seed=seed)
        both = studied(blind, Estimator(style=style_of), mental_demonstrations=self.observed[0])
        found = {strategy: both.curve(strategy, seed=seed) for strategy in (*STRATEGIES, *TRUE, self.options.strategy)}
        found[ALONE] = [100.0 * float(both.alone.double().mean())]
        others: dict[str, tuple[Any, int]] = {
            f"utility, {kind}, {count}": (Estimator(kind=kind, style=style_of), count)
            for count in self.observed
            for kind in ("beta", "logistic")
            if (count, kind) != (self.observed[0], "beta")
        }
        if language is not None:
            others[LANGUAGE] = (FewShot(language), self.mental_items)
        for name, (mental, count) in others.items():
            method = self.method(student, blind, mental, seed, strategy="utility", mental_demonstrations=count)
            method.prepare(train)
            foretold = method.expect(test)  # the student answers as before, only the expectations differ
            found[name] = replace(both, signals=foretold).curve("utility", seed=seed)
        both = studied(roles.teacher(world, seed=seed, imitates=True), Estimator(style=style_of), explainer="personalised")
        found[PERSONALISED], found[PERSONALISED_TRUE] = (both.curve(strategy, seed=seed) for strategy in ("utility", "true-utility"))
        found[HUMAN] = studied(None, Estimator(style=style_of), explainer="human").curve("utility", seed=seed)
        lying = roles.teacher(world, seed=seed, lies=True)
        found[DECEIVE] = studied(lying, Estimator(style=style_of), strategy="deceive").curve("deceive", seed=seed)
        return found

    def _turns(self, run: Run, seed: int, world: FactWorld, student: Any) -> dict[str, list[float]]:
        """Return accuracy on new questions of a new topic, alone, after k demonstrations of it."""
        from tutelage.data.fact_world import STYLES, TOPICS, last_asked
        from tutelage.recipes.agents import tom_teacher_roles as roles
        from tutelage.recipes.agents.tom_teacher_students import fine_tuned
        from tutelage.teachers.mental import Estimator

        pairs = world.questions(56, seed=seed, topics=TOPICS[-1:], entities=world.entities[:8])
        shown, test = [world.question(last_asked(question.question), STYLES[0]) for question in pairs[:20]], pairs[20:]
        method = self.method(student, roles.teacher(world, seed=seed, style=STYLES[0]), Estimator(), seed)
        method.prepare(world.questions(200, seed=seed))
        found: dict[str, list[float]] = {}
        for arm in TURNS:
            found[arm] = []
            for count in self.turns:
                how: Any = {"order": "utility"} if arm == "utility" else {"explained": arm}
                demos = method.demonstrate(shown, count, **how)
                name = f"seed-{seed}/turns/{arm}-{count}"
                taught = fine_tuned(run, name, student, demos, steps=20, learning_rate=2e-3, seed=seed)
                answered = self.method(taught, None, None, seed, explainer="human", strategy="random").alone(test)
                found[arm].append(100.0 * sum(a.answer == q.answer for a, q in zip(answered, test, strict=True)) / len(test))
        return found


def kept(run: Run, name: str, work: Callable[[], dict[str, list[float]]]) -> dict[str, list[float]]:
    """Return curves that an earlier call left in the run's directory, or compute and keep them.

    Args:
        run: the run.
        name: path of the file inside it.
        work: computes them.

    Raises:
        CheckpointError: if what was left is damaged.
    """
    path = None if run.directory is None else run.directory / name
    if path is None or not path.exists():
        found = work()
        if path is not None:
            write_json(path, found)
        return found
    try:
        rows: Any = json.loads(path.read_text())
        return {arm: [float(value) for value in line] for arm, line in rows.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Remove it to compute it again.") from error


RECIPE = TomTeacherRecipe
OPTIONS = TomTeacherOptions
