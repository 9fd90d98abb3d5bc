"""Recipe of ALP-GMM: curricula compared on a space with a frontier, on cart-poles of which most cannot be learned, or on tracks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from tutelage.errors import OptionError
from tutelage.recipes.recipe import Recipe, report_for

if TYPE_CHECKING:
    from tutelage.environments import TaskBox
    from tutelage.report import Report
    from tutelage.teachers.curricula import Curriculum
    from tutelage.train import Run
    from tutelage.train.policies import Visited

OURS, RANDOM, RIAC, COVAR, ORACLE = "alp-gmm", "random", "riac", "covar-gmm", "oracle"


@dataclass(frozen=True)
class ALPGMMOptions:
    """Options of the teacher by absolute learning progress."""

    fit_rate: int = 250
    """Episodes between two fits, and in the window of a fit; the first tasks of this number are uniform."""
    fewest: int = 2
    """Smallest number of Gaussians that is tried."""
    most: int = 10
    """Largest number of Gaussians that is tried."""
    random_task_ratio: float = 0.2
    """Share of uniform tasks after the first fit."""
    criterion: Literal["aic", "bic", "aicc"] = "aic"
    """By which the number of Gaussians is chosen."""
    restarts: int = 1
    """Fits of each number of Gaussians."""
    scale: bool = False
    """Measure distances in the unit cube, for parameters of different units."""


@dataclass(frozen=True)
class StudentOptions:
    """The student of Stable-Baselines3 on stump and hexagon tracks: SAC, as published."""

    steps: int = 20_000_000
    """Environment steps. At some 100 a second on one core of 2024 the published number takes about 55 hours for each teacher and seed."""
    every: int = 200_000
    """Environment steps between two evaluations."""
    hidden: tuple[int, ...] = (400, 300)
    """Widths of both networks' hidden layers."""
    learning_rate: float = 1e-3
    """Of all networks."""
    entropy: float = 0.005
    """Coefficient of entropy, for rewards as they are."""
    batch_size: int = 1000
    """Transitions of an update."""
    steps_per_update: int = 10
    """Environment steps between two updates, in every environment."""
    updates: int = 1
    """Gradient steps at each update."""
    replay: int = 2_000_000
    """Transitions in the replay buffer."""
    warmup: int = 10_000
    """Uniformly random steps at the start."""
    envs: int = 1
    """Environments side by side."""
    subprocess: bool = False
    """Run each environment in a process of its own."""


