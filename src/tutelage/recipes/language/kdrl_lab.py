"""The small laboratory of KDRL: the task, both pre-trained models, and one training per arm."""

from __future__ import annotations

import copy
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
    teacher: Any = None


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
    (teacher,) = _grown(recipe, run, common, "teacher", model, options.teacher_round, [options.teacher_target], 0)
    return replace(common, teacher=teacher)


def students(recipe: KDRLRecipe, run: Run, common: Task, seed: int) -> Students:
    """Pre-train a seed's student; on its way it is kept when it is at `hard_target`."""
    options = recipe.lab
    wanted = [options.hard_target] if options.hard_target else []
    model = _decoder(common, options.student_width, options.student_layers, seed)
    found = _grown(recipe, run, common, f"seed-{seed}/student", model, options.student_round, [*wanted, options.student_target], seed)
    return Students(found[-1], found[0] if wanted else None)


def _decoder(common: Task, width: int, layers: int, seed: int) -> Any:
    return language.tiny_decoder(len(common.tokenizer), width=width, layers=layers, context=common.context, seed=seed)


def _grown(recipe: KDRLRecipe, run: Run, common: Task, name: str, model: Any, steps: int, targets: list[float], seed: int) -> list[Any]:
    """Pre-train a decoder in rounds and return it as it was when it first reached each accuracy on the validation questions."""
    options = recipe.lab
    run.say(f"Pre-training: {name}")
    found: list[Any] = []
    reached = 0.0
    for number in range(options.rounds):
        draws = steps * options.train.batch_size
        batches = Batches(common.pretraining, options.train.batch_size, seed=derive(seed, number), draws=draws)
        run.train(f"{name}/round-{number}", NextToken(model), batches, replace(options.train, epochs=1))
        reached = measure(recipe, model, common.tokenizer, common.validation)["accuracy"]
        while len(found) < len(targets) and reached >= targets[len(found)]:
            found.append(copy.deepcopy(model))
        if len(found) == len(targets):
            return found
    raise TrainingError(
        f"'{name}' reached {reached:.1f} % in {options.rounds} rounds of {steps} steps, not {targets[len(found)]} %: give it more "
        "rounds, or a lower target."
    )


def measure(recipe: KDRLRecipe, model: Any, tokenizer: Any, questions: Arrays, samples: int = 1) -> dict[str, float]:
    """Return accuracy, length and the rest on some questions, sampled as in training."""
    return verified(
        model,
        tokenizer,
        questions,
        REWARD,
        max_new_tokens=recipe.options.max_new_tokens,
        samples=samples,
        temperature=recipe.options.temperature,
    )


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
        method = KDRL(student, teacher, common.tokenizer, REWARD, **asdict(chosen))
        batches = Batches(common.train, options.batch_size, seed=seed, draws=draws)

    def validate(method: Any) -> dict[str, float]:
        return measure(recipe, method.student, common.tokenizer, common.validation)

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

    def note(arm: str, model: Any, **more: float) -> None:
        values = measure(recipe, model, common.tokenizer, common.test, recipe.samples)
        report.add(arm, seed, **{name.replace("length", "tokens"): value for name, value in values.items()}, **more)

    note(START, begin.usual)
    note(TEACHER, common.teacher)
    histories = {}
    for arm in recipe.arms:
        beta = betas.get(arm, betas[CONSTANT])
        run.say(f"{arm}, seed {seed}")
        student, histories[arm] = train(recipe, run, common, f"seed-{seed}/{_path(arm)}", arm, beta, begin.usual, seed)
        note(arm, student, curve=area(histories[arm]))
    if begin.hard is not None:
        note(HARD + START, begin.hard)
        for arm in (GRPO, RKL, CONSTANT):
            if arm in recipe.arms:
                beta = betas.get(arm, betas[CONSTANT])
                name = f"seed-{seed}/hard/{_path(arm)}"
                student, histories[HARD + arm] = train(recipe, run, common, name, arm, beta, begin.hard, seed)
                note(HARD + arm, student, curve=area(histories[HARD + arm]))
    return histories


def _path(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-").replace("(", "").replace(")", "")
