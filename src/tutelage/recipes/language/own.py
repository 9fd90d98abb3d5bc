"""Your own language models and prompts: a student learns to answer by a reward, a teacher's log-probabilities, or both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from tutelage import files
from tutelage.data import Arrays, Batches, split
from tutelage.data.factory import function
from tutelage.data.questions import questions as read_questions
from tutelage.data.spec import parse
from tutelage.data.verifiable import MARKER, FinalAnswer, Reward, rows_of, score
from tutelage.errors import DataError, OptionError, SpecError
from tutelage.evaluate.verified import verified
from tutelage.models import language
from tutelage.models.language import LanguageModel
from tutelage.recipes import find
from tutelage.recipes.recipe import PROMPT_TRAIN, PromptSetting, report_for
from tutelage.report import Report
from tutelage.train.log import History
from tutelage.train.method import Method
from tutelage.train.options import TrainOptions
from tutelage.train.run import Run

BEFORE, TEACHER = "student before", "teacher"


def distill(
    teacher: str | LanguageModel | None,
    student: str | LanguageModel,
    data: str | Arrays,
    *,
    method: str = "kdrl",
    options: Any = None,
    train: TrainOptions | None = None,
    seeds: Sequence[int] = (0,),
    out: str | Path | None = None,
    resume: bool = False,
    reward: str | Reward | None = None,
    marker: str = MARKER,
    lora: int = 0,
    samples: int = 1,
    validation: float = 0.1,
    test: float = 0.2,
    skip_bad: bool = False,
    console: Console | None = None,
) -> Report:
    """Teach a language model on your prompts, and measure its accuracy on held-out ones before and after.

    Args:
        teacher: `hf:DIR-OR-NAME`, `tutelage:smollm2`, a live `LanguageModel`, or `None` where the options need no teacher. Its tokenizer
            must have the student's tokens.
        student: the same forms; a live model then holds the trained weights of the first seed.
        data: a `.jsonl` or `.csv` file (see `tutelage.data.questions`), or arrays with the columns `input` and `answer`.
        method: name of a method that learns from prompts.
        options: an instance of its options; its defaults if `None`.
        train: how to train; by default one epoch with batches of 16 prompts, AdamW at 1e-6. Its batch size counts prompts.
        seeds: one student per seed.
        out: run directory; `None` keeps everything in memory. The student of the first seed is written to `out/student`, as `hf:` reads it.
        resume: go on with a run that was left in `out`.
        reward: a function `(response, row) -> number`, or `python:package.module:function` or `python:FILE.py:function`; by default 1
            where the final answer is the row's `answer`, else 0.
        marker: what stands before the final answer, for the default reward (see `tutelage.data.verifiable.FinalAnswer`).
        lora: rank of low-rank adapters that learn in place of all weights; 0 for all weights. The saved student has them merged.
        samples: answers to each test prompt.
        validation: share of the prompts for validation.
        test: share for the test.
        skip_bad: leave bad rows, and prompts too long for a context, out and count them.
        console: where progress goes; standard error by default.

    Returns:
        The report; it is in `out` too.

    Raises:
        TutelageError: for anything that cannot work; the message says what to do.
    """
    door = find.door(method, "prompts")
    options = options or find.module(method).OPTIONS()
    train = train or PROMPT_TRAIN
    if lora < 0 or samples < 1:
        raise OptionError(f"lora is {lora} and samples {samples}; expected a rank of at least 0 and at least 1 sample.")
    judge: Reward = _reward(reward, marker)
    asked, left_out = (data, []) if isinstance(data, Arrays) else read_questions(data, answers=reward is None, skip_bad=skip_bad)
    ours = _model(student, "student")
    theirs = None if teacher is None else _model(teacher, "teacher")
    alignment = None if theirs is None else language.align(ours.tokenizer, theirs.tokenizer)
    models = [("student", ours)] + ([] if theirs is None else [("teacher", theirs)])
    asked, long = _fitting(_texts(asked, ours.tokenizer), models, options.max_new_tokens, skip_bad)
    parts = _parts(asked, validation, test, min(seeds))
    score(judge, [""], [{**rows_of(parts["train"].gather([0]))[0], "finished": True}])  # a reward that cannot work is found out now
    config = {
        "job": "distill",
        "method": method,
        "options": asdict(options),
        "train": asdict(train),
        "teacher": _name(teacher),
        "student": _name(student),
        "data": data.name if isinstance(data, Arrays) else str(data),
        "data_fingerprint": None if isinstance(data, Arrays) else files.sha256(Path(data).expanduser()),
        "reward": _name(reward),
        "marker": marker,
        "lora": lora,
        "samples": samples,
        "validation": validation,
        "test": test,
        "seeds": list(seeds),
    }
    run = Run(Path(out) if out else None, config=config, seeds=seeds, resume=resume, console=console, name="distill")
    if left_out or long:
        first = ", ".join([*left_out, *long][:3])
        run.say(f"[yellow]{len(left_out) + len(long)} prompts were left out[/] ({first}{', ...' if len(left_out) + len(long) > 3 else ''})")
    report = report_for(run, f"{method}: {_name(teacher)} teaches {_name(student)} on {asked.name}")
    _note_left_out(report, [*left_out, *long])

    def measure(model: Any, tokenizer: Any, part: str, count: int) -> dict[str, float]:
        limit, temperature = options.max_new_tokens, options.temperature
        return verified(model, tokenizer, parts[part], judge, max_new_tokens=limit, samples=count, temperature=temperature)

    histories: list[History] = []
    for seed in run.seeds:
        report.add(BEFORE, seed, **measure(ours.model, ours.tokenizer, "test", samples))
        if theirs is not None:
            report.add(TEACHER, seed, **measure(theirs.model, theirs.tokenizer, "test", samples))
        learner = copy.deepcopy(ours.model)
        learner = language.lora(learner, rank=lora) if lora else learner
        frozen = None if theirs is None else theirs.model
        setting = PromptSetting(learner, frozen, ours.tokenizer, alignment, parts["train"], judge, train, seed, run)
        run.say(f"Training '{method}', seed {seed} ({len(parts['train'])} prompts, {train.epochs} epochs)")

        def validate(learned: Any) -> dict[str, float]:
            return {"accuracy": measure(learned.student, ours.tokenizer, "validation", 1)["accuracy"]}

        lesson: tuple[Method, Batches] = door(setting, options)
        histories.append(run.train(f"seed-{seed}/{method}", *lesson, train, validate))
        report.add(method, seed, **measure(learner, ours.tokenizer, "test", samples))
        if seed == run.seeds[0]:
            _keep(run, learner, ours, student)
    report.claim(f"{method} answers better than the student did before (test accuracy, points)", method, BEFORE, "accuracy", margin=0.01)
    _draw(report, method, histories[0])
    report.wall_seconds = run.seconds
    if run.directory is not None:
        report.save(run.directory)
    return report


def _draw(report: Report, method: str, history: History) -> None:
    for name, title, unit in (
        ("accuracy", "Validation accuracy", "accuracy, percent"),
        ("reward", "Mean reward of the student's answers", "reward"),
        ("kl", "Reverse KL to the teacher", "nats per token"),
        ("length", "Length of the student's answers", "tokens"),
        ("zero_advantage", "Questions whose answers all earned the same", "share"),
    ):
        if line := history.series(name):
            report.curve(title, range(1, len(line) + 1), {method: line}, "epoch", unit)


def _keep(run: Run, learner: Any, ours: LanguageModel, given: Any) -> None:
    """Write the student, adapters merged, and give the caller's live model its weights."""
    whole = language.merge(copy.deepcopy(learner)) if hasattr(learner, "merge_and_unload") else learner
    if isinstance(given, LanguageModel):
        given.model.load_state_dict(whole.state_dict())
    if run.directory is not None:
        language.save(whole, ours.tokenizer, run.directory / "student")


