"""Tabular Q-learning with a teacher of subgoals in two rooms: many independent learners at once, each a function of its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.cells import within
from tutelage.environments.rooms import TwoRooms
from tutelage.environments.subgoals import Teacher
from tutelage.errors import OptionError

_BLOCK = 2000
_NUMBERS = 8  # per step: explore?, explored action, six to break ties
_NONE = -1
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Pupil:
    """One learner.

    Args:
        seed: its stream of random numbers.
        teacher: who names subgoals; `None` for nobody.
        alpha: bonus for each subgoal that is reached, constant: a table that knows no clock un-learns what pays less with time.
        shown: whether the current subgoal is part of the state.
    """

    seed: tuple[int, ...]
    teacher: Teacher | None = None
    alpha: float = 0.2
    shown: bool = True


class Crowd:
    """Many copies of two rooms, with subgoals, stepped together; what `SubgoalTracker` does to one, this does to all.

    Args:
        pupils: one per copy; copies may share a pupil's options.
        seeds: seed of each copy's teacher.
    """

    def __init__(self, pupils: Sequence[Pupil], seeds: Sequence[tuple[int, ...]]) -> None:
        self.world = TwoRooms()
        self.pupils, count = pupils, len(pupils)
        self.streams = [np.random.default_rng([*seed, 1]) for seed in seeds]
        self.alpha = np.array([pupil.alpha for pupil in pupils])
        self.shown = np.array([pupil.shown and pupil.teacher is not None for pupil in pupils])
        self.lists: list[list[int]] = [[] for _ in pupils]
        self.state, self.steps, self.reached, self.target = (np.zeros(count, np.int64) for _ in range(4))
        self.begin(np.arange(count))

    @cached_property
    def cells(self) -> int:
        """Number of cells of the grid."""
        return self.world.width * self.world.height

    def begin(self, which: Whole) -> None:
        """Begin an episode in some copies."""
        for i in which:
            teacher = self.pupils[i].teacher
            given = [] if teacher is None else list(teacher(self.world, 0, self.streams[i]))[:-1]
            self.lists[i] = [s.y * self.world.width + s.x for s in given if within(self.world, s.x, s.y)]
            self.reached[i] = 0
            self.target[i] = self.lists[i][0] if self.lists[i] else _NONE
        self.state[which] = self.world.state
        self.steps[which] = 0

    def rows(self) -> Whole:
        """Return each copy's row of a table: its state, and its current subgoal where that is shown."""
        seen = np.where(self.shown, self.target + 1, 0)
        found: Whole = seen * (4 * self.cells) + self.state
        return found

    def step(self, action: Whole) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Take a step in every copy; episodes that are over are not begun anew.

        Returns:
            Rewards with bonuses, which copies ended with success, and which were cut by the limit.
        """
        there = self.world.moves[self.state, action]
        done = there < 0
        there = np.where(done, self.state, there)
        self.steps += 1
        changed = (there // self.cells) ^ (self.state // self.cells)
        cell = there % self.cells
        key, door = (y * self.world.width + x for x, y in (self.world.key, self.world.door))
        hit = (self.target == cell) | ((self.target == key) & (changed & 1 > 0)) | ((self.target == door) & (changed & 2 > 0))
        self.state = there
        for i in np.flatnonzero(hit):
            self.reached[i] += 1
            left = self.lists[i][self.reached[i] :]
            self.target[i] = left[0] if left else _NONE
        return done + self.alpha * hit, done, ~done & (self.steps >= self.world.max_steps)


def learn(
    pupils: Sequence[Pupil],
    steps: int,
    *,
    every: int = 10_000,
    episodes: int = 20,
    rate: float = 0.2,
    discount: float = 0.99,
    explore: float = 0.1,
) -> tuple[Whole, NDArray[np.float64]]:
    """Train pupils from zero tables; episodes that the limit cuts go on bootstrapping.

    Args:
        pupils: the learners; none depends on which others there are.
        steps: environment steps of each.
        every: steps between measurements. Default 10,000.
        episodes: episodes of a measurement, played nearly greedily (a twentieth of the actions random) with the pupil's own teacher.
            Default 20.
        rate: learning rate. Default 0.2.
        discount: gamma. Default 0.99.
        explore: probability of a random action. Default 0.1.

    Returns:
        Steps of the measurements `[m]`, and each pupil's share of episodes that reach the ball `[pupils, m]`.

    Source: the small experiment of the sheet of Words as Beacons, whose constants these are.
    """
    if not pupils or steps < 1 or every < 1 or episodes < 1:
        raise OptionError(f"learn got {len(pupils)} pupils, {steps} steps, every {every}, {episodes} episodes; expected 1 or more of each.")
    crowd = Crowd(pupils, [pupil.seed for pupil in pupils])
    streams = [np.random.default_rng(pupil.seed) for pupil in pupils]
    learners = np.arange(len(pupils))
    sizes = np.where(crowd.shown, (crowd.cells + 1) * 4 * crowd.cells, 4 * crowd.cells)
    offset = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    table = np.zeros((int(sizes.sum()), 6))
    at: list[int] = []
    found: list[NDArray[np.float64]] = []
    row = offset + crowd.rows()
    for step in range(steps):
        if step % _BLOCK == 0:
            numbers = np.stack([stream.random((_BLOCK, _NUMBERS)) for stream in streams], 1)
        action = choose(table[row], numbers[step % _BLOCK], explore)
        reward, done, cut = crowd.step(action)
        after = offset + crowd.rows()
        target = reward + discount * table[after].max(1) * ~done
        table[row, action] += rate * (target - table[row, action])
        if (over := done | cut).any():
            crowd.begin(np.flatnonzero(over))
            after = offset + crowd.rows()
        row = after
        if (step + 1) % every == 0 or step + 1 == steps:
            at.append(step + 1)
            play = Crowd([p for p in pupils for _ in range(episodes)], [(*p.seed, step + 1, n) for p in pupils for n in range(episodes)])
            found.append(_succeeded(play, table, np.repeat(offset, episodes)).reshape(len(learners), episodes).mean(1))
    return np.array(at), np.stack(found, 1)


def choose(values: NDArray[np.float64], chance: NDArray[np.float64], explore: float) -> Whole:
    """Return the best action `[n]` by values `[n, 6]`, ties broken at random, or a random one.

    Args:
        values: values of the actions.
        chance: numbers in [0, 1) `[n, 8]`: explore?, which, and six to break ties.
        explore: probability of a random action.
    """
    tied = values == values.max(1, keepdims=True)
    best = (tied * (1 + chance[:, 2:])).argmax(1)
    chosen: Whole = np.where(chance[:, 0] < explore, (chance[:, 1] * 6).astype(np.int64), best)
    return chosen


def _succeeded(play: Crowd, table: NDArray[np.float64], offset: Whole) -> NDArray[np.float64]:
    """Return for each copy whether its episode reached the ball, exploring in a twentieth of its steps."""
    success = np.zeros(len(play.pupils), bool)
    for _ in range(play.world.max_steps):
        # The copies' own streams are the teachers': one stream each, drawn in one order, keeps a pupil independent of its company.
        chance = np.stack([stream.random(_NUMBERS) for stream in play.streams])
        _, done, _ = play.step(choose(table[offset + play.rows()], chance, 0.05))
        success |= done
        if success.all():
            break
    return success.astype(np.float64)
