"""What the rounds of PCoreSet's recipe say about the paper's sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tutelage.evaluate import learning_curves
from tutelage.recipes.instances.pcoreset import ALONE, BADGE, ENTROPY, FEW_SHOT, LABELLED, OURS, RANDOM, TEACHER, UNLABELLED
from tutelage.recipes.rounds import Round
from tutelage.report import Report, figures

Histories = dict[str, list[list[Round]]]


def tell(report: Report, histories: Histories, rules: Sequence[str], elsewhere: str = "") -> None:
    """Put numbers, curves, claims and notes of all rounds into a report.

    Args:
        report: the report, its seeds in the order of the histories.
        histories: for each arm the rounds of every seed.
        rules: rules that were run with and without a teacher.
        elsewhere: another data set on which the first claim on the rules is checked again.
    """
    early, late = _spans(len(next(iter(histories.values()))[0]))
    for arm, runs in histories.items():
        for seed, rounds in zip(report.seeds, runs, strict=True):
            _add(report, arm, seed, rounds, early, late)
    _ranks(report, histories, rules, late)
    _curves(report, histories, rules)
    _claims(report, histories, rules, early, late)
    if elsewhere:
        ours, theirs = (f"{rule}, {elsewhere}" for rule in (OURS, RANDOM))
        text = f"On {elsewhere}, PCoreSet beats random queries over rounds {late[0]} to {late[-1]} by a point."
        report.claim(text, ours, theirs, "late", margin=1.0)
        labels = [entry.labels for entry in histories[ours][0]]
        report.curve(f"Test accuracy on {elsewhere}", labels, _lines(histories, (ours, theirs)), "labels", "accuracy, percent")
    report.note(
        "Columns: accuracy, ece, nll and brier of the last round's student on test data; area: mean height of its accuracy over all "
        f"rounds; early: mean accuracy of rounds {early[0]} to {early[-1]}; late: of rounds {late[0]} to {late[-1]}; rank: mean rank among "
        "the rules with a teacher in these; coverage: mean number of classes among the queries of a round. Round 1 has one label of each "
        "class and is shared by all rules, so it does not tell them apart."
    )
    if RANDOM in rules and report.mean(OURS, "late") < report.mean(RANDOM, "late") + 1:
        report.note(
            "PCoreSet does not lead random queries by a point here. All classes are equally frequent in the pool, and random queries reach "
            f"{report.mean(RANDOM, 'coverage'):.1f} of them a round against its {report.mean(OURS, 'coverage'):.1f}. Students also start "
            "from random weights, where the paper's are pretrained: what they say in the first rounds may be too far from the teacher's "
            "clusters, on which the rule relies; that was not tested."
        )
    report.note(
        "One teacher serves all seeds. Its answers are computed once, on plain images, so students see no augmentation. No validation data "
        "is used: the last weights of each round are kept, as published."
    )


def draw_simplex(report: Report, probabilities: Tensor, labelled: Tensor, asked: Mapping[str, Sequence[int]]) -> None:
    """Draw what the first student says about the pool in two dimensions, and which of it each rule asks about.

    Args:
        report: takes the picture.
        probabilities: of the pool, `[N, C]`.
        labelled: positions of the samples that have labels.
        asked: for each rule the positions of its first queries.
    """
    centred = probabilities.double() - probabilities.double().mean(0)
    plane = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
    points = {"pool": plane, "labelled": plane[labelled]} | {f"asked by {rule}": plane[list(rows)] for rule, rows in asked.items()}
    figure = figures.scatter(
        {name: [(x, y) for x, y in rows.tolist()] for name, rows in points.items()},
        title="Probabilities of the first round's student",
        x_label="first principal component",
        y_label="second principal component",
    )
    caption = "Answers about the pool after round 1, by two principal components, and the samples that each rule asks about next."
    report.picture("Where labels are asked", figure, caption)


def _spans(rounds: int) -> tuple[range, range]:
    """The early rounds (1 to 3) and the late ones (from 3 on), as far as there are so many."""
    return range(1, min(3, rounds) + 1), range(min(3, rounds), rounds + 1)


def _accuracy(rounds: list[Round]) -> list[float]:
    return [entry.metrics["accuracy"] for entry in rounds]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _over(rounds: list[Round], span: range) -> float:
    return _mean([_accuracy(rounds)[number - 1] for number in span])


def _add(report: Report, arm: str, seed: int, rounds: list[Round], early: range, late: range) -> None:
    report.add(arm, seed, **rounds[-1].metrics, labels=rounds[-1].labels)
    report.add(arm, seed, area=learning_curves.area(_accuracy(rounds), [entry.labels for entry in rounds]))
    report.add(arm, seed, early=_over(rounds, early), late=_over(rounds, late))
    report.add(arm, seed, coverage=_mean([entry.classes for entry in rounds[:-1]]))


def _ranks(report: Report, histories: Histories, rules: Sequence[str], late: range) -> None:
    for place, seed in enumerate(report.seeds):
        found = learning_curves.ranks({rule: _accuracy(histories[rule][place]) for rule in rules})
        for rule, ranks in found.items():
            report.add(rule, seed, rank=_mean([ranks[number - 1] for number in late]))


def _lines(histories: Histories, arms: Sequence[str]) -> dict[str, list[float]]:
    return {arm: [_mean(column) for column in zip(*map(_accuracy, histories[arm]), strict=True)] for arm in arms}


def _curves(report: Report, histories: Histories, rules: Sequence[str]) -> None:
    labels = [entry.labels for entry in histories[rules[0]][0]]

    report.curve("Test accuracy with a teacher", labels, _lines(histories, rules), "labels", "accuracy, percent")
    report.curve(
        "Test accuracy without a teacher", labels, _lines(histories, [f"{rule}{ALONE}" for rule in rules]), "labels", "accuracy, percent"
    )
    others = [arm for arm in (OURS, f"{OURS}{ALONE}", LABELLED, UNLABELLED, FEW_SHOT, BADGE) if arm in histories]
    report.curve("What the teacher speaks about", labels, _lines(histories, others), "labels", "accuracy, percent")
    coverage = {rule: [_mean([rounds[place].classes for rounds in histories[rule]]) for place in range(len(labels) - 1)] for rule in rules}
    report.curve("Classes among the queries", labels[:-1], coverage, "labels", "classes")
    ranks = learning_curves.ranks(_lines(histories, rules))
    report.curve("Rank by mean accuracy", labels, ranks, "labels", "rank, 1 is best")


def _claims(report: Report, histories: Histories, rules: Sequence[str], early: range, late: range) -> None:
    taught = {rule: histories[rule] for rule in rules}
    alone = {rule: histories[f"{rule}{ALONE}"] for rule in rules}
    seeds = range(len(report.seeds))
    for rule in rules:
        gaps = [[a - b for a, b in zip(_accuracy(taught[rule][s]), _accuracy(alone[rule][s]), strict=True)] for s in seeds]
        worst = min(early, key=lambda number: _mean([gap[number - 1] for gap in gaps]))
        text = f"Under '{rule}' a teacher helps in each of rounds {early[0]} to {early[-1]} (least in round {worst}; points of accuracy)."
        report.check(text, [gap[worst - 1] for gap in gaps], at_least=1e-6)
    mean = [_mean([_over(taught[r][s], early) - _over(alone[r][s], early) for r in rules]) for s in seeds]
    report.check("Over these rounds and all rules a teacher is worth 5 points of accuracy.", mean, at_least=5.0)

    span = f"over rounds {late[0]} to {late[-1]}"
    best = max((rule for rule in rules if rule != OURS), key=lambda rule: report.mean(rule, "late"))
    report.claim(
        f"With a teacher, PCoreSet is first {span} or within 0.5 points of the best other rule ({best}).", OURS, best, "late", margin=-0.5
    )
    if RANDOM in rules:
        report.claim(f"With a teacher, PCoreSet beats random queries {span} by a point.", OURS, RANDOM, "late", margin=1.0)
        ours, theirs = ([_over(rounds, late) for rounds in histories[rule]] for rule in (OURS, RANDOM))
        share = learning_curves.paired_bootstrap(ours, theirs)
        report.check(f"In 90% of paired resamples of the seeds PCoreSet beats random queries {span}.", [share], at_least=0.9)
    if ENTROPY in rules:
        report.claim(
            "PCoreSet asks about more classes per round than entropy does.", OURS, ENTROPY, "coverage", margin=1e-6, higher_is_better=True
        )
    if LABELLED in histories:
        report.claim(
            "What the teacher says about unlabelled samples is worth more late accuracy than PCoreSet gains over random queries.",
            OURS,
            LABELLED,
            "late",
            margin=max(report.mean(OURS, "late") - report.mean(RANDOM, "late"), 0.0) if RANDOM in rules else 0.0,
        )
    if TEACHER in report.values:
        report.claim("After the last round the student is better than its teacher.", OURS, TEACHER, "accuracy")
