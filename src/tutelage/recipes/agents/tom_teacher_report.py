"""What the accuracies over budgets say about the paper's sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tutelage.evaluate.budget_curve import BUDGETS, budget_area
from tutelage.recipes.agents.tom_teacher import (
    ALONE,
    DECEIVE,
    HUMAN,
    LANGUAGE,
    PERSONALISED,
    PERSONALISED_TRUE,
    STRATEGIES,
    TRUE,
    TURNS,
)
from tutelage.report import Report, figures

Curves = Mapping[str, Sequence[float]]
SHOWN = (0.2, 0.4, 1.0)


def tell(report: Report, curves: Sequence[Curves], turns: Sequence[Curves], ks: Sequence[int]) -> None:
    """Put numbers, curves, claims and notes into a report.

    Args:
        report: the report, which knows the student alone; its seeds in the order of the curves.
        curves: for each seed, of every arm the accuracy at every budget.
        turns: for each seed, of every kind of demonstrations the accuracy at every k; empty where they were not compared.
        ks: numbers of demonstrations.
    """
    for seed, of_seed in zip(report.seeds, curves, strict=True):
        for arm, line in of_seed.items():
            report.add(arm, seed, **{_at(budget): line[BUDGETS.index(budget)] for budget in SHOWN}, area=budget_area(line))
    for seed, of_seed in zip(report.seeds, turns, strict=True):
        for arm, line in of_seed.items():
            report.add(TURNS[arm], seed, **{f"accuracy after {k}": value for k, value in zip(ks, line, strict=True)})
    _draw(report, curves, turns, ks)
    _claims(report, curves)
    if turns[0]:
        _turn_claims(report, turns, ks)
        _turn_notes(report)
    _notes(report, curves)


def _at(budget: float) -> str:
    return f"accuracy at B={budget:g}"


def _means(lines: Sequence[Curves]) -> dict[str, list[float]]:
    return {arm: [sum(column) / len(lines) for column in zip(*(of_seed[arm] for of_seed in lines), strict=True)] for arm in lines[0]}


def _draw(report: Report, curves: Sequence[Curves], turns: Sequence[Curves], ks: Sequence[int]) -> None:
    means = _means(curves)
    others = [arm for arm in means if arm not in (*STRATEGIES, *TRUE)]
    for title, arms in {
        "Accuracy over budget, by strategy": STRATEGIES,
        "Strategies that look at the student or the teacher itself": ("utility", "random", *TRUE),
        "Mental models and teachers": ("utility", *others),
    }.items():
        lines = {arm: means[arm] for arm in arms}
        report.curve(title, BUDGETS, lines, "budget, share of the items", "accuracy, percent")
    figure = figures.curves(
        BUDGETS,
        {arm: means[arm] for arm in (*STRATEGIES, PERSONALISED, DECEIVE)},
        title="What explanations are worth",
        x_label="budget, share of the items",
        y_label="accuracy (%)",
    )
    report.picture("Accuracy over budget", figure, "Mean accuracy over the seeds at every budget, of every strategy and three teachers.")
    if turns[0]:
        lines = {TURNS[arm]: line for arm, line in _means(turns).items()}
        report.curve("New questions after k demonstrations", ks, lines, "demonstrations", "accuracy, percent")


def _claims(report: Report, curves: Sequence[Curves]) -> None:
    alone = list(report.values[ALONE]["accuracy"].values())

    def at(arm: str, budget: float) -> list[float]:
        return [of_seed[arm][BUDGETS.index(budget)] for of_seed in curves]

    text = "At a budget of 40 % expected utility beats random interventions by 5 points of accuracy."
    report.claim(text, "utility", "random", _at(0.4), margin=5.0, higher_is_better=True)
    for teacher, name, best in (("a blind", "utility", "true-utility"), ("a personalised", PERSONALISED, PERSONALISED_TRUE)):
        shares = [(ours - own) / (true - own) for ours, true, own in zip(at(name, 0.4), at(best, 0.4), alone, strict=True)]
        text = f"With {teacher} teacher it has there 70 % of what the true utility gains over the student alone (share)."
        if not report.check(text, shares, at_least=0.7).held:
            share = 100 * sum(shares) / len(shares)
            report.note(
                f"With {teacher} teacher expected utility has {share:.0f} % of the true gain: a mental model that goes by topic and style "
                "cannot know which questions of an unknown topic the student guesses right by luck, and half of the explanations there "
                "are spent on them."
            )
    for other in ("least-pre", "most-post"):
        text = f"At a budget of 20 % expected utility beats '{other}', which looks at one side of it."
        found = report.claim(text, "utility", other, _at(0.2), margin=1e-6, higher_is_better=True)
        if not found.held:
            report.note(
                f"At a budget of 20 % expected utility is {found.value:+.1f} from '{other}': the mental model has seen a topic with "
                "a style about twice, so that many items look alike to it, and which of them are taught is a matter of chance."
            )
    selections = [strategy for strategy in (*STRATEGIES, *TRUE) if strategy != "oracle"]
    spreads = [max(row) - min(row) for row in zip(*(at(strategy, 1.0) for strategy in selections), strict=True)]
    report.check("At a budget of 100 % all selections but the oracle's coincide (points between them, negative).", [-s for s in spreads])
    text = "Personalised explanations are worth 5 points over blind ones where all items are explained."
    report.claim(text, PERSONALISED, "utility", _at(1.0), margin=5.0, higher_is_better=True)
    fall = [own - taught for own, taught in zip(alone, at(DECEIVE, 1.0), strict=True)]
    report.check("A misaligned teacher with all items costs the student 10 points against being alone.", fall, at_least=10.0)
    near = [10.0 - abs(taught - 50.0) for taught in at(DECEIVE, 1.0)]
    near_text = "It brings the student to chance, within 10 points of 50 % (10 less the distance)."
    if not report.check(near_text, near).held:
        report.note(
            f"A misaligned teacher brings this student not to chance but to {sum(at(DECEIVE, 1.0)) / len(alone):.1f} %: where it can read "
            "an explanation it believes it, so that a swapped one makes it wrong, not unsure. Chance is where a student ends that "
            "believes about half of what it is told."
        )
    worse = [u - d for u, d in zip(at("random", 0.4), at(DECEIVE, 0.4), strict=True)]
    report.check("At a budget of 40 % it leaves the student below one that is taught at random.", worse, at_least=1e-6)
    if LANGUAGE in curves[0]:
        text = "A language model as the mental model beats random interventions at a budget of 40 %."
        report.claim(text, LANGUAGE, "random", _at(0.4), margin=1e-6, higher_is_better=True)


def _turn_claims(report: Report, turns: Sequence[Curves], ks: Sequence[int]) -> None:
    gain = [of_seed["teacher"][-1] - of_seed["none"][-1] for of_seed in turns]
    report.check(f"{ks[-1]} explained demonstrations are worth 5 points on new questions over unexplained ones.", gain, at_least=5.0)
    growth = [of_seed["teacher"][-1] - of_seed["teacher"][0] for of_seed in turns]
    report.check(f"More explained demonstrations help more: {ks[-1]} over {ks[0]}.", growth, at_least=1e-6)


def _turn_notes(report: Report) -> None:
    report.note(
        "Several turns: demonstrations are of a topic that the student never heard of, on eight entities, explained by values as it does "
        "itself; it takes 20 optimizer steps on them, in the place of a longer prompt, and then answers 36 other questions of the topic. "
        "Unexplained ones teach it to answer without an explanation, from which it cannot infer."
    )


def _notes(report: Report, curves: Sequence[Curves]) -> None:
    report.note(
        f"Columns: accuracy at budgets of 20, 40 and 100 %, and area, the mean height of the accuracy-budget curve. All arms but "
        f"'{PERSONALISED}', '{HUMAN}' and '{DECEIVE}' have the same blind teacher, whose style is chosen by chance; the oracle teaches "
        "whatever the student gets wrong, whatever the budget, so its accuracy is the same at all of them."
    )
    report.note(
        "The student does not know half of the topics, reads values on six of eight and relations on four: what helps depends on topic and "
        "style. The teacher is wrong in 5 % of its explanations. Nothing was tuned on the test questions."
    )
    if LANGUAGE in curves[0]:
        report.note(
            "The language model among the mental models was trained on logs of simulated students in another world, once for all seeds. "
            "Four of five of what they can and can not is what the student of the experiment should: it brings this knowledge along, where "
            "the estimator has nothing but the answers that it saw."
        )
