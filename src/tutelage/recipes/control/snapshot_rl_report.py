"""What the snapshot RL recipe reports: areas under curves, the paper's sentences, and pictures of the teacher's classes of status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from tutelage.environments.snapshots import Snapshots
from tutelage.errors import optional
from tutelage.methods.control.snapshot_rl import SnapshotRL
from tutelage.recipes.control.snapshot_rl import BOTH, CLASSES, PLAIN, SNAPSHOTS, TRUNCATION, Curves, SnapshotRLRecipe
from tutelage.report import Report
from tutelage.report.figures import PALETTE

Found = Mapping[int, Mapping[str, Curves]]
"""Curves by seed and arm."""


def tell(report: Report, recipe: SnapshotRLRecipe, maze: Found, simulator: Found) -> None:
    """Write numbers, claims, curves, pictures and notes into a report.

    Args:
        report: takes them.
        recipe: what was run.
        maze: curves of `success`.
        simulator: curves of `return`; empty where the simulator was skipped.
    """
    _measure(report, maze, "success", "maze success", "Maze: success of the greedy student from the true start", "probability")
    _maze_claims(report, recipe)
    seed = report.seeds[0]
    report.picture(
        "Classes of status in the maze",
        _maze_picture(recipe, recipe.maze_snapshots(seed)),
        f"Left: the teacher's snapshots of seed {seed} by class; numbers count them. Right: their values along the episodes.",
    )
    report.note(
        "In the maze the teacher is value iteration, the feature its optimal value, and success is computed exactly, not sampled; an area "
        "under a curve (auc) is the mean of the measurements."
    )
    if simulator:
        name = recipe.students.environment
        _measure(report, simulator, "return", "return", f"{name}: evaluation return in the original environment", "return")
        _simulator_claims(report, simulator)
        taught = _simulator_snapshots(recipe, report, seed)
        if taught is not None:
            caption = f"Values and first two observations of the teacher's snapshots of seed {seed}, by class of status."
            report.picture(f"Classes of status in {name}", _simulator_picture(recipe, taught), caption)
        _simulator_notes(report, recipe)


def _measure(report: Report, found: Found, key: str, metric: str, title: str, unit: str) -> None:
    arms = list(next(iter(found.values())))
    for seed, curves in found.items():
        for arm in arms:
            values = curves[arm][key]
            report.add(arm, seed, **{f"{metric} auc": float(np.mean(values)), f"final {metric}": values[-1]})
    steps = next(iter(found.values()))[arms[0]]["steps"]
    lines = {arm: np.mean([curves[arm][key] for curves in found.values()], 0) for arm in arms}
    report.curve(title, steps, lines, "environment steps", f"{unit}, mean over {len(found)} seeds" if len(found) > 1 else unit)


def _maze_claims(report: Report, recipe: SnapshotRLRecipe) -> None:
    metric = "maze success auc"
    auc = {arm: list(report.values[arm][metric].values()) for arm in recipe.maze.arms}
    report.check("S3RL masters the maze: area of success at least 0.75.", auc[BOTH], at_least=0.75)
    report.check(
        "Plain Q-learning finds no way through the maze: 0.1 minus its area of success is not negative.", [0.1 - v for v in auc[PLAIN]]
    )
    report.claim(
        "S3RL learns the maze faster than uniform snapshots, by 0.02 of area.", BOTH, SNAPSHOTS, metric, margin=0.02, higher_is_better=True
    )
    if TRUNCATION in auc:
        text = "Truncation alone improves on uniform snapshots in the maze."
        report.claim(text, TRUNCATION, SNAPSHOTS, metric, higher_is_better=True)
    if CLASSES in auc:
        text = "Classification alone is no worse than uniform snapshots in the maze, within 0.05 of area."
        report.claim(text, CLASSES, SNAPSHOTS, metric, margin=-0.05, higher_is_better=True)


def _simulator_claims(report: Report, simulator: Found) -> None:
    metric = "return auc"
    ours, plain = (report.values[arm][metric] for arm in (BOTH, PLAIN))
    report.claim("S3RL learns the simulator faster than the plain student.", BOTH, PLAIN, metric, higher_is_better=True)
    better = [float(ours[seed] > plain[seed]) for seed in simulator]
    report.check("S3RL's area of evaluation return is above the plain student's in every seed (share of seeds).", better, at_least=1.0)
    slack = 0.05 * abs(report.mean(SNAPSHOTS, metric))
    text = "S3RL learns the simulator no slower than uniform snapshots, within 5 percent of area."
    report.claim(text, BOTH, SNAPSHOTS, metric, margin=-slack, higher_is_better=True)


def _simulator_notes(report: Report, recipe: SnapshotRLRecipe) -> None:
    students = recipe.students
    report.note(
        f"The simulator's experiment is the sheet's small one: {students.algorithm.upper()} on {students.environment} for "
        f"{students.steps:,} steps, of which {students.options.snapshot_timesteps:,} from snapshots, over {students.seeds} seeds, "
        f"with hidden layers of {students.widths}; the published runs take 1,000,000 steps on MuJoCo, with curves in figures only."
    )
    if (students.environment, students.algorithm) == ("MountainCarContinuous-v0", "sac"):
        report.note(
            "SAC was chosen after TD3: of the sheet's two, TD3 was tried first (seed 0, 20,000 steps), and S3RL ended at full throttle, "
            "return -99.9, below the plain TD3's 0. SAC with S3RL also falls below 0 before it finds the goal: its area depends on "
            "when that is."
        )
    if students.teacher == "rule":
        report.note(
            "The teacher of the mountain car is a rule that pumps energy; its critic is fitted to the rule's own discounted returns."
        )


def _simulator_snapshots(recipe: SnapshotRLRecipe, report: Report, seed: int) -> Snapshots | None:
    """Return the teacher's snapshots where they are had for nothing."""
    if recipe.students.teacher == "trained":
        return None
    from tutelage.recipes.control.snapshot_rl_students import teach
    from tutelage.train import Run

    return teach(recipe.students, seed, Run(seeds=(seed,)))


