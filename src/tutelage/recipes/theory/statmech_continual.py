"""Recipe of the statistical mechanics of continual learning: theory beside descent for perceptrons, and permuted digits for deep nets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from tutelage.errors import OptionError
from tutelage.recipes.recipe import Recipe, report_for

if TYPE_CHECKING:
    from tutelage.recipes.theory.statmech_perceptrons import Predictions
    from tutelage.report import Report
    from tutelage.train import Run


@dataclass(frozen=True)
class StatMechOptions:
    """Options of the method for deep networks."""

    gamma: float = 1.0
    """Weight of the divergence from the previous posterior."""
    anchor: Literal["task", "step"] = "task"
    """Held to the fields after the previous task, or one optimizer step earlier (released code)."""
    divergence: Literal["exact", "quadratic"] = "exact"
    """The divergence itself, or its second-order expansion, which is elastic weight consolidation of the fields."""
    prior: Literal["none", "flat"] = "none"
    """What the first task is held to with anchor=task."""
    draws: int = 1
    """Stochastic forward passes that an answer averages."""


@dataclass(frozen=True)
class DeepOptions:
    """Deep networks on images.

    The published network and number of tasks, `--deep.data mnist-10k --deep.widths 512 512 --deep.tasks 5 --deep.epochs 5`, take about
    60 ms of one core for a step of each of the seven variational arms and 9 ms for one of the four others: some 20 minutes for a seed.
    """

    data: str = "digits"
    """Data set of the first task; empty leaves the deep networks out. fashion-mnist:FOLDER reads any folder of IDX files, MNIST's too."""
    then: str = ""
    """Data set of the second and last task, in place of permutations: fashion-mnist after mnist-10k, say, with slope 1, 40 epochs at a
    learning rate of 0.005 and 32,000 samples (with 512 and 512 units about 25 minutes of one core for each variational arm and seed)."""
    tasks: int = 3
    """Permuted tasks; the first is permuted too."""
    samples: int | None = None
    """Most training images (32,000 in the paper); all by default."""
    widths: tuple[int, ...] = (100, 100)
    """Hidden units (512 and 512 in the paper)."""
    epochs: int = 15
    """Epochs of each task (5 in the paper, of 20 times as many images)."""
    batch_size: int = 64
    """Images of a batch."""
    learning_rate: float = 0.01
    """Of Adam, for fields."""
    binary_learning_rate: float = 0.005
    """Of Adam, for hidden weights of the binary baselines."""
    peak: float = 10.0
    """Sharpness is peak tanh(start + slope progress) over all tasks."""
    start: float = 0.1
    """See peak."""
    slope: float = 2.0
    """See peak; 1 for two data sets."""
    gammas: tuple[float, ...] = (0.03, 0.1, 0.3)
    """Weights of the divergence beside 0 and that of the options; validation data choose among all but 0."""
    metaplasticities: tuple[float, ...] = (1.35, 5.0, 15.0)
    """Strengths of the metaplastic baseline, among which validation data choose."""


