"""Balancing poles of many lengths with pushes and under gravities of many strengths: Gymnasium's cart-pole over a box of tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.environments.tasks import Task, TaskBox
from tutelage.errors import optional

optional("gymnasium", "rl")
from gymnasium.envs.classic_control.cartpole import CartPoleEnv  # noqa: E402
from gymnasium.wrappers import TimeLimit  # noqa: E402

BOX = TaskBox((0.05, 0.1, 2.0), (1.0, 20.0, 100.0), ("length", "force", "gravity"))
"""Half the pole's length in metres, the push in newtons, gravity in m/s^2; Gymnasium's cart-pole has 0.5, 10 and 9.8.

Where gravity is strong, pushes weak or poles short, nothing balances the pole: more than half of the box cannot be learned.
"""


class TaskCartPole(CartPoleEnv):  # type: ignore[misc]
    """A cart-pole whose pole, push and gravity are a task.

    Args:
        task: half the pole's length in metres, the push in newtons, gravity in m/s^2.
        render_mode: as Gymnasium's.
    """

    def __init__(self, task: Task, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.set_task(task)

    def set_task(self, task: Task) -> None:
        """Change pole, push and gravity; before the next reset."""
        self.length, self.force_mag, self.gravity = (float(value) for value in task)
        self.polemass_length = self.masspole * self.length


def make(task: Task, *, limit: int = 500, render_mode: str | None = None) -> Any:
    """Return a cart-pole of a task.

    Args:
        task: vector of `BOX`.
        limit: steps of an episode.
        render_mode: as Gymnasium's.
    """
    return TimeLimit(TaskCartPole(task, render_mode), limit)


def learnable(count: int, seed: int = 0) -> Task:
    """Draw tasks uniformly from those that a fixed rule can balance: nobody can say of them that they cannot be learned.

    Args:
        count: number of tasks.
        seed: seed of the draw.

    Returns:
        Tasks `[count, 3]`. The rule pushes against a weighted sum of the pole's angle and speed and the cart's place and speed.
    """
    generator = np.random.default_rng(seed)
    found: list[Task] = []
    while len(found) < count:
        task = BOX.uniform(generator)
        if _balances(task):
            found.append(task)
    return np.array(found)


def _balances(task: Task, limit: int = 500) -> bool:
    env = make(task, limit=limit)
    for weights in ((0.05, 0.2, 1.0, 0.3), (0.0, 0.0, 1.0, 0.2)):
        observation, steps, over = env.reset(seed=0)[0], 0, False
        while not over:
            observation, _, terminated, truncated, _ = env.step(int(np.dot(weights, observation) > 0))
            steps, over = steps + 1, terminated or truncated
        if steps == limit:
            return True
    return False
