"""What ALP-GMM's recipe says and shows: mastered tasks over time, and where tasks were drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.environments import TaskBox, ToySpace
from tutelage.errors import optional
from tutelage.recipes.control.alp_gmm import COVAR, OURS, RANDOM, RIAC
from tutelage.report import Report
from tutelage.train.policies.record import TaskRecord
from tutelage.train.policies.visits import Visited

_NAMES = {RIAC: "RIAC", COVAR: "Covar-GMM"}

Visits = Mapping[str, Sequence[Visited]]


def tell_toy(report: Report, visits: Visits, cells: int) -> None:
    """Put the first toy space into the report: claims, curve and picture.

    Args:
        report: the report, whose arms are filled.
        visits: for each teacher what it did with every seed.
        cells: cells along a side.
    """
    _mastered_curve(report, visits, f"Mastered cells of {cells} x {cells}")
    values = report.values
    ours, chance = values[OURS]["mastered"], values[RANDOM]["mastered"]
    report.check("ALP-GMM masters at least 20 % of the cells.", list(ours.values()), at_least=20)
    ratios = [ours[seed] / max(chance[seed], 1e-9) for seed in ours]
    report.check("ALP-GMM masters at least four times as much as random tasks.", ratios, at_least=4)
    gap = min(ours.values()) - max(chance.values())
    report.check("Every seed of ALP-GMM is above every seed of random tasks.", [gap], at_least=1e-9)
    for name in (RIAC, COVAR):
        if name in visits:
            report.claim(f"{_NAMES[name]} beats random tasks.", name, RANDOM, "mastered", margin=1)
    report.picture(
        "Where tasks are drawn over time",
        drawn_over_time({name: runs[0].record for name, runs in visits.items()}, ToySpace(cells).box),
        "Tasks of the first seed, one row per teacher, one column per fifth of the training, oldest first; the lighter a task, the higher "
        "its value (0 to 1: competence in its cell). Only the cell at the lower left is open at first.",
    )
    report.note(
        "Columns: mastered is the share of cells with a competence above 75, in percent, after the last episode. The toy space has no "
        "network: its student is a table of visits."
    )
    for name in (RIAC, COVAR):
        if name in visits and report.mean(name, "mastered") > report.mean(OURS, "mastered"):
            report.note(
                f"{_NAMES[name]} masters more of the toy space than ALP-GMM here. Competence in it only rises and has no noise, and "
                "nothing is forgotten: absolute progress, which is meant for students that do forget, may have nothing to win there."
            )


def tell_irrelevant(report: Report, visits: Visits, where: str) -> None:
    """Put the toy space with irrelevant parameters into the report.

    Args:
        report: the report, whose arms are filled.
        visits: for each teacher what it did with every seed.
        where: what is added to the names of arms.
    """
    _mastered_curve(report, visits, f"Mastered cells of 5 x 5{where}")
    report.claim(
        "With irrelevant parameters, ALP-GMM masters 20 points more than random tasks.",
        OURS + where,
        RANDOM + where,
        "mastered",
        margin=20,
    )


def _mastered_curve(report: Report, visits: Visits, title: str) -> None:
    axis = [row["episode"] for row in next(iter(visits.values()))[0].rows]
    lines = {name: np.mean([[row["mastered"] for row in run.rows] for run in runs], 0) for name, runs in visits.items()}
    report.curve(title, axis, lines, "episode", "mastered, percent")


def drawn_over_time(records: Mapping[str, TaskRecord], box: TaskBox, *, slices: int = 5, axes: tuple[int, int] = (0, 1)) -> Any:
    """Draw where tasks were drawn, one row per teacher and one column per part of its training.

    Args:
        records: for each teacher its record.
        box: the tasks.
        slices: parts of the training, of equally many episodes.
        axes: the two parameters that are drawn.

    Returns:
        A matplotlib figure.
    """
    figure = optional("matplotlib.figure", "report").Figure(
        figsize=(1.9 * slices + 0.6, 1.9 * len(records) + 0.3), layout="constrained", facecolor="white"
    )
    x, y = axes
    for row, (name, record) in enumerate(records.items()):
        low, high = np.percentile(record.values, [2, 98]) if len(record) else (0.0, 1.0)
        for column, part in enumerate(np.array_split(np.arange(len(record)), slices)):
            panel = figure.add_subplot(len(records), slices, row * slices + column + 1)
            panel.scatter(
                *record.tasks[part][:, [x, y]].T, c=record.values[part], s=1.5, cmap="viridis", vmin=low, vmax=max(high, low + 1e-9)
            )
            panel.set_xlim(box.low[x], box.high[x])
            panel.set_ylim(box.low[y], box.high[y])
            panel.tick_params(labelsize=6)
            if column:
                panel.set_yticklabels([])
            else:
                panel.set_ylabel(f"{name}\n{box.names[y]}", fontsize=8)
            if row == 0 and len(part):
                panel.set_title(f"episodes {part[0] + 1} to {part[-1] + 1}", fontsize=7)
            if row == len(records) - 1:
                panel.set_xlabel(box.names[x], fontsize=8)
            else:
                panel.set_xticklabels([])
    return figure