def _note_left_out(report: Report, left_out: list[str]) -> None:
    if left_out:
        shown = "; ".join(left_out[:5]) + ("; ..." if len(left_out) > 5 else "")
        report.note(f"{len(left_out)} prompts were left out: {shown}.")


def _model(spec: str | LanguageModel, role: str) -> LanguageModel:
    if isinstance(spec, LanguageModel):
        found = spec
    elif isinstance(spec, str):
        found = language.causal(spec)
    else:
        raise SpecError(f"The {role} is a {type(spec).__name__}: expected hf:DIR, tutelage:smollm2, or a models.language.LanguageModel.")
    if found.tokenizer.eos_token_id is None:
        raise SpecError(f"The {role}'s tokenizer has no end token, so no answer could end: set its eos_token.")
    return found


def _reward(reward: str | Reward | None, marker: str) -> Reward:
    if reward is None:
        return FinalAnswer(marker)
    if isinstance(reward, str):
        found: Callable[..., Any] = function(parse(reward))
        return found
    if not callable(reward):
        raise OptionError(f"reward is a {type(reward).__name__}: expected a function (response, row) -> number, or python:module:function.")
    return reward


def _texts(asked: Arrays, tokenizer: Any) -> Arrays:
    """Write conversations by the tokenizer's chat template, and begin texts as the tokenizer begins them."""
    with_begin, plain = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    begin = tokenizer.bos_token if tokenizer.bos_token_id is not None and with_begin == [tokenizer.bos_token_id, *plain] else ""

    def text(prompt: Any) -> str:
        if isinstance(prompt, str):
            return f"{begin}{prompt}"
        if getattr(tokenizer, "chat_template", None):
            try:
                said: str = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            except Exception as error:  # templates raise what they like
                raise DataError(f"The student's chat template refuses the messages {str(prompt)[:80]} ({error}).") from error
            return said
        return begin + "\n".join([f"{one['role']}: {one['content']}" for one in prompt] + ["assistant:"])

    return asked.replace(input=[text(prompt) for prompt in asked.column("input")])


