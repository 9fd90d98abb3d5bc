"""Tabular Q-learning: many independent learners at once, each a function of its own seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.mazes import SerpentineMaze
from tutelage.errors import OptionError

_BLOCK = 2000
_NUMBERS = 8  # per step: explore?, explored action, slip?, slipped action, four to break ties


@dataclass(frozen=True)
class Starts:
    """Where a learner's episodes begin, and for how long, during its first steps.

    Args:
        cells: cells to begin at, int64 `[n]`.
        weights: probability of each `[n]`.
        limit: longest episode from one of them.
        steps: steps during which episodes begin there; the last cuts its episode. 0 for never.
    """

    cells: NDArray[np.int64]
    weights: NDArray[np.float64]
    limit: int
    steps: int


@dataclass(frozen=True)
class Learner:
    """One learner: its stream of random numbers and where its episodes begin (`None` for the maze's start alone)."""

    seed: tuple[int, ...]
    starts: Starts | None = None


def q_learning(
    maze: SerpentineMaze,
    learners: Sequence[Learner],
    steps: int,
    *,
    horizon: int = 150,
    every: int = 4000,
    rate: float = 0.2,
    discount: float = 0.99,
    explore: float = 0.1,
    watch: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Train learners from zero tables; episodes cut by a limit go on bootstrapping.

    Args:
        maze: the maze; it is not stepped, its table of moves is used.
        learners: the learners; none depends on which others there are.
        steps: environment steps of each.
        horizon: longest episode from the maze's start. Default 150.
        every: steps between measurements. Default 4000.
        rate: learning rate. Default 0.2.
        discount: gamma. Default 0.99.
        explore: probability of a random action. Default 0.1.
        watch: called with the steps done after every measurement.

    Returns:
        Steps of the measurements `[m]`; each learner's exact probability to reach the goal in time from the start by its greedy policy
        `[learners, m]`; the tables `[learners, cells, 4]`.

    Source: Watkins and Dayan, Q-learning, 1992; constants are those of the sheet's small experiment.
    """
    if not learners or steps < 1 or every < 1 or horizon < 1:
        raise OptionError(f"q_learning got {len(learners)} learners, {steps} steps, every {every}, horizon {horizon}; expected 1 or more.")
    count, rows = len(learners), np.arange(len(learners))
    streams = [np.random.default_rng(learner.seed) for learner in learners]
    starts = [np.random.default_rng([*learner.seed, 1]) for learner in learners]
    phase = np.array([0 if learner.starts is None else learner.starts.steps for learner in learners])
    table = np.zeros((count, maze.size**2, 4))
    cell, taken, limit = (np.zeros(count, np.int64) for _ in range(3))

    def begin(which: NDArray[np.int64], now: int) -> None:
        for number in which:
            place = learners[number].starts
            inside = place is not None and now < place.steps
            cell[number] = starts[number].choice(place.cells, p=place.weights) if place is not None and inside else maze.start
            limit[number] = place.limit if place is not None and inside else horizon
        taken[which] = 0

    begin(rows, 0)
    at, found = [], []
    for step in range(steps):
        if step % _BLOCK == 0:
            numbers = np.stack([stream.random((_BLOCK, _NUMBERS)) for stream in streams], 1)
        chance = numbers[step % _BLOCK]
        value = table[rows, cell]
        tied = value == value.max(1, keepdims=True)
        action = np.where(chance[:, 0] < explore, (chance[:, 1] * 4).astype(np.int64), (tied * (1 + chance[:, 4:])).argmax(1))
        done_action = np.where(chance[:, 2] < maze.slip, (chance[:, 3] * 4).astype(np.int64), action)
        there = maze.moves[cell, done_action]
        goal = there == maze.goal
        target = goal + discount * table[rows, there].max(1) * ~goal
        table[rows, cell, action] += rate * (target - value[rows, action])
        cell, taken = there, taken + 1
        over = goal | (taken >= limit) | (phase == step + 1)
        if over.any():
            begin(np.flatnonzero(over), step + 1)
        if (step + 1) % every == 0 or step + 1 == steps:
            at.append(step + 1)
            found.append(maze.success(table, horizon))
            if watch is not None:
                watch(step + 1)
    return np.array(at), np.stack(found, 1), table
