"""Subgoals in grid worlds: a wrapper that shows a teacher's next subgoal to the student, and pays a bonus when it is reached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.cells import SENTENCES, Content, content, describe, position, within
from tutelage.errors import OptionError, ShapeError, TrainingError, nearest, optional

optional("gymnasium", "rl")
import gymnasium  # noqa: E402

Kind = Literal["relative", "representation", "language"]
Vector = NDArray[np.float32]

WIDTHS: dict[str, int] = {"relative": 2, "representation": 3, "language": 384}
"""Numbers in what the student sees of a subgoal, by kind."""
FALLBACKS: dict[str, float] = {"relative": 0.0, "representation": -1.0, "language": 0.0}
"""What fills them while there is no subgoal."""


class Subgoal(NamedTuple):
    """A cell to reach or to change.

    Args:
        x: its column.
        y: its row.
        text: what is there, one of `SENTENCES`; empty to have it read from the cell when the subgoal becomes the current one.
    """

    x: int
    y: int
    text: str = ""


NOWHERE = Subgoal(-1, -1)
"""Keeps the place of a subgoal that could not be read; as every cell out of the grid it is dropped."""

Teacher = Callable[[Any, int, np.random.Generator], Sequence[Subgoal]]
"""From (the environment after its reset, the seed of its level, a generator) to subgoals in order, the last of which is the task itself."""


@dataclass(frozen=True)
class Counts:
    """What a tracker saw of its teacher: episodes, those without any subgoal, subgoals out of the grid, subgoals reached."""

    episodes: int = 0
    empty: int = 0
    outside: int = 0
    reached: int = 0


def hashed(text: str) -> Vector:
    """Return a unit vector `[384]` that a text alone decides: it stands in for a sentence embedding where no encoder is at hand.

    Args:
        text: any text.
    """
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    drawn = np.random.default_rng(seed).standard_normal(WIDTHS["language"])
    return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


class SubgoalTracker(gymnasium.Wrapper):  # type: ignore[misc]
    """Shows the current subgoal beside the observation, and adds `alpha (1 - n / T)` to the reward when it is reached after n steps.

    A subgoal is reached when the agent stands on its cell, or when what the cell holds changes during a step. The last subgoal of the
    list is the task itself: it is neither shown nor paid. Subgoals out of the grid are dropped and counted. Observations become
    dictionaries: `image` (float32, channels first, of environments that have one; else `observation` as it is) and `subgoal`. Infos bear
    `subgoals` (reached, of how many, reached too early, the bonus so far) and, when an episode ends, `is_success` and `episode` with the
    return `r` that the environment alone paid: Stable-Baselines3 averages both over the last 100 episodes.

    Args:
        env: a MiniGrid environment, or any with `agent_pos`, `width`, `height`, `max_steps` and `content(x, y)`.
        teacher: returns the subgoals of a level.
        kind: what is shown: `relative` is the way there in columns and rows `[2]`, `representation` what the cell holds `[3]`, `language`
            the embedding of its text `[384]`. Default `representation`, the best of the paper.
        alpha: weight of the bonus. Default 0.2 (the published code's own default is 1).
        decay: whether the bonus falls with the steps n since the last subgoal, over the episode's limit T; otherwise it is alpha.
        noreward: show subgoals and pay nothing (ablation).
        nosubgoal: pay and show nothing, so that the policy needs no teacher when it is deployed.
        levels: draw levels from the seeds 0 to this (excluded), as recorded answers need; `None` takes each reset's own seed.
        embed: from a text to its embedding `[384]`, for `language`; hash-seeded unit vectors by default.
        pretrain: the first subgoal is the whole task: reaching it pays the bonus and ends the episode; nothing else is paid.

    Raises:
        OptionError: for a value out of range, or an environment without a grid.

    Source: Ruiz-Gonzalez et al. 2024, Words as Beacons, arXiv 2410.08632, and the code published with it.
    """

    def __init__(
        self,
        env: Any,
        teacher: Teacher,
        *,
        kind: Kind = "representation",
        alpha: float = 0.2,
        decay: bool = True,
        noreward: bool = False,
        nosubgoal: bool = False,
        levels: int | None = None,
        embed: Callable[[str], Any] = hashed,
        pretrain: bool = False,
    ) -> None:
        super().__init__(env)
        if kind not in WIDTHS:
            raise OptionError(f"kind is '{kind}'.{nearest(str(kind), WIDTHS)}")
        if not 0 <= alpha < np.inf or (levels is not None and levels < 1):
            raise OptionError(f"alpha is {alpha}, levels is {levels}; expected a number of at least 0, and None or at least 1.")
        missing = [name for name in ("width", "height", "max_steps") if not hasattr(env.unwrapped, name)]
        if missing:
            raise OptionError(f"{env} has no {', '.join(missing)}: subgoals are cells, so expected a MiniGrid environment or one like it.")
        self.teacher, self.kind, self.alpha, self.decay = teacher, kind, 0.0 if noreward else float(alpha), decay
        self.shown, self.levels, self.embed, self.pretrain = not nosubgoal, levels, embed, pretrain
        self.limit = int(env.unwrapped.max_steps)
        self.counts = Counts()
        self.level = 0
        self._generator = np.random.default_rng()
        self._vectors: dict[str, Vector] = {}
        self._fallback = np.full(WIDTHS[kind], FALLBACKS[kind], np.float32)
        self._image = isinstance(env.observation_space, gymnasium.spaces.Dict) and "image" in env.observation_space.spaces
        self.observation_space = self._space(env.observation_space)
        self._begin([])

    def _space(self, inner: Any) -> Any:
        spaces = gymnasium.spaces
        seen: dict[str, Any] = {"observation": inner}
        if self._image:
            rows, columns, channels = inner["image"].shape
            # Bounds other than 0 and 255, so that nobody takes symbols for pixels and divides them.
            seen = {"image": spaces.Box(0, 15, (channels, rows, columns), np.float32)}
        if self.shown:
            low, high = (-1.0, 15.0) if self.kind == "representation" else (-np.inf, np.inf)
            seen["subgoal"] = spaces.Box(low, high, (WIDTHS[self.kind],), np.float32)
        return spaces.Dict(seen)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode and ask the teacher for its subgoals.

        Raises:
            TrainingError: if the teacher raises an exception or returns no list of `Subgoal`.
        """
        if seed is not None:
            self._generator = np.random.default_rng([seed, 1])  # not the stream from which the level is drawn
        drawn = int(self._generator.integers(self.levels or 2**31))
        self.level = drawn if self.levels is not None or seed is None else int(seed)
        observation, info = self.env.reset(seed=self.level, options=options)
        given = self._ask(self._generator)
        self._begin(given)
        asked = len(given) if self.pretrain else max(len(given) - 1, 0)
        counts, outside = self.counts, asked - len(self.subgoals)
        self.counts = Counts(counts.episodes + 1, counts.empty + (not self.subgoals), counts.outside + outside, counts.reached)
        return self._see(observation), info | {"subgoals": self._told()}

    def _ask(self, generator: np.random.Generator) -> list[Subgoal]:
        try:
            given = [Subgoal(*subgoal) for subgoal in self.teacher(self.env, self.level, generator)]
            whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for s in given for v in s[:2])
        except (TypeError, ValueError) as error:
            raise TrainingError(f"The teacher's answer for level {self.level} is no list of Subgoal(x, y, text): {error}.") from error
        if not whole or any(s.text and s.text not in SENTENCES for s in given):
            raise TrainingError(
                f"The teacher's answer for level {self.level} is {given}; expected whole numbers x and y, and no text or one of "
                f"{', '.join(SENTENCES)}."
            )
        return given

    def _begin(self, given: Sequence[Subgoal]) -> None:
        """Take up a list; which subgoal is the task itself is settled before any is dropped."""
        steps = given if self.pretrain else given[:-1]
        self.subgoals = [s for s in steps if within(self.env, s.x, s.y)]
        self.current, self.waited, self.steps, self.early = 0, 0, 0, 0
        self.bonus = self.extrinsic = 0.0
        self._held = self._contents()

    def _contents(self) -> list[Content]:
        return [content(self.env, s.x, s.y) for s in self.subgoals]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; the reward is the environment's and the bonus."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        self.waited += 1
        self.extrinsic += float(reward)
        success = bool(terminated and reward > 0)
        bonus = self._advance()
        if self.pretrain:
            reward, success = 0.0, bonus is not None
            terminated = terminated or success
        self.bonus += bonus or 0.0
        info = info | {"subgoals": self._told()}
        if terminated or truncated:
            info |= {"is_success": success, "episode": {"r": self.extrinsic, "l": self.steps, "t": 0.0}}
        return self._see(observation), float(reward) + (bonus or 0.0), bool(terminated), bool(truncated), info

    def _advance(self) -> float | None:
        """Return the bonus if the current subgoal was reached in this step, else None."""
        if self.current >= len(self.subgoals):
            return None
        here, now = position(self.env), self._contents()
        done = [(s.x, s.y) == here or old != new for s, old, new in zip(self.subgoals, self._held, now, strict=True)]
        self._held = now
        self.early += sum(done[self.current + 1 :])
        if not done[self.current]:
            return None
        bonus = self.alpha * (1 - self.waited / self.limit if self.decay else 1.0)
        self.current += 1
        self.waited = 0
        self.counts = Counts(self.counts.episodes, self.counts.empty, self.counts.outside, self.counts.reached + 1)
        return bonus

    def _told(self) -> dict[str, Any]:
        return {"reached": self.current, "of": len(self.subgoals), "early": self.early, "bonus": self.bonus}

    def _see(self, observation: Any) -> dict[str, Any]:
        seen = {"observation": observation}
        if self._image:
            seen = {"image": np.asarray(observation["image"], np.float32).transpose(2, 0, 1)}
        return seen | {"subgoal": self.vector()} if self.shown else seen

    def vector(self) -> Vector:
        """Return what is shown of the current subgoal: a float32 vector, the fallback of its kind when there is none."""
        if self.current >= len(self.subgoals):
            return self._fallback
        subgoal = self.subgoals[self.current]
        if self.kind == "relative":
            x, y = position(self.env)
            return np.array([subgoal.x - x, subgoal.y - y], np.float32)
        held = content(self.env, subgoal.x, subgoal.y)
        return np.array(held, np.float32) if self.kind == "representation" else self._embedding(subgoal.text or describe(held))

    def _embedding(self, text: str) -> Vector:
        if not text:
            return self._fallback
        if text not in self._vectors:
            found = np.asarray(self.embed(text), np.float32)
            if found.shape != self._fallback.shape or not np.isfinite(found).all():
                raise ShapeError(f"The embedding of '{text}' has the shape {found.shape}; expected {self._fallback.shape}, all finite.")
            self._vectors[text] = found
        return self._vectors[text]
