"""Pictures of the grokking recipe: losses, their parts, and the alignment of kernel and features, against steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.errors import optional
from tutelage.methods.theory.grokking import Trajectory
from tutelage.recipes.theory.grokking import GrokkingRecipe, arm
from tutelage.report import Report
from tutelage.report.figures import PALETTE


def draw(report: Report, recipe: GrokkingRecipe, arms: Mapping[str, Trajectory]) -> None:
    """Put the pictures of one seed into a report.

    Args:
        report: takes them.
        recipe: what was run.
        arms: trajectories of the first seed.
    """
    base, seed = recipe.options, report.seeds[0]
    lazy = {f"alpha {alpha:g}": arms[arm(alpha, recipe.sweep_epsilon)] for alpha in recipe.alphas}
    loss_caption = f"Training (dashed) and test loss (solid) of seed {seed} against steps, both axes logarithmic"
    figure = _losses(lazy, f"epsilon {recipe.sweep_epsilon:g}", linear=True)
    report.picture("Laziness delays", figure, f"{loss_caption}; dotted: test loss of the linearised student, the same for every alpha.")
    if recipe.epsilons:
        shown = {f"epsilon {epsilon:g}": arms[arm(base.alpha, epsilon)] for epsilon in recipe.epsilons}
        report.picture("Misalignment delays", _losses(shown, f"alpha {base.alpha:g}"), f"{loss_caption}.")
    for name in dict.fromkeys([*(arm(a, recipe.sweep_epsilon) for a in recipe.alphas), *(arm(base.alpha, e) for e in recipe.epsilons[:1])]):
        caption = f"Expected test loss of seed {seed} and its parts: A, size; B, features off the teacher's direction; C, linear functions."
        report.picture(f"Where the test loss comes from: {name}", _parts(arms[name], name), caption)
    report.picture(
        "Kernel and features turn to the teacher",
        _alignments(lazy),
        f"Alignment of the tangent kernel with the labels (CKA), of the change of M with the teacher, and relative change of the kernel; "
        f"seed {seed}.",
    )
    if recipe.sample_counts:
        counts = sorted({recipe.samples, *recipe.sample_counts})
        name = arm(base.alpha, base.epsilon)
        shown = {f"{count} samples": arms[name if count == recipe.samples else f"{count} samples"] for count in counts}
        report.picture("Data remove the delay", _losses(shown, name), f"{loss_caption}.")
    for kind, title in (("digits", "MLP on digits"), ("student-teacher", "ReLU committee"), ("sums", "Transformer on sums modulo a prime")):
        shown = {name.removeprefix(f"{kind}, "): t for name, t in arms.items() if name.startswith(f"{kind}, ")}
        if shown:
            report.picture(f"Output scale: {title}", _losses(shown, title), f"{loss_caption}.")


def _axes(count: int = 1) -> tuple[Any, list[Any]]:
    figure = optional("matplotlib.figure", "report").Figure(figsize=(6.4 if count == 1 else 3.6 * count, 3.6), layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, alpha=0.25, linewidth=0.7)
        axes.set_xscale("log")
        axes.set_xlabel("steps", fontsize=9)
        axes.tick_params(labelsize=9)
    return figure, panels


def _past_start(trajectory: Trajectory, name: str) -> tuple[Sequence[int], list[float]]:
    """Steps and values from step 1 on, as a logarithmic axis has no 0."""
    return trajectory.steps[1:], list(trajectory.values[name][1:])


def _losses(shown: Mapping[str, Trajectory], title: str, *, linear: bool = False) -> Any:
    figure, (axes,) = _axes()
    for number, (name, trajectory) in enumerate(shown.items()):
        colour = PALETTE[number % len(PALETTE)]
        for key, style, label in (("test_loss", "-", name), ("train_loss", "--", None)):
            steps, values = _past_start(trajectory, key)
            axes.plot(steps, [max(v / trajectory.power, 1e-6) for v in values], style, color=colour, linewidth=1.8, label=label)
    last = list(shown.values())[-1]
    if linear and "linear_test_loss" in last.values:
        steps, values = _past_start(last, "linear_test_loss")
        axes.plot(steps, [v / last.power for v in values], ":", color="#0a0b0c", linewidth=1.8, label="linearised")
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-4)
    axes.set_ylabel("loss / loss of knowing nothing", fontsize=9)
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _parts(trajectory: Trajectory, title: str) -> Any:
    figure, (axes,) = _axes()
    rows = [_past_start(trajectory, name) for name in "ABC"]
    total = [sum(values) for values in zip(*(row[1] for row in rows), strict=True)]
    axes.plot(rows[0][0], [v / trajectory.power for v in total], color="#0a0b0c", linewidth=1.8, label="A + B + C")
    for number, (name, (steps, values)) in enumerate(zip("ABC", rows, strict=True)):
        axes.plot(steps, [v / trajectory.power for v in values], color=PALETTE[number], linewidth=1.8, label=name)
    steps, values = _past_start(trajectory, "test_loss")
    axes.plot(steps, [v / trajectory.power for v in values], "--", color="#8a8f98", linewidth=1.4, label="measured test loss")
    axes.set_ylabel("loss / E[y^2]", fontsize=9)
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _alignments(shown: Mapping[str, Trajectory]) -> Any:
    keys = {
        "cka": "CKA of kernel and labels",
        "alignment": "alignment of the change of M",
        "kernel_change": "relative change of the kernel",
    }
    figure, panels = _axes(len(keys))
    for axes, (key, title) in zip(panels, keys.items(), strict=True):
        for number, (name, trajectory) in enumerate(shown.items()):
            steps, values = _past_start(trajectory, key)
            axes.plot(steps, values, color=PALETTE[number % len(PALETTE)], linewidth=1.8, label=name)
        axes.set_title(title, fontsize=11)
    panels[-1].set_yscale("log")
    panels[0].legend(frameon=False, fontsize=9)
    return figure
