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
class Lab:
    """What all arms of a seed share: questions, and models that are copied before they learn."""

    tokenizer: Any
    train: Arrays
    validation: Arrays
    test: Arrays
    student: Any
    hard: Any | None
    teacher: Any


def build(recipe: KDRLRecipe, run: Run, seed: int) -> Lab:
    """Make the questions of a seed and pre-train its student, its weak student and its teacher; a resumed run reads them back."""
    options = recipe.lab
    sizes = (options.pretraining, recipe.questions, recipe.validation, recipe.test)
    made = chain_sums(sum(sizes), terms=options.terms, digits=options.digits, modulus=options.modulus, brief=True, seed=seed)
    ends = [sum(sizes[: i + 1]) for i in range(4)]
    pretraining, train, validation, test = (made.subset(range(end - size, end)) for end, size in zip(ends, sizes, strict=True))
    context = 2 * recipe.options.max_new_tokens
    tokenizer = language.character_tokenizer(CHARACTERS, context=context)
    pairs = language.answer_pairs(
        language.encode(tokenizer, pretraining.column("input")), language.encode(tokenizer, pretraining.column("solution"), end=True)
    )

    def grown(name: str, width: int, layers: int, targets: list[float]) -> list[Any]:
        model = language.tiny_decoder(len(tokenizer), width=width, layers=layers, context=context, seed=seed)
        found: list[Any] = []
        for number in range(options.rounds):
            batches = Batches(pairs, options.train.batch_size, seed=derive(seed, number), draws=options.round * options.train.batch_size)
            run.train(f"seed-{seed}/{name}/round-{number}", NextToken(model), batches, replace(options.train, epochs=1))
            reached = measure(recipe, model, tokenizer, validation)["accuracy"]
            while len(found) < len(targets) and reached >= targets[len(found)]:
                found.append(copy.deepcopy(model))
            if len(found) == len(targets):
                return found
        raise TrainingError(
            f"The {name} of seed {seed} reached {reached:.1f} % in {options.rounds} rounds of {options.round} steps, not "
            f"{targets[len(found)]} %: give it more rounds, or a lower target."
        )

    wanted = [options.hard_target] if options.hard_target else []
    students = grown("pretrained-student", options.student_width, options.student_layers, [*wanted, options.student_target])
    (teacher,) = grown("pretrained-teacher", options.teacher_width, options.teacher_layers, [options.teacher_target])
    return Lab(tokenizer, train, validation, test, students[-1], students[0] if wanted else None, teacher)


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


def train(recipe: KDRLRecipe, run: Run, lab: Lab, name: str, arm: str, beta: float, start: Any, seed: int) -> tuple[Any, History]:
    """Train a copy of a student by one arm and return it with what was measured on the validation questions."""
    student = copy.deepcopy(start)
    options = replace(recipe.train, epochs=recipe.epochs)
    draws = recipe.steps * options.batch_size
    method: NextToken | KDRL
    if arm == SFT:
        group = recipe.options.group
        options = replace(options, batch_size=options.batch_size * group)
        method, batches = NextToken(student), Batches(_samples(recipe, lab, seed), options.batch_size, seed=seed)
    else:
        chosen = recipe.arm(arm, beta)
        teacher = None if chosen.signal == "reward" else lab.teacher
        method = KDRL(student, teacher, lab.tokenizer, REWARD, **asdict(chosen))
        batches = Batches(lab.train, options.batch_size, seed=seed, draws=draws)

    def validate(method: Any) -> dict[str, float]:
        return measure(recipe, method.student, lab.tokenizer, lab.validation)

    return student, run.train(name, method, batches, options, validate, seed=seed)


def _samples(recipe: KDRLRecipe, lab: Lab, seed: int) -> Arrays:
    """Return the teacher's answers to the questions that the other arms see, as many to each: the same number of roll-outs."""
    size = recipe.train.batch_size
    asked = Batches(lab.train, size, seed=seed, draws=recipe.steps * size)
    seen = [text for epoch in range(recipe.epochs) for batch in asked.epoch(epoch) for text in batch["input"]]
    prompts = language.encode(lab.tokenizer, [text for text in seen for _ in range(recipe.options.group)])
    rollouts = language.sample(
        lab.teacher,
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


def choose(recipe: KDRLRecipe, run: Run, lab: Lab, seed: int) -> dict[str, float]:
    """Return beta of the constant and of the annealed arm: the one with the highest final validation accuracy, with one seed.

    Args:
        recipe: names the values.
        run: the run.
        lab: of the seed.
        seed: the seed.
    """
    chosen = {}
    for arm in (CONSTANT, ANNEALING):
        found = {}
        for beta in recipe.betas if len(recipe.betas) > 1 and arm in recipe.arms else ():
            run.say(f"Choosing beta of {arm}: {beta:g}")
            _, history = train(recipe, run, lab, f"seed-{seed}/choose/{_path(arm)}-{beta:g}", arm, beta, lab.student, seed)
            found[beta] = area(history)
        chosen[arm] = max(found, key=lambda beta: found[beta]) if found else recipe.betas[0]
    return chosen


def learn(recipe: KDRLRecipe, run: Run, report: Report, lab: Lab, betas: dict[str, float], seed: int) -> dict[str, History]:
    """Train all arms of a seed, put what they reach on the test questions into the report, and return their curves."""

    def note(arm: str, model: Any, **more: float) -> None:
        values = measure(recipe, model, lab.tokenizer, lab.test, recipe.samples)
        report.add(arm, seed, **{name.replace("length", "tokens"): value for name, value in values.items()}, **more)

    note(START, lab.student)
    note(TEACHER, lab.teacher)
    histories = {}
    for arm in recipe.arms:
        beta = betas.get(arm, betas[CONSTANT])
        run.say(f"{arm}, seed {seed}")
        student, histories[arm] = train(recipe, run, lab, f"seed-{seed}/{_path(arm)}", arm, beta, lab.student, seed)
        note(arm, student, curve=area(histories[arm]))
    if lab.hard is not None:
        note(HARD + START, lab.hard)
        for arm in (GRPO, RKL, CONSTANT, ANNEALING):
            if arm in recipe.arms:
                beta = betas.get(arm, betas[CONSTANT])
                name = f"seed-{seed}/hard/{_path(arm)}"
                student, histories[HARD + arm] = train(recipe, run, lab, name, arm, beta, lab.hard, seed)
                note(HARD + arm, student, curve=area(histories[HARD + arm]))
    return histories


def _path(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-").replace("(", "").replace(")", "")
