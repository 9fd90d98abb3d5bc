"""What the curves of the grokking recipe say about the paper's sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from tutelage.methods.theory.grokking import Trajectory
from tutelage.recipes.theory.grokking import GrokkingRecipe, arm
from tutelage.recipes.theory.grokking_pictures import draw
from tutelage.report import Report

if TYPE_CHECKING:
    from tutelage.evaluate.delay import Delay

Found = dict[int, dict[str, Trajectory]]
"""By seed and arm."""

THRESHOLDS = {"digits": (0.1, 0.5), "sums": (0.1, 0.1), "student-teacher": (0.1, 0.2)}
"""Below which share of the loss of knowing nothing a network has fitted and has generalised; the quadratic task has 0.1 and 0.3."""


def delay_of(name: str, trajectory: Trajectory) -> Delay:
    """Return when a student fitted and generalised, by the thresholds of its task.

    Args:
        name: its arm.
        trajectory: its curves.
    """
    train, test = THRESHOLDS.get(name.split(",")[0], (0.1, 0.3))
    return trajectory.delay(train_below=train, test_below=test)


def tell(report: Report, recipe: GrokkingRecipe, found: Found) -> None:
    """Put numbers, claims, pictures and notes into a report.

    Args:
        report: the report.
        recipe: what was run.
        found: all trajectories.
    """
    for seed, arms in found.items():
        for name, trajectory in arms.items():
            report.add(name, seed, **measures(name, trajectory))
    _Claims(report, recipe, found).all()
    _note_on_sums(report, recipe, found)
    _curve(report, recipe, found)
    draw(report, recipe, next(iter(found.values())))
    report.note(
        "Losses of the quadratic and student-teacher tasks are in units of E[y^2], of digits in units of the mean square of a label, of "
        "sums in units of the cross-entropy of guessing. time_to_fit is the first logged step with a training loss below 0.1, "
        "time_to_generalise that with a test loss below 0.3 (digits 0.5, student-teacher 0.2, sums 0.1); means are over seeds in which "
        "it happened, `solved` is the percentage of seeds in which the student generalised. The grid has 20 rows per power of ten (12 "
        "for networks)."
    )
    report.note(
        "Sizes and thresholds are ours: 30 inputs, 100 samples and 100 units in place of 100, 550 and 500. Two hidden layers of 100 ReLU, "
        "initial weights times 6 and 5,000 steps on digits, in place of three of 200, times 150 and 250,000; a transformer of width 32 on "
        "sums modulo 23. One step maps all neurons of the quadratic committee by the same affine map, so its descent is computed on their "
        "second moment, exactly."
    )


def measures(name: str, trajectory: Trajectory) -> dict[str, float]:
    """Return the numbers of one student for the table.

    Args:
        name: its arm.
        trajectory: its curves.
    """
    values, power, late = trajectory.values, trajectory.power, delay_of(name, trajectory)
    found = {
        "train_loss": values["train_loss"][-1] / power,
        "test_loss": late.final / power,
        "peak_test_loss": late.peak,
        "solved": 100.0 * (late.test is not None),
        "norm_growth": values["weight_norm"][-1] / values["weight_norm"][0],
    }
    if late.train is not None:
        found["time_to_fit"] = late.train
    if late.test is not None:
        found["time_to_generalise"] = late.test
    if trajectory.kernel_test_loss is not None:
        found["kernel_test_loss"] = trajectory.kernel_test_loss / power
        found["linear_test_loss"] = values["linear_test_loss"][-1] / power
    found |= {key: values[key][-1] for key in ("alignment", "cka", "kernel_change") if key in values}
    return found


class _Claims:
    """The sheet's acceptance and the paper's sentences, each checked where its arms were run."""

    def __init__(self, report: Report, recipe: GrokkingRecipe, found: Found) -> None:
        self.report, self.recipe, self.found = report, recipe, found

    def all(self) -> None:
        recipe = self.recipe
        self._laziness()
        if len(recipe.epsilons) > 1:
            self._epsilons()
        if recipe.sample_counts:
            self._samples()
        self._kernel()
        self._networks()

    def worst(self, text: str, values: Iterable[float], at_least: float) -> None:
        """Check a sentence that must hold in every seed, on the worst of them."""
        self.report.check(f"{text} (worst seed)", [min(values)], at_least=at_least)

    def each(self, quantity: Callable[[dict[str, Trajectory]], float]) -> list[float]:
        return [quantity(arms) for arms in self.found.values()]

    def final(self, name: str) -> list[float]:
        return self.each(lambda arms: arms[name].values["test_loss"][-1] / arms[name].power)

    def rises(self, names: Sequence[str]) -> list[float]:
        """Smallest increase of the final test loss from one arm to the next, per seed."""
        columns = [self.final(name) for name in names]
        return [min(b - a for a, b in pairwise(row)) for row in zip(*columns, strict=True)]

    def _laziness(self) -> None:
        recipe = self.recipe
        alphas = sorted(recipe.alphas)
        names = [arm(alpha, recipe.sweep_epsilon) for alpha in alphas]
        if len(alphas) > 1:
            text = f"The final test loss increases with alpha over {', '.join(f'{a:g}' for a in alphas)}: smallest increase"
            self.worst(text, self.rises(names), 1e-9)
            changes = [self.each(lambda arms, name=name: arms[name].values["kernel_change"][-1]) for name in names]  # type: ignore[misc]
            falls = [min(a - b for a, b in pairwise(row)) for row in zip(*changes, strict=True)]
            self.worst("The larger alpha, the less the tangent kernel changes: smallest difference of the relative change", falls, 1e-9)
        rich = [name for alpha, name in zip(alphas, names, strict=True) if alpha <= 1]
        if not rich or recipe.steps < 10_000:
            return
        self.worst(
            "At alpha of at most 1 the features turn to the teacher: alignment of the change of M with it is above 0.7",
            (value for name in rich for value in self.each(lambda arms, name=name: arms[name].values["alignment"][-1])),  # type: ignore[misc]
            0.7,
        )
        grown = (value for name in rich for value in self.each(lambda arms, name=name: _growth(arms[name])))  # type: ignore[misc]
        self.worst(
            "At alpha of at most 1 it generalises without weight decay while the weight norm rises: last norm over first", grown, 1.0
        )

    def _epsilons(self) -> None:
        recipe = self.recipe
        low, high = (arm(recipe.options.alpha, pick(recipe.epsilons)) for pick in (min, max))
        small, large = self.each(lambda arms: arms[low].delay().peak), self.each(lambda arms: arms[high].delay().peak)
        self.worst(f"With epsilon {min(recipe.epsilons):g} the test loss first rises, above 1.2 times its start", small, 1.2)
        room = [1.05 - value for value in large]
        self.worst(f"With epsilon {max(recipe.epsilons):g} it does not: room below 1.05 times its start", room, 0.0)
        worse = [b - a for a, b in zip(self.final(low), self.final(high), strict=True)]
        self.report.check("A large epsilon ends with a worse test loss than a small one.", worse, at_least=1e-9)
        for name in dict.fromkeys(arm(recipe.options.alpha, epsilon) for epsilon in sorted(recipe.epsilons)[:-1]):
            ratios = [late.ratio for late in (arms[name].delay() for arms in self.found.values())]
            known = [ratio for ratio in ratios if ratio is not None]
            text = f"Generalising takes more than 2 times the steps of fitting ({name}), over the seeds in which it happens"
            self.report.check(f"{text} ({len(known)} of {len(ratios)}).", known or [0.0], at_least=2.0)
        linear = self.each(lambda arms: max(arms[low].values["C"]) - 2 * arms[low].values["C"][-1])
        self.report.check(f"Linear functions are learned first and unlearned: C ends below half of its peak ({low}); room", linear)
        turned = self.each(lambda arms: 0.5 * arms[low].values["B"][0] - arms[low].values["B"][-1])
        self.report.check(f"The test loss falls because features turn: B ends below half of its start ({low}); room", turned)

    def _samples(self) -> None:
        counts = sorted(self.recipe.sample_counts)
        many = f"{counts[-1]} samples"
        gaps = self.each(lambda arms: _gap(arms[many].delay()))
        text = f"With {many} nothing is delayed: steps by which the student generalises before it fits"
        self.worst(text, gaps, 0.0)
        if counts[0] < self.recipe.samples:
            self.worst(
                f"With {counts[0]} samples, hardly more than dimensions, it never generalises: final test loss above 0.3",
                self.final(f"{counts[0]} samples"),
                0.3,
            )

    def _kernel(self) -> None:
        recipe = self.recipe
        if recipe.steps < 10_000:
            return
        names = [arm(alpha, recipe.sweep_epsilon) for alpha in recipe.alphas if alpha <= 1]
        for text, key in (
            ("Regression with the initial tangent kernel", "kernel_test_loss"),
            ("The linearised student", "linear_test_loss"),
        ):
            values = [value for name in names for value in self.report.values[name][key].values()]
            self.worst(f"{text} does not generalise: test loss above 0.6", values, 0.6)
        room = [0.45 - value for name in names for value in self.final(name)]
        self.worst("The trained student does, at alpha of at most 1: room below 0.45", room, 0.0)

    def _networks(self) -> None:
        n = self.recipe.networks
        known = (
            ("digits", n.mnist_scales, "On digits"),
            ("student-teacher", n.teacher_scales, "For a ReLU committee under a smaller one"),
        )
        for kind, scales, where in known:
            if len(scales) > 1:
                rises = self.rises([f"{kind}, scale {scale:g}" for scale in sorted(scales)])
                self.worst(f"{where} the final test loss increases with the output scale: smallest increase", rises, 1e-9)
        for kind, scales, where in (known[0], ("sums", n.modular_scales, "On sums modulo a prime")):
            if len(scales) > 1:
                rich, lazy = (f"{kind}, scale {pick(scales):g}" for pick in (min, max))
                gaps = self.each(lambda arms, rich=rich, lazy=lazy: _later(rich, lazy, arms))  # type: ignore[misc]
                text = f"{where} a smaller output scale generalises sooner after fitting, at equal initial weights: powers of e between the"
                self.worst(f"{text} ratios of steps, 'never' counted as one step past the last", gaps, 1e-9)


def _growth(trajectory: Trajectory) -> float:
    return trajectory.values["weight_norm"][-1] / trajectory.values["weight_norm"][0]


def _gap(late: Delay) -> float:
    """Steps from generalising to fitting; minus infinity where either never happens."""
    return float("-inf") if late.train is None or late.test is None else float(late.train - late.test)


def _later(rich: str, lazy: str, arms: dict[str, Trajectory]) -> float:
    """Logarithm of by how much the delay of the lazy student exceeds that of the rich one."""

    def ratio(name: str) -> float:
        late, past = delay_of(name, arms[name]), arms[name].steps[-1] + 1
        return math.log(max(late.test if late.test is not None else past, 1) / max(late.train if late.train is not None else past, 1))

    return ratio(lazy) - ratio(rich)


def _note_on_sums(report: Report, recipe: GrokkingRecipe, found: Found) -> None:
    """Say how many students of sums never generalise: where most do not, their order says little."""
    names = [f"sums, scale {scale:g}" for scale in recipe.networks.modular_scales]
    if not names:
        return
    late = {name: [delay_of(name, arms[name]).test is None for arms in found.values()] for name in names}
    never = sum(map(sum, late.values()))
    if never:
        steps = next(iter(found.values()))[names[0]].steps[-1]
        each = ", ".join(f"{sum(of)} of {len(of)} at {name.removeprefix('sums, ')}" for name, of in late.items())
        report.note(
            f"On sums {never} of {len(names) * len(found)} students never generalise within {steps:,} steps ({each}): a claim about "
            "when they do compares few."
        )


def _curve(report: Report, recipe: GrokkingRecipe, found: Found) -> None:
    """Mean test loss over seeds, on the grid of steps."""
    first = next(iter(found.values()))
    names = list(
        dict.fromkeys([*(arm(a, recipe.sweep_epsilon) for a in recipe.alphas), *(arm(recipe.options.alpha, e) for e in recipe.epsilons)])
    )
    steps = first[names[0]].steps
    lines = {}
    for name in names:
        rows = [[value / arms[name].power for value in arms[name].values["test_loss"]] for arms in found.values()]
        lines[name] = [sum(column) / len(column) for column in zip(*rows, strict=True)]
    report.curve("Test loss", [math.log10(step + 1) for step in steps], lines, "log10 of steps + 1", "in units of E[y^2]")