@dataclass(frozen=True)
class ALPGMMRecipe(Recipe):
    """Four teachers in a space with a frontier, in another with irrelevant parameters, and two with PPO on cart-poles; or walkers."""

    space: Literal["toy", "stump-tracks", "hexagon-tracks"] = "toy"
    """toy: all that runs within minutes; the others take days at the published --student.steps."""
    cells: int = 10
    """Cells along a side of the toy space."""
    episodes: int = 20_000
    """Episodes in the toy space."""
    irrelevant: int = 3
    """Irrelevant parameters of the second toy space, which has 5 x 5 cells; 0 leaves it out."""
    irrelevant_episodes: int = 6000
    """Episodes in the second toy space, where 2 to 6 Gaussians are tried."""
    poles_steps: int = 60_000
    """Environment steps of PPO on cart-poles; 0 leaves them out."""
    poles_seeds: int = 3
    """Seeds of PPO on cart-poles, the first of the run's."""
    teachers: tuple[str, ...] = (RANDOM, RIAC, COVAR, OURS)
    """Teachers that are compared; oracle needs a space of tracks."""
    body: Literal["short", "default", "quadrupedal"] = "default"
    """Body of the walker."""
    tests: int = 50
    """Test tasks, drawn uniformly; of cart-poles those that a fixed rule can balance."""
    highest: float = 3.0
    """Largest mean height of the stumps that teachers may choose; more than 3 enlarges the part that cannot be learned."""
    highest_tested: float = 3.0
    """Largest mean height of the stumps in test tasks."""
    on_failure: Literal["stop", "skip"] = "stop"
    """At a task whose environment crashes or returns numbers that are not finite: stop, or go on without it."""
    video: bool = False
    """Film students before and after their training (needs the extra video); MP4 files in the run's folder videos."""
    options: ALPGMMOptions = ALPGMMOptions()
    """Options of the method."""
    student: StudentOptions = StudentOptions()
    """The student on tracks."""

    def quick(self) -> Self:
        """Return the variant with irrelevant parameters alone, and a glance at cart-poles."""
        return replace(self, cells=0, poles_steps=8000)

    def run(self, run: Run) -> Report:
        """Let every teacher teach with every seed, and compare."""
        self._check(run)
        report = report_for(run, "ALP-GMM: teacher algorithms for curriculum learning of deep RL (Portelas et al. 2019)")
        if self.space != "toy":
            from tutelage.recipes.control.alp_gmm_students import walkers

            walkers(self, run, report)
            return report
        from tutelage.recipes.control.alp_gmm_report import tell_irrelevant, tell_toy

        if self.cells:
            tell_toy(report, self._visits(run, report, self.cells, 0, self.episodes, self.options, ""), self.cells)
        if self.irrelevant:
            few = replace(self.options, most=min(self.options.most, 6))
            where = f", {self.irrelevant} irrelevant"
            tell_irrelevant(report, self._visits(run, report, 5, self.irrelevant, self.irrelevant_episodes, few, where), where)
        if self.poles_steps:
            from tutelage.recipes.control.alp_gmm_students import poles

            poles(self, run, report)
        return report

    def _check(self, run: Run) -> None:
        if self.space == "toy" and ORACLE in self.teachers:
            raise OptionError("The oracle's window is made by hand for tracks: choose --space stump-tracks, or leave it out of --teachers.")
        if self.space == "toy" and not (self.cells or self.irrelevant or self.poles_steps):
            raise OptionError("cells, irrelevant and poles_steps are all 0: nothing is left to run.")
        if self.video and run.directory is None:
            raise OptionError("video needs a run with a directory for its files.")
        if self.video and self.space == "toy" and not self.poles_steps:
            raise OptionError("video shows students that act: give --poles-steps, or a space of tracks.")
        if len(set(self.teachers)) < 2 or OURS not in self.teachers or RANDOM not in self.teachers:
            raise OptionError(f"teachers is {self.teachers}; expected at least '{OURS}' and '{RANDOM}', which claims compare.")

    def teacher(self, name: str, box: TaskBox, seed: int, options: ALPGMMOptions, span: tuple[float, float] | None = None) -> Curriculum:
        """Return a teacher by its name, with the options that it has.

        Args:
            name: one of `teachers`.
            box: the tasks.
            seed: its seed.
            options: of which Covar-GMM shares those of fits.
            span: returns that become 0 and 1; the oracle sees them as they are.
        """
        from tutelage.recipes.teach import curriculum

        given: dict[str, Any] = {"seed": seed}
        if name == ORACLE:
            given["step"] = (0.1, -0.2) if box.dimension == 2 else (0.1,) * box.dimension
        else:
            given["value_range"] = span
        if name in (OURS, COVAR):
            shared = {k: getattr(options, k) for k in ("fit_rate", "random_task_ratio", "criterion", "restarts")}
            given |= shared | {"components": range(options.fewest, options.most + 1)}
        if name == OURS:
            given["scale"] = options.scale
        return curriculum(name, box, **given)

    def _visits(
        self, run: Run, report: Report, cells: int, irrelevant: int, episodes: int, options: ALPGMMOptions, where: str
    ) -> dict[str, list[Visited]]:
        """Run every teacher in a toy space; `where` is added to the names of arms."""
        from tutelage.environments import ToySpace
        from tutelage.train.policies import visit

        found: dict[str, list[Visited]] = {}
        for seed in run.seeds:
            for name in self.teachers:
                space = ToySpace(cells, 2, irrelevant)
                folder = (
                    None
                    if run.directory is None
                    else run.directory / f"seed-{seed}" / f"{name}{where.replace(', ', '-').replace(' ', '-')}"
                )
                done = visit(
                    self.teacher(name, space.box, seed, options),
                    space,
                    episodes,
                    measure=lambda space=space: {"mastered": space.mastered},  # type: ignore[misc]
                    every=max(1, episodes // 40),
                    directory=folder,
                    resume=run.resume,
                )
                report.add(name + where, seed, mastered=done.rows[-1]["mastered"])
                found.setdefault(name + where, []).append(done)
        return found


RECIPE = ALPGMMRecipe
OPTIONS = ALPGMMOptions
