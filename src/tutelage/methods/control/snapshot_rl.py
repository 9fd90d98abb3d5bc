"""Snapshot-RL: a student's first episodes begin at states that a teacher visited, chosen evenly over how good they are, and are cut short.

Only the environment changes, and only early in training: the student's algorithm, its losses and its networks stay untouched.

Reference: Zhao, Qian, Wang, Shan, Qin, Snapshot Reinforcement Learning: Leveraging Prior Trajectories for Efficiency, arXiv 2403.00673.
Tags: control, reinforcement learning, sample efficiency, initial states, trajectories, curriculum, clustering, MuJoCo, TD3, SAC, PPO
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.recording import record
from tutelage.environments.snapshot_starts import SnapshotStarts
from tutelage.environments.snapshots import Snapshots
from tutelage.errors import OptionError
from tutelage.selection.status import class_uniform, status_classes

if TYPE_CHECKING:
    from tutelage.teachers.policies import PolicyTeacher

CLUSTERS = {"td3": 6, "sac": 4, "ppo": 6}
"""Published number of classes of status by algorithm."""


class SnapshotRL:
    """S3RL: snapshots of a teacher's trajectories, status classification (SC) and student trajectory truncation (STT).

    1. `collect`: the teacher plays `num_ep` episodes in the original environment; every `save_frequency` steps the simulator's state and
       the critic's value `f(s)` are kept.
    2. `weights`: k-means on `f` makes classes; a class is drawn uniformly, then a snapshot in it.
    3. `environment`: for `snapshot_timesteps` steps `reset` goes to a drawn snapshot, and the episode is cut `truncate_step` steps later,
       as a timeout. Then it is the original environment. Evaluate in the original one.

    Batch: none. Students learn by their own algorithm from the environment's observations, rewards and ends of episodes.

    With Stable-Baselines3, where `make` builds the environment and `expert` is a trained TD3:

        method = SnapshotRL.published("td3")
        snapshots = method.collect(make(), sb3_teacher(expert))
        student = TD3("MlpPolicy", DummyVecEnv(method.factories(make, snapshots)))
        student.learn(1_000_000, callback=method.callbacks())

    Args:
        n_clusters: K of status classification, clipped to the number of different values. Default 6 (TD3 and PPO; SAC has 4); 1 draws
            uniformly from all snapshots, which leaves SC out.
        truncate_step: longest episode from a snapshot, in environment steps. Default 100; `None` is the environment's horizon, which leaves
            STT out.
        snapshot_timesteps: environment steps of the first phase, over all parallel environments. Default 100,000 of 1,000,000; 0 is the
            plain algorithm, bit for bit.
        save_frequency: environment steps between snapshots. Default 10.
        num_ep: episodes of the teacher. Default 10.
        best_num_ep: episodes kept, those with the highest returns. Default 10, all.
        drop_buffer: empty an off-policy student's replay buffer after the first phase. Default false.

    Raises:
        OptionError: for an option out of range.

    Source: section 4 of arXiv 2403.00673 and the code published with it.
    """

    def __init__(
        self,
        *,
        n_clusters: int = 6,
        truncate_step: int | None = 100,
        snapshot_timesteps: int = 100_000,
        save_frequency: int = 10,
        num_ep: int = 10,
        best_num_ep: int = 10,
        drop_buffer: bool = False,
    ) -> None:
        for name, value in {
            "n_clusters": n_clusters,
            "save_frequency": save_frequency,
            "num_ep": num_ep,
            "best_num_ep": best_num_ep,
        }.items():
            if value < 1:
                raise OptionError(f"{name} is {value}; expected 1 or more.")
        if snapshot_timesteps < 0 or (truncate_step is not None and truncate_step < 1):
            raise OptionError(
                f"snapshot_timesteps is {snapshot_timesteps}, truncate_step is {truncate_step}; expected 0 or more, and None or 1 or more."
            )
        self.n_clusters, self.truncate_step, self.snapshot_timesteps = n_clusters, truncate_step, snapshot_timesteps
        self.save_frequency, self.num_ep, self.best_num_ep, self.drop_buffer = save_frequency, num_ep, best_num_ep, drop_buffer

    @classmethod
    def published(cls, algorithm: Literal["td3", "sac", "ppo"]) -> SnapshotRL:
        """Return the method with the paper's options for an algorithm."""
        if algorithm not in CLUSTERS:
            raise OptionError(f"algorithm is '{algorithm}'; the paper has {', '.join(CLUSTERS)}.")
        return cls(n_clusters=CLUSTERS[algorithm])

    def collect(self, env: Any, teacher: PolicyTeacher, *, seed: int = 0) -> Snapshots:
        """Let the teacher play and keep snapshots of its best episodes.

        Args:
            env: the original environment.
            teacher: its policy and critic.
            seed: seed of its episodes.
        """
        return record(env, teacher.act, teacher.value, episodes=self.num_ep, every=self.save_frequency, seed=seed).best(self.best_num_ep)

    def classes(self, snapshots: Snapshots) -> NDArray[np.int64]:
        """Return the class of status of each snapshot `[n]`, from 0 for the lowest values."""
        return status_classes(snapshots.values, self.n_clusters)

    def weights(self, snapshots: Snapshots) -> NDArray[np.float64]:
        """Return the probability of each snapshot `[n]`: a class uniformly, then a snapshot in it."""
        return class_uniform(self.classes(snapshots))

    def environment(self, env: Any, snapshots: Snapshots, *, share: tuple[int, int] = (0, 1), seed: int = 0) -> Any:
        """Wrap the original environment.

        Args:
            env: the original environment, with its time limit.
            snapshots: what `collect` returned in an environment of the same kind.
            share: number of this environment among how many parallel ones; their phases have `snapshot_timesteps` steps together.
            seed: seed of the draws of snapshots.

        Raises:
            DataError: if the snapshots are of another environment or version.
        """
        number, count = share
        return SnapshotStarts(
            env,
            snapshots,
            steps=self.snapshot_timesteps // count + (number < self.snapshot_timesteps % count),
            weights=self.weights(snapshots),
            truncate_step=self.truncate_step,
            seed=seed + number,
        )

    def factories(self, make: Callable[[], Any], snapshots: Snapshots, count: int = 1, *, seed: int = 0) -> list[Callable[[], Any]]:
        """Return factories of parallel environments, for `DummyVecEnv` or `SubprocVecEnv` of Stable-Baselines3.

        Args:
            make: builds the original environment.
            snapshots: what `collect` returned.
            count: how many environments.
            seed: seed of the draws of snapshots.
        """

        def build(number: int) -> Callable[[], Any]:
            return lambda: self.environment(make(), snapshots, share=(number, count), seed=seed)

        return [build(number) for number in range(count)]

    def callbacks(self) -> list[Any]:
        """Return the callbacks that a student of Stable-Baselines3 needs: none, unless the replay buffer is dropped."""
        if not self.drop_buffer:
            return []
        from stable_baselines3.common.callbacks import BaseCallback

        steps = self.snapshot_timesteps

        class DropBuffer(BaseCallback):  # type: ignore[misc]
            """Empties the replay buffer before the first transition from the original environment is stored."""

            done = False

            def _on_rollout_start(self) -> None:
                if not self.done and self.num_timesteps >= steps:
                    self.done = True
                    self.model.replay_buffer.reset()

            def _on_step(self) -> bool:
                return True

        return [DropBuffer()]