def _figure(panels: int) -> tuple[Any, list[Any]]:
    figure = optional("matplotlib.figure", "report").Figure(figsize=(4.3 * panels, 3.6), layout="constrained", facecolor="white")
    found = list(figure.subplots(1, panels, squeeze=False)[0])
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def _along(axes: Any, snapshots: Snapshots, classes: Any) -> None:
    """Draw values against time along each episode, snapshots in the colour of their class."""
    for episode in np.unique(snapshots.episode):
        inside = snapshots.episode == episode
        axes.plot(snapshots.elapsed[inside], snapshots.values[inside], color="#c8ccd4", linewidth=0.8, zorder=1)
    for number in np.unique(classes):
        inside = classes == number
        label = f"class {number + 1}: {int(inside.sum())}"
        axes.scatter(snapshots.elapsed[inside], snapshots.values[inside], s=16, color=PALETTE[number % len(PALETTE)], label=label, zorder=2)
    axes.set_xlabel("steps since the reset")
    axes.set_ylabel("teacher's value")
    axes.legend(frameon=False, fontsize=8)


def _maze_picture(recipe: SnapshotRLRecipe, snapshots: Snapshots) -> Any:
    from tutelage.environments.mazes import SerpentineMaze

    maze, classes = SerpentineMaze(recipe.maze.size, recipe.maze.slip), SnapshotRL(**asdict(recipe.maze.options)).classes(snapshots)
    figure, (grid, along) = _figure(2)
    grid.imshow(maze.walls, cmap="Greys", vmin=0, vmax=1.6)
    cells = snapshots.states["cell"]
    for cell in np.unique(cells):
        row, column = divmod(int(cell), maze.size)
        colour = PALETTE[int(classes[cells == cell][0]) % len(PALETTE)]
        grid.scatter(column, row, s=150, color=colour, marker="s")
        grid.text(column, row, str(int((cells == cell).sum())), ha="center", va="center", fontsize=7, color="white")
    for text, cell, aside in (("S", maze.start, 0.36), ("G", maze.goal, 0.0)):
        grid.text(cell % maze.size - aside, cell // maze.size - aside, text, fontsize=8, weight="bold", ha="center", va="center")
    grid.set_xticks([])
    grid.set_yticks([])
    _along(along, snapshots, classes)
    return figure


def _simulator_picture(recipe: SnapshotRLRecipe, snapshots: Snapshots) -> Any:
    classes = SnapshotRL(**asdict(recipe.students.options)).classes(snapshots)
    figure, (plane, along) = _figure(2)
    for number in np.unique(classes):
        inside = classes == number
        plane.scatter(*snapshots.observations[inside, :2].T, s=16, color=PALETTE[number % len(PALETTE)])
    plane.set_xlabel("observation 1")
    plane.set_ylabel("observation 2")
    _along(along, snapshots, classes)
    return figure
