"""Recipe of grokking: the quadratic teacher under sweeps of laziness, alignment and data, and three networks with scaled outputs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from tutelage.errors import CheckpointError, OptionError
from tutelage.files import write_json
from tutelage.recipes.recipe import Recipe, report_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tutelage.methods.theory.grokking import Trajectory
    from tutelage.report import Report
    from tutelage.train import Run


@dataclass(frozen=True)
class GrokkingOptions:
    """Options of the committee on the quadratic teacher."""

    alpha: float = 1.0
    """Scale of the output: large is lazy, small learns features at once (the paper sweeps 2^-5 to 32)."""
    epsilon: float = 0.05
    """Share of the square in the activation; small hides quadratic functions from the initial tangent kernel (0.02 to 4)."""
    width: int = 100
    """Hidden units N (500 in the main figure)."""
    rate: float = 0.5
    """Constant c of the learning rate c N / alpha^2 (1 in the main figure, 0.5 in the sweeps)."""
    centred: bool = True
    """Subtract the answer at initialisation."""
    weight_scale: float = 1.0
    """Standard deviation of the initial weights (the paper sweeps 0.125 to 2)."""


@dataclass(frozen=True)
class NetworkOptions:
    """Networks whose delay moves with the scale of their output."""

    mnist_scales: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Output scales on digits, from rich to lazy; none skips them."""
    mnist_data: str = "mnist-10k"
    """Data set of digits."""
    mnist_samples: int = 1000
    """Training images."""
    mnist_widths: tuple[int, ...] = (100, 100)
    """Hidden layers of ReLU (the paper has three of 200)."""
    mnist_gain: float = 6.0
    """Factor of the usual initial weights (the paper: 150, with smaller output scales)."""
    mnist_steps: int = 5000
    """AdamW steps of 200 images (the paper: 250,000, about a quarter of an hour of one core per scale)."""
    teacher_scales: tuple[float, ...] = (0.25, 1.0, 4.0)
    """Output scales of a ReLU committee that learns from one of two units; none skips it."""
    teacher_steps: int = 2000
    """Full-batch steps of the ReLU committee."""
    modular_scales: tuple[float, ...] = (3.0, 30.0)
    """Output scales of a one-layer transformer on sums modulo a prime; none skips it."""
    modulus: int = 23
    """The prime (113 in the literature: about 25 times the cost per step)."""
    modular_steps: int = 2000
    """Full-batch AdamW steps of the transformer."""


