"""The small laboratory of KDRL: the task, both pre-trained models, and one training per arm."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tutelage.data import Arrays, Batches
from tutelage.data.verifiable import FinalAnswer, chain_sums
from tutelage.data.verifiable.arithmetic import CHARACTERS, MARKER
from tutelage.errors import TrainingError
from tutelage.evaluate.verified import verified
from tutelage.methods.language.kdrl import KDRL
from tutelage.models import language
from tutelage.recipes.language.kdrl import ANNEALING, CONSTANT, GRPO, RKL, SFT, START, TEACHER
from tutelage.train import History
from tutelage.train.next_token import NextToken
from tutelage.train.seeds import derive

if TYPE_CHECKING:
    from tutelage.recipes.language.kdrl import KDRLRecipe
    from tutelage.report import Report
    from tutelage.train import Run

REWARD = FinalAnswer(MARKER, "integer")
WHOLE = FinalAnswer("", "text")
"""For hard exploration: the whole trace must be right, so that no guess of the last digit earns anything."""
HARD = "hard start: "


@dataclass(frozen=True)
class Task:
    """What all seeds share: questions, their tokenizer, pre-training texts, and the one teacher."""

    tokenizer: Any
    pretraining: Arrays
    train: Arrays
    validation: Arrays
    test: Arrays
    context: int
    reward: FinalAnswer = REWARD
    teacher: Any = None

    def strict(self) -> Task:
        """Return the same task, in which only a right trace is a right answer."""
        parts = {name: getattr(self, name) for name in ("train", "validation", "test")}
        whole = {name: part.replace(answer=part.column("solution")) for name, part in parts.items()}
        return replace(self, reward=WHOLE, **whole)


@dataclass(frozen=True)
class Students:
    """The pre-trained students of a seed, which are copied before they learn."""

    usual: Any
    hard: Any | None


def task(recipe: KDRLRecipe, run: Run) -> Task:
    """Make the questions and pre-train the teacher; a resumed run reads it back."""
    options = recipe.lab
    sizes = (options.pretraining, recipe.questions, recipe.validation, recipe.test)
    made = chain_sums(sum(sizes), terms=options.terms, digits=options.digits, modulus=options.modulus, brief=True)
    ends = [sum(sizes[: i + 1]) for i in range(4)]
    texts, train, validation, test = (made.subset(range(end - size, end)) for end, size in zip(ends, sizes, strict=True))
    context = 2 * recipe.options.max_new_tokens
    tokenizer = language.character_tokenizer(CHARACTERS, context=context)
    prompts, traces = language.encode(tokenizer, texts.column("input")), language.encode(tokenizer, texts.column("solution"), end=True)
    common = Task(tokenizer, language.answer_pairs(prompts, traces), train, validation, test, context)
    model = _decoder(common, options.teacher_width, options.teacher_layers, 0)
    (teacher,) = _grown(recipe, run, "teacher", model, options.teacher_round, [(common, options.teacher_target)], 0)
    return replace(common, teacher=teacher)


def students(recipe: KDRLRecipe, run: Run, common: Task, seed: int) -> Students:
    """Pre-train a seed's student; on its way it is kept when it is at `hard_target`."""
    options = recipe.lab
    wanted = [(common.strict(), options.hard_target)] if options.hard_target else []
    model = _decoder(common, options.student_width, options.student_layers, seed)
    goals = [*wanted, (common, options.student_target)]
    found = _grown(recipe, run, f"seed-{seed}/student", model, options.student_round, goals, seed)
    return Students(found[-1], found[0] if wanted else None)


def _decoder(common: Task, width: int, layers: int, seed: int) -> Any:
    return language.tiny_decoder(len(common.tokenizer), width=width, layers=layers, context=common.context, seed=seed)


def _grown(recipe: KDRLRecipe, run: Run, name: str, model: Any, steps: int, goals: Sequence[tuple[Task, float]], seed: int) -> list[Any]:
    """Pre-train a decoder in rounds and return it as it was when it first reached each goal: an accuracy on validation questions."""
    options, common = recipe.lab, goals[0][0]
    run.say(f"Pre-training: {name}")
    found: list[Any] = []
    reached = 0.0
    for number in range(options.rounds):
        draws = steps * options.train.batch_size
        batches = Batches(common.pretraining, options.train.batch_size, seed=derive(seed, number), draws=draws)
        run.train(f"{name}/round-{number}", NextToken(model), batches, replace(options.train, epochs=1))
        while len(found) < len(goals):
            judge, target = goals[len(found)]
            reached = measure(recipe, model, judge, judge.validation)["accuracy"]
            if reached < target:
                break
            found.append(copy.deepcopy(model))
        if len(found) == len(goals):
            return found
    raise TrainingError(
        f"'{name}' reached {reached:.1f} % in {options.rounds} rounds of {steps} steps, not {goals[len(found)][1]} %: give it more "
        "rounds, or a lower target."
    )


