"""RIAC: a tree of boxes over task space, split where learning progress differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.tasks import Task, TaskBox
from tutelage.errors import OptionError
from tutelage.teachers.curricula.base import Curriculum


@dataclass
class _Region:
    """A box with its last pairs, and once it is split the children and where."""

    low: Task
    high: Task
    tasks: list[Task] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    progress: float = 0.0
    axis: int = -1
    threshold: float = 0.0
    below: int = -1
    above: int = -1


class RIAC(Curriculum):
    """Draws tasks from boxes in proportion to their absolute learning progress, and splits boxes that hold many tasks.

    Args:
        box: the tasks.
        capacity: pairs that a leaf holds before it is split, and over how many of the last values progress is taken.
        splits: random splits that are tried.
        min_share: smallest share of `capacity` in each child.
        min_side: smallest side of a child, as a share of the whole box's.
        random_ratio: share of tasks drawn uniformly from the whole box.
        mutation_ratio: share of tasks that are the worst of a region, jittered.
        jitter: standard deviation of the jitter, in units of the parameters.
        candidates: `all` nodes of the tree or its `leaves` can be drawn.
        score: `sizes` weighs a split by the product of its children's counts; `released` as the released code does, by 4.
        seed: seed of its random choices.
        value_range: see `Curriculum`.

    Raises:
        OptionError: if an option is out of range.

    Source: Baranes and Oudeyer 2009, as the baseline of Portelas et al. 2019 (sheet of ALP-GMM).
    """

    def __init__(
        self,
        box: TaskBox,
        *,
        capacity: int = 200,
        splits: int = 50,
        min_share: float = 1 / 20,
        min_side: float = 1 / 15,
        random_ratio: float = 0.2,
        mutation_ratio: float = 0.1,
        jitter: float = 0.1,
        candidates: Literal["all", "leaves"] = "all",
        score: Literal["sizes", "released"] = "sizes",
        seed: int = 0,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(box, seed=seed, value_range=value_range)
        if capacity < 4 or splits < 1 or random_ratio < 0 or mutation_ratio < 0 or random_ratio + mutation_ratio > 1 or jitter < 0:
            raise OptionError(
                f"RIAC got capacity={capacity}, splits={splits}, random_ratio={random_ratio}, mutation_ratio={mutation_ratio}, "
                f"jitter={jitter}; expected at least 4 and 1, ratios that sum to at most 1, and a jitter of at least 0."
            )
        if candidates not in ("all", "leaves") or score not in ("sizes", "released"):
            raise OptionError(f"RIAC got candidates='{candidates}', score='{score}'; expected all or leaves, sizes or released.")
        self.capacity, self.splits, self.least, self.min_side = capacity, splits, max(1, round(capacity * min_share)), min_side
        self.random_ratio, self.mutation_ratio, self.jitter = random_ratio, mutation_ratio, jitter
        self.candidates, self.score = candidates, score
        self.regions = [_Region(box.lows.copy(), box.highs.copy())]

    def sample(self) -> Task:
        """Return a task `[d]`: uniform, from a region with progress, or near the worst task of one."""
        kind = self.generator.random()
        region = self._draw()
        if kind < self.random_ratio or region is None:
            return self.box.uniform(self.generator)
        if kind < self.random_ratio + self.mutation_ratio and region.values:
            worst = region.tasks[int(np.argmin(region.values))]
            moved = worst + self.jitter * self.generator.standard_normal(len(worst))
            return np.clip(moved, region.low, region.high)
        return self.box.clip(region.low + (region.high - region.low) * self.generator.random(len(region.low)))

    def _draw(self) -> _Region | None:
        """Draw a region in proportion to its progress; none where there is no progress anywhere."""
        nodes = self.regions if self.candidates == "all" else [r for r in self.regions if r.axis < 0]
        sums = np.cumsum([r.progress for r in nodes])
        if sums[-1] <= 0:
            return None
        return nodes[min(int(np.searchsorted(sums, self.generator.random() * sums[-1], side="right")), len(nodes) - 1)]

    def learn(self, task: Task, value: float) -> None:
        """Hand a pair down the tree, and split the leaf that holds too many."""
        region = self.regions[0]
        while True:
            region.tasks.append(task)
            region.values.append(value)
            if region.axis < 0:
                break
            del region.tasks[: -self.capacity - 1], region.values[: -self.capacity - 1]
            region.progress = self._progress(region.values)
            region = self.regions[region.below if task[region.axis] < region.threshold else region.above]
        if len(region.values) > self.capacity:
            self._split(region)
        region.progress = self._progress(region.values)

    def _progress(self, values: list[float] | NDArray[np.float64]) -> float:
        last = values[-self.capacity :]
        half = len(last) // 2
        if half == 0:
            return 0.0
        return float(abs(sum(last[-half:]) / half - sum(last[:-half]) / (len(last) - half)))

    def _split(self, region: _Region) -> None:
        """Split a leaf at the best of several random places, or forget its oldest quarter where none is allowed."""
        tasks, values = np.array(region.tasks), np.array(region.values)
        best, chosen = -1.0, (-1, 0.0)
        for _ in range(self.splits):
            axis = int(self.generator.integers(self.box.dimension))
            threshold = float(region.low[axis] + (region.high[axis] - region.low[axis]) * self.generator.random())
            side = self.min_side * self.box.ranges[axis]
            below = tasks[:, axis] < threshold
            small = int(below.sum())
            if min(small, len(below) - small) < self.least or min(threshold - region.low[axis], region.high[axis] - threshold) < side:
                continue
            sizes = small * (len(below) - small) if self.score == "sizes" else 4
            score = sizes * abs(self._progress(values[below]) - self._progress(values[~below]))
            if score > best:
                best, chosen = score, (axis, threshold)
        if best < 0:
            del region.tasks[: len(region.tasks) // 4], region.values[: len(region.values) // 4]
            return
        region.axis, region.threshold = chosen
        region.below, region.above = len(self.regions), len(self.regions) + 1
        for inside, lower in ((tasks[:, region.axis] < region.threshold, True), (tasks[:, region.axis] >= region.threshold, False)):
            child = _Region(region.low.copy(), region.high.copy(), list(tasks[inside]), [float(v) for v in values[inside]])
            (child.high if lower else child.low)[region.axis] = region.threshold
            child.progress = self._progress(child.values)
            self.regions.append(child)

    def memory(self) -> dict[str, Any]:
        """Return every region with its pairs."""
        return {
            "regions": [
                {
                    "bounds": np.stack([r.low, r.high]),
                    "tasks": np.array(r.tasks).reshape(-1, self.box.dimension),
                    "values": list(r.values),
                    "tree": [r.axis, r.threshold, r.below, r.above, r.progress],
                }
                for r in self.regions
            ]
        }

    def load_memory(self, memory: dict[str, Any]) -> None:
        """Take up what `memory` returned."""
        self.regions = []
        for kept in memory["regions"]:
            axis, threshold, below, above, progress = kept["tree"]
            low, high = np.array(kept["bounds"])
            tasks, values = list(np.array(kept["tasks"])), [float(v) for v in kept["values"]]
            self.regions.append(_Region(low, high, tasks, values, progress, int(axis), threshold, int(below), int(above)))