@dataclass(frozen=True)
class StatMechRecipe(Recipe):
    """Perceptrons that learn one task and then another, beside the theory's prediction; networks on three permutations of digits.

    The paper's perceptrons have 1000 weights and 20 repeats: `--size 1000 --second-size 1000 --deep.data ''` with 20 seeds, somewhat more
    than a minute of one core for each.
    """

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)

    loads: tuple[float, ...] = (0.3, 0.5, 0.8, 1.0, 1.2, 1.4)
    """Patterns per weight of a single task."""
    size: int = 300
    """Weights of the perceptrons that learn a single task."""
    repeats: int = 2
    """Draws of teacher and patterns for each load and seed."""
    steps: int = 2000
    """Optimizer steps of 64 patterns."""
    settings: tuple[tuple[float, float, float], ...] = (
        (2.0, 1.0, 0.0),
        (2.0, 1.0, 0.5),
        (2.0, 1.0, -0.5),
        (2.0, 0.5, 0.0),
        (2.0, 2.0, 0.0),
        (1.5, 0.5, 0.0),
    )
    """Two tasks: load of the first and of the second, overlap of their teachers."""
    gammas: tuple[float, ...] = (0.0, 0.1, 1.0)
    """Weights of the divergence for perceptrons, in increasing order."""
    second_size: int = 400
    """Weights of the perceptrons that learn two tasks."""
    second_steps: tuple[int, int] = (1500, 2500)
    """Full-batch steps of the first and of the second task."""
    decay: float = 1e-3
    """Decoupled weight decay of their fields."""
    temperature: float = 20.0
    """Inverse temperature B of the theory."""
    line: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    """Second loads at which the theory is drawn."""
    points: int = 121
    """Nodes of the Gaussian integrals of the second task's theory."""
    options: StatMechOptions = StatMechOptions()
    """Options of the method for deep networks."""
    deep: DeepOptions = field(default_factory=DeepOptions)
    """Deep networks."""

    def quick(self) -> Self:
        """Return the variant with 100 weights and a few hundred steps, one setting of two tasks, and four deep arms."""
        return replace(
            self,
            loads=(0.5, 1.0),
            size=100,
            steps=300,
            settings=((2.0, 1.0, 0.0),),
            second_size=100,
            second_steps=(400, 600),
            line=(),
            points=61,
            deep=replace(self.deep, tasks=2, epochs=6, gammas=(0.1,), metaplasticities=(5.0,)),
        )

    def run(self, run: Run) -> Report:
        """Run the three experiments for every seed, and check the paper's sentences."""
        from tutelage.recipes.theory.statmech_perceptrons import Predictions

        if list(self.gammas) != sorted(set(self.gammas)) or len(self.gammas) < 2 or self.gammas[0] != 0:
            raise OptionError(f"gammas is {self.gammas}; expected 0 and larger numbers in increasing order.")
        report = report_for(run, "Statistical mechanics of continual learning (Li et al. 2023)")
        predictions = Predictions(self.temperature, self.points)
        with _one_thread():
            self._one_task(run, report, predictions)
            self._two_tasks(run, report, predictions)
        if self.deep.data:
            from tutelage.recipes.theory.statmech_deep import compare

            compare(run, report, self.deep, self.options)
        report.note(
            "The theory's Gaussian integrals are sums over equally spaced nodes: 60 Gauss-Hermite nodes, in the column "
            "theory_error_hermite, miss the steps of their integrands from a load of about 1 on. Perceptrons of one task learn in batches "
            "of 64, those of two tasks from all patterns at once; single draws of finite perceptrons scatter by several hundredths."
        )
        report.note(
            "The theory is of equilibrium: with gamma 0 it has forgotten all that the teachers do not share, and at a second load of 2 it "
            "finds the second teacher where gamma is small, while descent from the first task's fields keeps part of them. "
            f"The order parameters of the least converged solution still moved by {predictions.residual:.1g} in an iteration."
        )
        return report

    def _one_task(self, run: Run, report: Report, predictions: Predictions) -> None:
        from tutelage.recipes.theory import statmech_perceptrons as perceptrons

        for load in self.loads:
            arm, predicted, coarse = f"one task, a={load:g}", predictions.one(load), predictions.one_by_hermite(load)
            for seed in run.seeds:
                work = partial(perceptrons.one_task, load, self.size, self.steps, repeats=self.repeats, seed=seed)
                error = perceptrons.kept(run, f"seed-{seed}-one-{load:g}", work)
                report.add(arm, seed, error=error, theory_error=predicted, theory_error_hermite=coarse)
            bound = 0.03 if load <= 0.8 else 0.06
            _agree(report, f"Theory and descent agree within {bound:g} at a={load:g}.", arm, "error", "theory_error", bound)
        measured = [(load, report.mean(f"one task, a={load:g}", "error")) for load in self.loads]
        spreads = [report.spread(f"one task, a={load:g}", "error") for load in self.loads]
        axis = [0.05 * k for k in range(1, 31)] if self.line else list(self.loads)
        figure = perceptrons.draw(
            {"theory": (axis, [predictions.one(a) for a in axis])},
            {"theory": [(*point, spread) for point, spread in zip(measured, spreads, strict=True)]},
            "load a, patterns per weight",
            "One task: theory (line) and descent (points)",
        )
        report.picture(
            "One task", figure, "Generalisation error against the load: replica theory as a line, descent with its spread over seeds."
        )

    def _two_tasks(self, run: Run, report: Report, predictions: Predictions) -> None:
        from tutelage.recipes.theory import statmech_perceptrons as perceptrons

        for seed in run.seeds:
            sizes = (self.settings, self.gammas, self.second_size, self.second_steps)
            rows = perceptrons.kept(run, f"seed-{seed}-two", partial(perceptrons.two_tasks, *sizes, decay=self.decay, seed=seed))
            for setting, row in zip(self.settings, rows, strict=True):
                arms = [_arm(setting, gamma) for gamma in self.gammas] + [_scratch(setting)]
                for arm, first, second in zip(arms, row["first"], row["second"], strict=True):
                    report.add(arm, seed, error_1=first, error_2=second)
                    if arm != _scratch(setting):
                        report.add(arm, seed, error_1_before=row["before"][0], error_1_rise=first - row["before"][0])
        for setting in self.settings:
            for gamma in self.gammas:
                first, second = predictions.two(setting, gamma)
                for seed in run.seeds:
                    report.add(_arm(setting, gamma), seed, theory_error_1=first, theory_error_2=second)
            self._second_claims(report, setting)
        if self.line:
            self._draw_second(report, predictions)

    def _second_claims(self, report: Report, setting: tuple[float, float, float]) -> None:
        where, top = _where(setting), self.gammas[-1]
        for less, more in zip(self.gammas, self.gammas[1:], strict=False):
            text = f"At {where}, gamma {more:g} leaves a lower error on task 1 than gamma {less:g}."
            report.claim(text, _arm(setting, more), _arm(setting, less), "error_1")
        rises = {g: report.values[_arm(setting, g)]["error_1_rise"] for g in (0.0, top)}
        if setting[:2] == (2.0, 1.0):
            spared = [0.5 * rises[0.0][seed] - rises[top][seed] for seed in report.seeds]
            report.check(f"At {where}, gamma {top:g} at least halves forgetting (half the rise without it, less the rise with it).", spared)
            if setting[2] > 0 and 0.1 in self.gammas:
                text = f"At {where}, task 2 is learned better from task 1 with gamma 0.1 than from scratch."
                report.claim(text, _arm(setting, 0.1), _scratch(setting), "error_2")
                other = (*setting[:2], -setting[2])
                if other in self.settings:
                    text = f"Teachers of overlap {setting[2]:g} transfer more to task 2 than those of {other[2]:g} (gamma 0.1)."
                    report.claim(text, _arm(setting, 0.1), _arm(other, 0.1), "error_2")
        for task in (1, 2):
            text = f"At {where}, gamma {top:g}, theory and descent agree within 0.05 on task {task} (bound ours)."
            _agree(report, text, _arm(setting, top), f"error_{task}", f"theory_error_{task}", 0.05)

    def _draw_second(self, report: Report, predictions: Predictions) -> None:
        from tutelage.recipes.theory.statmech_perceptrons import draw

        top, load = self.gammas[-1], self.settings[0][0]
        for task in (1, 2):
            lines, points = {}, {}
            for overlap in sorted({setting[2] for setting in self.settings}):
                name = f"r0 = {overlap:g}"
                lines[name] = self.line, [predictions.two((load, a, overlap), top)[task - 1] for a in self.line]
                arms = [(s[1], _arm(s, top)) for s in self.settings if (s[0], s[2]) == (load, overlap)]
                points[name] = [(a, report.mean(arm, f"error_{task}"), report.spread(arm, f"error_{task}")) for a, arm in arms]
            figure = draw(lines, points, "load of task 2", f"Error on task {task} after task 2: theory (lines), descent (points)")
            caption = f"Task 1 at load {load:g}, then task 2 with gamma {top:g}, for teachers of three overlaps r0."
            report.picture(f"Two tasks: error on task {task}", figure, caption)


def _arm(setting: tuple[float, float, float], gamma: float) -> str:
    return f"{_where(setting)}, gamma {gamma:g}"


def _scratch(setting: tuple[float, float, float]) -> str:
    return f"{_where(setting)}, from scratch"


def _where(setting: tuple[float, float, float]) -> str:
    return "a1={:g}, a2={:g}, r0={:g}".format(*setting)


def _agree(report: Report, text: str, arm: str, measured: str, predicted: str, bound: float) -> None:
    """Check that the mean over seeds is within a bound of the prediction; recorded as minus the distance."""
    gaps = [report.values[arm][measured][seed] - report.values[arm][predicted][seed] for seed in report.seeds]
    sign = -1.0 if sum(gaps) > 0 else 1.0
    report.check(text, [sign * gap for gap in gaps], at_least=-bound)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: the matrices of perceptrons are small, and threads would cost more than they bring."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


RECIPE = StatMechRecipe
OPTIONS = StatMechOptions