def measure(recipe: KDRLRecipe, model: Any, common: Task, questions: Arrays, samples: int = 1) -> dict[str, float]:
    """Return accuracy, length and the rest on some questions, sampled as in training."""
    limit, temperature = recipe.options.max_new_tokens, recipe.options.temperature
    return verified(model, common.tokenizer, questions, common.reward, max_new_tokens=limit, samples=samples, temperature=temperature)


def train(recipe: KDRLRecipe, run: Run, common: Task, name: str, arm: str, beta: float, start: Any, seed: int) -> tuple[Any, History]:
    """Train a copy of a student by one arm and return it with what was measured on the validation questions."""
    student = copy.deepcopy(start)
    options = replace(recipe.train, epochs=recipe.epochs)
    draws = recipe.steps * options.batch_size
    method: NextToken | KDRL
    if arm == SFT:
        group = recipe.options.group
        options = replace(options, batch_size=options.batch_size * group)
        method, batches = NextToken(student), Batches(_samples(recipe, common, seed), options.batch_size, seed=seed)
    else:
        chosen = recipe.arm(arm, beta)
        teacher = None if chosen.signal == "reward" else common.teacher
        method = KDRL(student, teacher, common.tokenizer, common.reward, **asdict(chosen))
        batches = Batches(common.train, options.batch_size, seed=seed, draws=draws)

    def validate(method: Any) -> dict[str, float]:
        return {"accuracy": measure(recipe, method.student, common, common.validation)["accuracy"]}

    return student, run.train(name, method, batches, options, validate, seed=seed)


def _samples(recipe: KDRLRecipe, common: Task, seed: int) -> Arrays:
    """Return the teacher's answers to the questions that the other arms see, as many to each: the same number of roll-outs."""
    size = recipe.train.batch_size
    asked = Batches(common.train, size, seed=seed, draws=recipe.steps * size)
    seen = [text for epoch in range(recipe.epochs) for batch in asked.epoch(epoch) for text in batch["input"]]
    prompts = language.encode(common.tokenizer, [text for text in seen for _ in range(recipe.options.group)])
    rollouts = language.sample(
        common.teacher,
        prompts,
        max_new_tokens=recipe.options.max_new_tokens,
        temperature=recipe.options.temperature,
        seed=derive(seed, 1 << 20),
        batch=1024,
    )
    return language.answer_pairs(prompts, rollouts.lists())


def area(history: History) -> float:
    """Return the mean validation accuracy over the training: the area under its curve."""
    accuracy = history.series("accuracy")
    return sum(accuracy) / len(accuracy)


def choose(recipe: KDRLRecipe, run: Run, common: Task, start: Any, seed: int) -> dict[str, float]:
    """Return beta of the constant and of the annealed arm: the one with the largest area under the validation curve of one seed.

    Args:
        recipe: names the values.
        run: the run.
        common: the task.
        start: the seed's student.
        seed: the seed.
    """
    chosen = {}
    for arm in (CONSTANT, ANNEALING):
        found = {}
        for beta in recipe.betas if len(recipe.betas) > 1 and arm in recipe.arms else ():
            run.say(f"Choosing beta of {arm}: {beta:g}")
            _, history = train(recipe, run, common, f"seed-{seed}/choose/{_path(arm)}-{beta:g}", arm, beta, start, seed)
            found[beta] = area(history)
        chosen[arm] = max(found, key=lambda beta: found[beta]) if found else recipe.betas[0]
    return chosen


def learn(
    recipe: KDRLRecipe, run: Run, report: Report, common: Task, begin: Students, betas: dict[str, float], seed: int
) -> dict[str, History]:
    """Train all arms of a seed, put what they reach on the test questions into the report, and return their curves."""

    def note(arm: str, model: Any, judge: Task = common, **more: float) -> None:
        values = measure(recipe, model, judge, judge.test, recipe.samples)
        report.add(arm, seed, **values, **more)

    note(START, begin.usual)
    note(TEACHER, common.teacher)
    histories = {}
    for arm in recipe.arms:
        beta = betas.get(arm, betas[CONSTANT])
        run.say(f"{arm}, seed {seed}")
        student, histories[arm] = train(recipe, run, common, f"seed-{seed}/{_path(arm)}", arm, beta, begin.usual, seed)
        note(arm, student, curve=area(histories[arm]))
    if begin.hard is not None:
        strict = common.strict()
        faster = replace(recipe, train=replace(recipe.train, learning_rate=recipe.hard_learning_rate))
        note(HARD + START, begin.hard, strict)
        note(HARD + TEACHER, common.teacher, strict)
        for arm in [arm for arm in (GRPO, RKL, CONSTANT) if arm in recipe.arms]:
            name = f"seed-{seed}/hard/{_path(arm)}"
            student, histories[HARD + arm] = train(faster, run, strict, name, arm, betas[CONSTANT], begin.hard, seed)
            note(HARD + arm, student, strict, curve=area(histories[HARD + arm]))
    return histories


def _path(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-").replace("(", "").replace(")", "")