@dataclass(frozen=True)
class GrokkingRecipe(Recipe):
    """A committee of 100 units learns a quadratic function of 30 inputs from 100 samples: when does it fit, when does it generalise?

    The paper's main figure is `--dimensions 100 --samples 550 --options.width 500 --steps 100000 --options.rate 1`: about 3 minutes of
    one core per student of 550 samples (1.8 ms per step, at any width), five of which each seed has with the sweeps as they are.
    """

    dimensions: int = 30
    """Input dimensions D (100 in the main figure)."""
    samples: int = 100
    """Training samples P (550 in the main figure)."""
    test: int = 1000
    """Test samples."""
    steps: int = 20_000
    """Full-batch steps (60,000 in the paper's sweeps, 100,000 in its main figure)."""
    alphas: tuple[float, ...] = (0.25, 1.0, 4.0)
    """Output scales to compare, from rich to lazy."""
    sweep_epsilon: float = 0.25
    """Epsilon of that sweep."""
    epsilons: tuple[float, ...] = (0.05, 0.25, 1.0)
    """Epsilons to compare, at the alpha of the options."""
    sample_counts: tuple[int, ...] = (50, 200, 400, 1000)
    """Other numbers of training samples, with the alpha and epsilon of the options."""
    weight_scales: tuple[float, ...] = ()
    """Other scales of the initial weights, with alpha of the options and the sweep's epsilon; each costs two seconds per seed."""
    options: GrokkingOptions = GrokkingOptions()
    """Options of the student."""
    networks: NetworkOptions = NetworkOptions()
    """Digits, student and teacher networks, and sums modulo a prime."""

    def quick(self) -> Self:
        """Return the variant with 20 dimensions, 70 samples and 50 units, 3,000 steps, of which only the sweep of alpha is left."""
        return replace(
            self,
            dimensions=20,
            samples=70,
            steps=3000,
            epsilons=(),
            sample_counts=(),
            options=replace(self.options, width=50),
            networks=replace(self.networks, mnist_scales=(), teacher_scales=(), modular_scales=()),
        )

    def settings(self) -> dict[str, tuple[int, GrokkingOptions]]:
        """Return the number of samples and the options of every arm of the quadratic task."""
        base = self.options
        found = {}
        for alpha in self.alphas:
            found[arm(alpha, self.sweep_epsilon)] = (self.samples, replace(base, alpha=alpha, epsilon=self.sweep_epsilon))
        for epsilon in self.epsilons:
            found[arm(base.alpha, epsilon)] = (self.samples, replace(base, epsilon=epsilon))
        if self.sample_counts:
            found[arm(base.alpha, base.epsilon)] = (self.samples, base)
        for scale in self.weight_scales:
            found[f"weights of scale {scale:g}"] = (self.samples, replace(base, epsilon=self.sweep_epsilon, weight_scale=scale))
        for count in self.sample_counts:
            if count != self.samples:
                found[f"{count} samples"] = (count, base)
        return found

    def run(self, run: Run) -> Report:
        """Train every student of every seed, and check the paper's sentences on their curves."""
        from tutelage.recipes.theory import grokking_networks as networks
        from tutelage.recipes.theory.grokking_report import tell

        if not self.alphas:
            raise OptionError("alphas is empty: give at least one output scale.")
        report = report_for(run, "Grokking as the transition from lazy to rich training dynamics (Kumar et al. 2024)")
        n = self.networks
        found: dict[int, dict[str, Trajectory]] = {}
        for seed in run.seeds:
            groups: dict[str, Callable[[], dict[str, Trajectory]]] = {}
            for count in sorted({size for size, _ in self.settings().values()}):
                groups[f"quadratic-{count}"] = partial(self._quadratic, count, seed)
            if n.mnist_scales:
                groups["digits"] = partial(networks.digits, n, seed)
            if n.teacher_scales:
                groups["student-teacher"] = partial(networks.student_teacher, n, seed)
            if n.modular_scales:
                groups["modular"] = partial(networks.modular, n, seed)
            found[seed] = {}
            for name, work in groups.items():
                found[seed] |= kept(run, f"seed-{seed}/{name}", work)
        tell(report, self, found)
        return report

    def _quadratic(self, count: int, seed: int) -> dict[str, Trajectory]:
        """Train all students with so many samples together."""
        import torch

        from tutelage.data.teacher_task import teacher_task
        from tutelage.methods.theory.grokking import Grokking, descend

        arms = {name: options for name, (size, options) in self.settings().items() if size == count}
        task = teacher_task(self.dimensions, count, test=self.test, seed=seed)
        students = [Grokking(self.dimensions, **asdict(options), seed=seed) for options in arms.values()]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # The matrices are small: threads would cost more than they bring.
        try:
            found = descend(students, [task] * len(students), self.steps)
        finally:
            torch.set_num_threads(threads)
        return dict(zip(arms, found, strict=True))


def arm(alpha: float, epsilon: float) -> str:
    """Return the name of the arm with these knobs."""
    return f"alpha {alpha:g}, epsilon {epsilon:g}"


def kept(run: Run, name: str, work: Callable[[], dict[str, Trajectory]]) -> dict[str, Trajectory]:
    """Return trajectories from the run's directory where an earlier call left them there, or compute and keep them.

    Args:
        run: the run.
        name: path inside it, without a suffix.
        work: computes them.

    Raises:
        CheckpointError: if what was left is damaged.
    """
    from tutelage.methods.theory.grokking import Trajectory

    path = None if run.directory is None else run.directory / f"{name}.json"
    if path is not None and path.exists():
        try:
            rows = json.loads(path.read_text())
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged ({error}). Remove it, and it will be computed again.") from error
        return {
            key: Trajectory(tuple(row["steps"]), {k: tuple(v) for k, v in row["values"].items()}, row["power"], row["kernel_test_loss"])
            for key, row in rows.items()
        }
    run.say(f"{name} ...")
    found = work()
    if path is not None:
        write_json(path, {key: asdict(value) for key, value in found.items()})
    return found


RECIPE = GrokkingRecipe
OPTIONS = GrokkingOptions