def _fitting(asked: Arrays, models: Sequence[tuple[str, LanguageModel]], max_new_tokens: int, skip_bad: bool) -> tuple[Arrays, list[str]]:
    """Refuse, or leave out, prompts that leave no room for an answer in a model's context."""
    long: dict[int, str] = {}
    for role, (model, tokenizer) in models:
        context = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        for row, tokens in enumerate(language.encode(tokenizer, asked.column("input"))):
            if context is not None and len(tokens) + max_new_tokens > context:
                start = asked.column("input")[row][:60]
                long.setdefault(
                    row,
                    f"prompt {row} ({start!r}) has {len(tokens)} tokens, which with {max_new_tokens} of an answer are more than the "
                    f"{context} of the {role}'s context",
                )
    if not long:
        return asked, []
    if not skip_bad or len(long) == len(asked):
        raise DataError(
            f"{len(long)} of {len(asked)} prompts are too long: {long[min(long)]}. Shorten them, lower max_new_tokens, or leave them out "
            "with --skip-bad (skip_bad=True)."
        )
    return asked.subset([row for row in range(len(asked)) if row not in long]), list(long.values())


def _parts(asked: Arrays, validation: float, test: float, seed: int) -> dict[str, Arrays]:
    counts = {name: max(1, round(share * len(asked))) for name, share in (("validation", validation), ("test", test))}
    left = len(asked) - sum(counts.values())
    if not (0 < validation < 1 and 0 < test < 1) or left < 1:
        raise OptionError(
            f"validation is {validation} and test {test} of {len(asked)} prompts: expected shares between 0 and 1 that leave prompts to "
            "learn from."
        )
    return split(asked, {"train": left, **counts}, seed, stratify=False)


def _name(thing: Any) -> str | None:
    if thing is None or isinstance(thing, str):
        return thing
    return str(getattr(thing, "__name__", None) or type(thing).__name__)
