"""Recipe of snapshot RL: Q-learning in a serpentine maze, and a neural student on a simulator, with and without a teacher's states."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from tutelage.errors import CheckpointError, OptionError
from tutelage.files import write_json
from tutelage.recipes.recipe import Recipe, report_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tutelage.environments.snapshots import Snapshots
    from tutelage.report import Report
    from tutelage.train import Run

PLAIN, SNAPSHOTS, CLASSES, TRUNCATION, BOTH = "plain", "SnapshotRL", "SnapshotRL + SC", "SnapshotRL + STT", "S3RL"
ARMS = (PLAIN, SNAPSHOTS, CLASSES, TRUNCATION, BOTH)

Curves = dict[str, list[float]]
"""A measurement per entry; the steps of the measurements are under `steps`."""


@dataclass(frozen=True)
class SnapshotRLOptions:
    """Options of starting a student's episodes from a teacher's states."""

    n_clusters: int = 6
    """Classes of status, K (SAC has 4); 1 leaves classification out."""
    truncate_step: int | None = 100
    """Longest episode from a snapshot, in steps; none (the environment's horizon) leaves truncation out."""
    snapshot_timesteps: int = 100_000
    """Environment steps of the first phase; 0 is the plain algorithm."""
    save_frequency: int = 10
    """Steps between snapshots."""
    num_ep: int = 10
    """Episodes of the teacher."""
    best_num_ep: int = 10
    """Episodes kept, those with the highest returns."""
    drop_buffer: bool = False
    """Empty an off-policy student's replay buffer after the first phase."""

    def arm(self, name: str) -> SnapshotRLOptions:
        """Return the options of one arm of the ablation."""
        return replace(
            self,
            n_clusters=self.n_clusters if name in (CLASSES, BOTH) else 1,
            truncate_step=self.truncate_step if name in (TRUNCATION, BOTH) else None,
            snapshot_timesteps=0 if name == PLAIN else self.snapshot_timesteps,
        )


@dataclass(frozen=True)
class MazeOptions:
    """Tabular Q-learning in a maze of sparse reward."""

    size: int = 10
    """Rows and columns."""
    slip: float = 0.1
    """Probability that an action is replaced by a random one."""
    horizon: int = 150
    """Longest episode, in steps."""
    steps: int = 60_000
    """Environment steps of each student."""
    every: int = 4000
    """Steps between measurements."""
    arms: tuple[str, ...] = ARMS
    """Variants to compare."""
    options: SnapshotRLOptions = SnapshotRLOptions(truncate_step=25, snapshot_timesteps=20_000, save_frequency=5)
    """Options of the method in the maze."""


@dataclass(frozen=True)
class StudentOptions:
    """A student of Stable-Baselines3, unchanged, on a simulator.

    A published run has environment Hopper-v5, algorithm td3, steps 1000000, every 5000, widths 256 256, batch 256, per_update 1, block 1,
    warmup 25000, a teacher, and the method's published options: about three hours of one core per arm and seed (SAC five,
    PPO a third of an hour).
    """

    environment: str = "MountainCarContinuous-v0"
    """Gymnasium environment with its version."""
    algorithm: Literal["td3", "sac", "ppo"] = "sac"
    """Algorithm of the student, and of a trained teacher."""
    teacher: str = "rule"
    """rule: pump energy into the mountain car, with values fitted to its returns; trained: a plain student; or a CleanRL checkpoint."""
    teacher_steps: int = 100_000
    """Environment steps of teacher=trained."""
    steps: int = 30_000
    """Environment steps of each student; 0 skips the simulator."""
    every: int = 3000
    """Steps between evaluations, which are deterministic and in the original environment."""
    episodes: int = 3
    """Episodes of each evaluation."""
    seeds: int = 3
    """How many of the run's seeds are used here."""
    arms: tuple[str, ...] = (PLAIN, SNAPSHOTS, BOTH)
    """Variants to compare; two more are 'SnapshotRL + SC' and 'SnapshotRL + STT', a minute of one core per seed each."""
    widths: tuple[int, ...] = (64, 64)
    """Hidden layers of actor and critic."""
    batch: int = 128
    """Batch of TD3 and SAC."""
    per_update: int = 2
    """Environment steps per gradient step of TD3 and SAC."""
    block: int = 64
    """Environment steps between groups of gradient steps; equal to per_update, steps and updates take turns, at more cost."""
    warmup: int = 2000
    """Random steps of TD3 and SAC before they learn; they begin at snapshots too."""
    environments: int = 1
    """Parallel environments."""
    subprocesses: bool = False
    """Give each parallel environment a process."""
    options: SnapshotRLOptions = SnapshotRLOptions(n_clusters=4, snapshot_timesteps=10_000)
    """Options of the method on the simulator."""


@dataclass(frozen=True)
class SnapshotRLRecipe(Recipe):
    """Five variants of Q-learning in a slippery maze, and SAC on a car that must swing up a mountain: plain, snapshots, S3RL."""

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4, 5)

    maze: MazeOptions = MazeOptions()
    """The maze."""
    students: StudentOptions = StudentOptions()
    """The simulator."""

    def quick(self) -> Self:
        """Return the variant of three arms in the maze alone."""
        return replace(self, maze=replace(self.maze, arms=(PLAIN, SNAPSHOTS, BOTH)), students=replace(self.students, steps=0))

    def run(self, run: Run) -> Report:
        """Train every student of every seed and compare what they reach, and when."""
        from tutelage.recipes.control import snapshot_rl_students as students
        from tutelage.recipes.control.snapshot_rl_report import tell

        for arm in {*self.maze.arms, *self.students.arms} - set(ARMS):
            raise OptionError(f"No arm is called '{arm}'. There are: {', '.join(ARMS)}.")
        missing = [f"{part} lacks '{arm}'" for part, arms in self._parts().items() for arm in (PLAIN, SNAPSHOTS, BOTH) if arm not in arms]
        if missing:
            raise OptionError(f"The arms {PLAIN}, {SNAPSHOTS} and {BOTH} are always compared, but {'; '.join(missing)}.")
        maze = self._mazes(run)
        simulator: dict[int, dict[str, Curves]] = {}
        for seed in run.seeds[: self.students.seeds] if self.students.steps else ():
            taught = None
            simulator[seed] = {}
            for arm in self.students.arms:
                place = f"seed-{seed}/{arm.replace(' + ', '-')}"
                if done(run, place) is None:
                    taught = taught or students.teach(self.students, seed, run)
                    run.say(f"{place} ...")
                work = partial(students.train, self.students, arm, taught, seed)
                simulator[seed] |= kept(run, place, work)
        report = report_for(run, "Snapshot RL: early episodes from a teacher's states (Zhao et al. 2024)")
        tell(report, self, maze, simulator)
        return report

    def _parts(self) -> dict[str, tuple[str, ...]]:
        return {"maze": self.maze.arms} | ({"students": self.students.arms} if self.students.steps else {})

    def maze_snapshots(self, seed: int) -> Snapshots:
        """Return what the optimal policy leaves in the maze."""
        import numpy as np
        from gymnasium.wrappers import TimeLimit

        from tutelage.environments.mazes import SerpentineMaze
        from tutelage.methods.control.snapshot_rl import SnapshotRL
        from tutelage.teachers.policies import PolicyTeacher

        plan = SerpentineMaze(self.maze.size, self.maze.slip)
        values = plan.action_values()
        teacher = PolicyTeacher(lambda cell: int(values[cell].argmax()), lambda cells: np.asarray(values[cells].max(1)))
        method = SnapshotRL(**asdict(self.maze.options))
        return method.collect(TimeLimit(SerpentineMaze(self.maze.size, self.maze.slip), self.maze.horizon), teacher, seed=seed)

    def _mazes(self, run: Run) -> dict[int, dict[str, Curves]]:
        """Return the curves of every seed; all students that an earlier call did not leave are trained together."""
        left = [seed for seed in run.seeds if done(run, f"seed-{seed}/maze") is None]
        fresh = self._maze(run, left) if left else {}
        return {seed: kept(run, f"seed-{seed}/maze", partial(fresh.__getitem__, seed)) for seed in run.seeds}

    def _maze(self, run: Run, seeds: list[int]) -> dict[int, dict[str, Curves]]:
        """Train all arms of some seeds side by side; none depends on the others."""
        from tutelage.environments.mazes import SerpentineMaze
        from tutelage.methods.control.snapshot_rl import SnapshotRL
        from tutelage.train.q_learning import Learner, Starts, q_learning

        run.say(f"{len(seeds) * len(self.maze.arms)} students in the maze ...")
        rows, learners = [(seed, arm) for seed in seeds for arm in self.maze.arms], []
        taught = {seed: self.maze_snapshots(seed) for seed in seeds}
        for seed, arm in rows:
            options, snapshots = self.maze.options.arm(arm), taught[seed]
            limit = options.truncate_step or self.maze.horizon
            weights = SnapshotRL(**asdict(options)).weights(snapshots)
            learners.append(Learner((seed, ARMS.index(arm)), Starts(snapshots.states["cell"], weights, limit, options.snapshot_timesteps)))
        maze = SerpentineMaze(self.maze.size, self.maze.slip)
        at, found, _ = q_learning(maze, learners, self.maze.steps, horizon=self.maze.horizon, every=self.maze.every)
        curves = {key: {"steps": at.tolist(), "success": row.tolist()} for key, row in zip(rows, found, strict=True)}
        return {seed: {arm: curves[seed, arm] for arm in self.maze.arms} for seed in seeds}


def done(run: Run, name: str) -> dict[str, Curves] | None:
    """Return what an earlier call left under a name in the run's directory, or `None`.

    Raises:
        CheckpointError: if it is damaged.
    """
    path = None if run.directory is None else run.directory / f"{name}.json"
    if path is None or not path.exists():
        return None
    try:
        found: Any = json.loads(path.read_text())
        return {arm: {key: [float(v) for v in row] for key, row in curves.items()} for arm, curves in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Remove it to compute it again.") from error


def kept(run: Run, name: str, work: Callable[[], dict[str, Curves]]) -> dict[str, Curves]:
    """Return what an earlier call left under a name, or compute and keep it.

    Args:
        run: the run.
        name: path inside it, without a suffix.
        work: computes it.
    """
    found = done(run, name)
    if found is None:
        found = work()
        if run.directory is not None:
            write_json(run.directory / f"{name}.json", found)
    return found


RECIPE = SnapshotRLRecipe
OPTIONS = SnapshotRLOptions
