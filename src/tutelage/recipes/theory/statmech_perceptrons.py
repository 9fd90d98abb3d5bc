"""Perceptrons that learn one task, and a second after it: by descent, and by the theory of their order parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tutelage.data.perceptrons import perceptron_task, perceptron_teachers
from tutelage.errors import optional
from tutelage.evaluate.mean_field import Theory, first_task, generalisation_error, second_task
from tutelage.files import write_json
from tutelage.methods.theory.statmech_continual import descend, overlap
from tutelage.train.seeds import derive

if TYPE_CHECKING:
    from tutelage.train import Run

Setting = tuple[float, float, float]
"""Loads of the first and second task, and overlap of their teachers."""


def kept(run: Run, name: str, compute: Callable[[], Any]) -> Any:
    """Return what an earlier, unfinished run of the same configuration computed, or compute and keep it.

    Args:
        run: the run; without a directory nothing is kept.
        name: name of the file.
        compute: returns something ready for JSON.
    """
    path = None if run.directory is None else run.directory / "perceptrons" / f"{name}.json"
    if path is not None and path.exists():
        return json.loads(path.read_text())
    found = compute()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    return found


def one_task(load: float, size: int, steps: int, *, repeats: int, seed: int) -> float:
    """Return the generalisation error after descent on small batches, averaged over draws of teacher and patterns.

    Args:
        load: patterns per weight.
        size: weights.
        steps: optimizer steps of 64 patterns.
        repeats: number of draws.
        seed: seed of all of them.
    """
    errors = []
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(derive(seed, repeat, round(1000 * load)))
        teacher = perceptron_teachers(size, 0.0, generator=generator, count=1)[0]
        inputs, labels = _task(teacher, load, generator)
        field = torch.randn(1, size, generator=generator)
        field = descend(field, inputs, labels, steps=steps, learning_rate=0.01, decay=0.03, batch_size=64, generator=generator)
        errors.append(generalisation_error(float(overlap(field, teacher)[0])))
    return sum(errors) / len(errors)


def two_tasks(
    settings: Sequence[Setting], gammas: Sequence[float], size: int, steps: tuple[int, int], *, decay: float, seed: int
) -> list[dict[str, list[float]]]:
    """Learn a first task, then a second from its posterior under every weight of the divergence, and once from scratch.

    Settings that share the first load share the first task and its student.

    Args:
        settings: loads and overlaps.
        gammas: weights of the divergence.
        size: weights.
        steps: full-batch steps of each task.
        decay: decoupled weight decay.
        seed: seed of teachers, patterns and initial fields.

    Returns:
        For each setting `before` (error on task 1 after task 1), `first` and `second` (errors on both after task 2: one entry for each
        gamma, and a last one from scratch).
    """
    learned: dict[float, tuple[Tensor, Tensor]] = {}
    found = []
    for load, next_load, similarity in settings:
        if load not in learned:
            generator = torch.Generator().manual_seed(derive(seed, 1, round(1000 * load)))
            teacher = perceptron_teachers(size, 0.0, generator=generator, count=1)[0]
            field = torch.randn(1, size, generator=generator)
            inputs, labels = _task(teacher, load, generator)
            learned[load] = teacher, descend(field, inputs, labels, steps=steps[0], decay=decay)
        teacher, field = learned[load]
        generator = torch.Generator().manual_seed(derive(seed, 2, round(1000 * next_load), round(1000 * (similarity + 1))))
        # The product of two teachers says where they agree, and the third agrees with the first at just these sites.
        pair = perceptron_teachers(size, similarity, generator=generator)
        other = teacher * pair[0] * pair[1]
        inputs, labels = _task(other, next_load, generator)
        start = torch.cat([field.expand(len(gammas), -1), torch.randn(1, size, generator=generator)])
        weights = torch.tensor([*gammas, 0.0])
        after = descend(start, inputs, labels, steps=steps[1], decay=decay, reference=field, gamma=weights)
        found.append({"before": _errors(field, teacher), "first": _errors(after, teacher), "second": _errors(after, other)})
    return found


def _task(teacher: Tensor, load: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    task = perceptron_task(teacher, max(round(load * len(teacher)), 1), generator=generator)
    return task.column("input"), task.labels * 2.0 - 1


def _errors(field: Tensor, teacher: Tensor) -> list[float]:
    return [generalisation_error(p) for p in overlap(field, teacher).tolist()]


class Predictions:
    """Errors that the theory predicts; every first task is solved once.

    Args:
        temperature: inverse temperature B.
        points: nodes of the Gaussian integrals of the second task.

    Attributes:
        residual: largest residual of all solutions so far.
    """

    def __init__(self, temperature: float, points: int) -> None:
        self.temperature, self.points = temperature, points
        self.residual = 0.0
        self._first: dict[float, Theory] = {}

    def one(self, load: float) -> float:
        """Return the error after a first task."""
        return self._solved(load).errors[0]

    def one_by_hermite(self, load: float) -> float:
        """Return the same by 60 Gauss-Hermite points."""
        return first_task(load, inverse_temperature=self.temperature, rule="hermite", points=60).errors[0]

    def two(self, setting: Setting, gamma: float) -> tuple[float, float]:
        """Return the errors on both tasks after a second."""
        load, next_load, similarity = setting
        found = second_task(
            self._solved(load),
            next_load,
            overlap=similarity,
            gamma=gamma,
            inverse_temperature=self.temperature,
            points=self.points,
            mean_points=400,
            tolerance=1e-4,
            steps=200,
        )
        self.residual = max(self.residual, found.residual)
        return found.errors[0], found.errors[1]

    def _solved(self, load: float) -> Theory:
        if load not in self._first:
            self._first[load] = first_task(load, inverse_temperature=self.temperature)
            self.residual = max(self.residual, self._first[load].residual)
        return self._first[load]


def draw(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    points: Mapping[str, Sequence[tuple[float, float, float]]],
    x_label: str,
    title: str,
) -> Any:
    """Draw theory as lines and descent as points with error bars, in the same colour where names agree.

    Args:
        lines: positions and values by name.
        points: position, mean and standard deviation by name.
        x_label: name of the axis.
        title: heading.

    Returns:
        A matplotlib figure.
    """
    from tutelage.report.figures import PALETTE

    figure = optional("matplotlib.figure", "report").Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys([*lines, *points]))
    for number, name in enumerate(names):
        colour = PALETTE[number % len(PALETTE)]
        if name in lines:
            axes.plot(*lines[name], color=colour, linewidth=1.8, label=name)
        if name in points:
            x, mean, spread = zip(*points[name], strict=True)
            axes.errorbar(x, mean, spread, fmt="o", color=colour, markersize=5, capsize=3, label=None if name in lines else name)
    axes.set_xlabel(x_label)
    axes.set_ylabel("generalisation error")
    axes.set_title(title, fontsize=11)
    axes.set_ylim(0, 0.7)
    axes.grid(True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
