"""Recipe of Words as Beacons: Q-learning in two rooms, and PPO in MiniGrid, with teachers of every quality and with none."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from tutelage.errors import CheckpointError, OptionError, nearest
from tutelage.files import write_json
from tutelage.recipes.recipe import Recipe, report_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tutelage.methods.control.words_as_beacons import WordsAsBeacons
    from tutelage.report import Report
    from tutelage.train import Run
    from tutelage.train.subgoal_q_learning import Pupil

NONE, ORACLE, NOREWARD, NOSUBGOAL = "no teacher", "oracle", "oracle, not paid", "oracle, not seen"
LANGUAGE_MODELS = ("llama", "deepseek", "qwen")
Curves = dict[str, list[float]]
"""A measurement per entry; the steps of the measurements are under `steps`."""


@dataclass(frozen=True)
class WordsAsBeaconsOptions:
    """Options of subgoals in observation and reward."""

    kind: Literal["relative", "representation", "language"] = "representation"
    """What the student sees: the way to the subgoal, what its cell holds, or an embedding of its text."""
    alpha: float = 0.2
    """Weight of the bonus for reaching a subgoal (the published code's default is 1)."""
    decay: bool = True
    """Whether the bonus falls with the steps since the last subgoal."""
    extra: int = 0
    """Random subgoals between the teacher's (5 in the paper's study of generalisation, with alpha 1 and relative subgoals)."""
    noreward: bool = False
    """Subgoals are seen and not paid."""
    nosubgoal: bool = False
    """Subgoals are paid and not seen, so that the policy needs no teacher later."""
    levels: int | None = None
    """Train on levels of the seeds 0 to this (1,000 in the paper); none for ever new levels."""


@dataclass(frozen=True)
class RoomsOptions:
    """Tabular Q-learning in two rooms with a locked door, with constant bonuses."""

    steps: int = 120_000
    """Environment steps of each student."""
    every: int = 10_000
    """Steps between measurements."""
    students: int = 4
    """Students of each arm and seed, whose mean is reported."""
    accuracies: tuple[float, ...] = (0.9, 0.5)
    """Teachers that are right so often, beside the oracle."""
    distance: tuple[float, float] = (2.57, 2.54)
    """Mean and standard deviation of how far off they are when wrong, in cells (DeepSeek's in KeyCorridorS3R3)."""
    alpha: float = 0.2
    """Bonus for each subgoal."""


@dataclass(frozen=True)
class GridOptions:
    """PPO of Stable-Baselines3, unchanged, in a task of MiniGrid.

    A published run has environment MiniGrid-KeyCorridorS3R3-v0 (or -S6R3, MiniGrid-ObstructedMaze-1Dlh-v0, -1Dlhb,
    MiniGrid-MultiRoom-N2-S4-v0, MiniGrid-MultiRoom-N4-S5-v0), frames 15000000, learning_rate 1e-4, environments 16: about an hour and
    a half of one core per arm and seed.
    """

    environment: str = "MiniGrid-MultiRoom-N4-S5-v1"
    """Task of MiniGrid, with its version; KeyCorridor, ObstructedMaze with one door, MultiRoom or DoorKey."""
    errors_of: str = ""
    """Task whose measured errors the language models have here; empty for the same."""
    frames: int = 112_000
    """Environment steps of each student; 0 skips MiniGrid."""
    every: int = 5000
    """Steps between measurements, each over the last 100 episodes of training."""
    models: tuple[str, ...] = ("llama", "deepseek")
    """Language models whose errors the oracle is given: llama, deepseek, qwen."""
    ablations: tuple[str, ...] = ("noreward",)
    """Switches that are also compared, with the oracle: noreward, nosubgoal."""
    learning_rate: float = 3e-4
    """Learning rate of Adam (1e-4 in the paper, for 15 million frames)."""
    environments: int = 8
    """Parallel environments; an update follows every 2,048 frames."""
    subprocesses: bool = False
    """Give each parallel environment a process."""
    sentences: Literal["hashed", "minilm"] = "hashed"
    """Embeddings of language subgoals: hash-seeded unit vectors, or all-MiniLM-L6-v2 (extra pretrained)."""
    options: WordsAsBeaconsOptions = WordsAsBeaconsOptions(kind="relative")
    """Options of the method."""

    def arms(self) -> dict[str, dict[str, Any]]:
        """Return what each arm is built with: keywords of the method, `noise` and `teacher` still as names."""
        ours: dict[str, Any] = asdict(self.options)
        found: dict[str, dict[str, Any]] = {NONE: ours | {"teacher": None}, ORACLE: dict(ours)}
        for model in self.models:
            if model not in LANGUAGE_MODELS:
                raise OptionError(f"No language model is called '{model}'.{nearest(model, LANGUAGE_MODELS)}")
            found[model.capitalize()] = ours | {"noise": model}
        switches = {"noreward": NOREWARD, "nosubgoal": NOSUBGOAL}
        for name in self.ablations:
            if name not in switches:
                raise OptionError(f"No ablation is called '{name}'.{nearest(name, switches)}")
            found[switches[name]] = ours | {name: True}
        return found


@dataclass(frozen=True)
class WordsAsBeaconsRecipe(Recipe):
    """Tabular students of teachers that are right always, often or half of the time, and PPO students in MiniGrid.

    A claim that compares teachers in MiniGrid is about frames or areas under curves of success over the last 100 episodes.
    """

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)

    rooms: RoomsOptions = RoomsOptions()
    """Two rooms and a table."""
    grid: GridOptions = GridOptions()
    """MiniGrid and PPO."""

    def quick(self) -> Self:
        """Return the variant of 60,000 steps in the two rooms alone."""
        return replace(self, rooms=replace(self.rooms, steps=60_000), grid=replace(self.grid, frames=0))

    def run(self, run: Run) -> Report:
        """Train every student of every seed and compare what they reach, and when."""
        from tutelage.recipes.control.words_as_beacons_report import tell

        arms = list(self.grid.arms()) if self.grid.frames else []
        rooms = {seed: kept(run, f"seed-{seed}/rooms", partial(self.tables, run, seed)) for seed in run.seeds}
        grid: dict[int, dict[str, Curves]] = {}
        for seed in run.seeds if arms else ():
            grid[seed] = {}
            for arm in arms:
                grid[seed] |= kept(run, f"seed-{seed}/{arm.replace(', ', '-').replace(' ', '-')}", partial(self._grid, run, arm, seed))
        report = report_for(run, "Words as Beacons: language models as teachers of subgoals (Ruiz-Gonzalez et al. 2024)")
        tell(report, self, rooms, grid)
        return report

    def pupils(self, seed: int) -> dict[str, list[Pupil]]:
        """Return the tabular students of a seed, by arm."""
        from tutelage.teachers.subgoals import Noise, Noisy, oracle
        from tutelage.train.subgoal_q_learning import Pupil

        alpha = self.rooms.alpha
        kinds: dict[str, dict[str, Any]] = {
            NONE: {},
            ORACLE: {"teacher": oracle, "alpha": alpha},
            NOREWARD: {"teacher": oracle, "alpha": 0.0},
            NOSUBGOAL: {"teacher": oracle, "alpha": alpha, "shown": False},
        }
        for accuracy in self.rooms.accuracies:
            noisy = Noisy(oracle, Noise(accuracy, *self.rooms.distance), "relative")
            kinds[right(accuracy)] = {"teacher": noisy, "alpha": alpha}
        return {
            arm: [Pupil((seed, place, number), **kind) for number in range(self.rooms.students)]
            for place, (arm, kind) in enumerate(kinds.items())
        }

    def tables(self, run: Run, seed: int) -> dict[str, Curves]:
        """Train the tabular students of a seed together."""
        import numpy as np

        from tutelage.train.subgoal_q_learning import learn

        if self.rooms.students < 1:
            raise OptionError(f"students is {self.rooms.students}; expected at least 1.")
        run.say(f"seed-{seed}/rooms ...")
        pupils = self.pupils(seed)
        at, found = learn([pupil for group in pupils.values() for pupil in group], self.rooms.steps, every=self.rooms.every)
        means = np.reshape(found, (len(pupils), self.rooms.students, -1)).mean(1)
        return {arm: {"steps": at.tolist(), "success": row.tolist()} for arm, row in zip(pupils, means, strict=True)}

    def method(self, arm: str) -> WordsAsBeacons:
        """Return the method of an arm in MiniGrid."""
        from tutelage.environments.subgoals import hashed
        from tutelage.methods.control.words_as_beacons import WordsAsBeacons
        from tutelage.teachers.subgoals import noise_of, sentence_embeddings

        grid, options = self.grid, self.grid.arms()[arm]
        if "noise" in options:
            options["noise"] = noise_of(options["noise"], grid.errors_of or grid.environment, grid.options.kind)
        embeds = grid.options.kind == "language" and grid.sentences == "minilm"
        return WordsAsBeacons(**options, embed=sentence_embeddings().__getitem__ if embeds else hashed)

    def _grid(self, run: Run, arm: str, seed: int) -> dict[str, Curves]:
        """Train one PPO student."""
        import numpy as np
        import torch

        from tutelage.train.policies import Watch, train, vectorise

        grid, name = self.grid, f"seed-{seed}/{arm.replace(', ', '-').replace(' ', '-')}"
        if grid.environments < 1 or 2048 % grid.environments:
            raise OptionError(f"environments is {grid.environments}; expected a divisor of 2,048, 8 or 16 for instance.")
        method = self.method(arm)
        makers = method.factories(partial(world, grid.environment), grid.environments)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # The matrices are small: threads would cost more than they bring.
        environments = vectorise(makers, seed=1000 * (seed + 1), subprocess=grid.subprocesses)
        student = method.student(environments, learning_rate=grid.learning_rate, steps=2048 // grid.environments, seed=seed)

        def measure(model: Any) -> dict[str, float]:
            success, episodes = list(model.ep_success_buffer or ()), list(model.ep_info_buffer or ())
            return {
                "success": float(np.mean(success)) if success else 0.0,
                "return": float(np.mean([episode["r"] for episode in episodes])) if episodes else 0.0,
            }

        try:
            rows = train(
                student,
                grid.frames,
                directory=None if run.directory is None else run.directory / name,
                resume=run.resume,
                every=max(grid.frames // 4, 1),
                watch=Watch(measure, grid.every),
                name=name,
                bar=run.bar,
            )
        finally:
            torch.set_num_threads(threads)
            environments.close()
        return {arm: {"steps": [r["step"] for r in rows]} | {key: [r[key] for r in rows] for key in ("success", "return")}}


def right(accuracy: float) -> str:
    """Return the name of the arm of a teacher that is right so often."""
    return f"right {100 * accuracy:g} %"


def world(name: str) -> Any:
    """Build a task of MiniGrid with the fast view.

    Raises:
        OptionError: if there is none of that name.
    """
    import gymnasium

    from tutelage.environments.minigrid_view import fast_view
    from tutelage.errors import optional

    optional("minigrid", "rl")
    try:
        return fast_view(gymnasium.make(name, disable_env_checker=True))
    except gymnasium.error.Error as error:
        raise OptionError(f"No environment is called '{name}' ({error}). MiniGrid's are MiniGrid-KeyCorridorS3R3-v0 and others.") from error


def kept(run: Run, name: str, work: Callable[[], dict[str, Curves]]) -> dict[str, Curves]:
    """Return curves that an earlier call left under a name in the run's directory, or compute and keep them.

    Args:
        run: the run.
        name: path inside it, without a suffix.
        work: computes them.

    Raises:
        CheckpointError: if what was left is damaged.
    """
    path = None if run.directory is None else run.directory / f"{name}.json"
    if path is None:
        return work()
    if path.exists():
        try:
            found: Any = json.loads(path.read_text())
            return {arm: {key: [float(v) for v in row] for key, row in curves.items()} for arm, curves in found.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged ({error}). Remove it to compute it again.") from error
    found = work()
    write_json(path, found)
    return dict(found)


RECIPE = WordsAsBeaconsRecipe
OPTIONS = WordsAsBeaconsOptions
