"""What a policy reaches on fixed tasks, many environments at a time, and videos of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.environments.task_environment import finite
from tutelage.errors import OptionError, TrainingError, optional
from tutelage.files import replacing

Predict = Callable[[Any], Any]
"""From a batch of observations `[n, ...]` to a batch of actions `[n, ...]`."""


def answers(policy: Any, *, deterministic: bool = True) -> Predict:
    """Return what a policy does as a function of a batch of observations.

    Args:
        policy: a model of Stable-Baselines3 (normalised as in its training), or such a function.
        deterministic: whether a model of Stable-Baselines3 takes its best action or samples.
    """
    if not hasattr(policy, "predict"):
        return policy  # type: ignore[no-any-return]
    normaliser = getattr(policy, "get_vec_normalize_env", lambda: None)()

    def predict(observations: Any) -> Any:
        seen = observations if normaliser is None else normaliser.normalize_obs(observations)
        return policy.predict(seen, deterministic=deterministic)[0]

    return predict


def returns(
    policy: Any,
    make: Callable[[Any], Any],
    tasks: Sequence[Any] | NDArray[Any],
    *,
    seeds: Sequence[int] = (0,),
    batch: int = 16,
    deterministic: bool = True,
    limit: int = 10_000,
    on_failure: Literal["stop", "skip"] = "stop",
) -> NDArray[np.float64]:
    """Play one episode of every task with every seed and return what each brought in.

    Args:
        policy: a model of Stable-Baselines3, or a function from a batch of observations to actions. It is only asked.
        make: from a task to a Gymnasium environment.
        tasks: the tasks, vectors `[n, d]` for instance.
        seeds: seeds of the environments; the same for every task.
        batch: environments that are played side by side, so that the policy answers them in one call.
        deterministic: whether the policy takes its best action or samples.
        limit: steps after which an episode without an end of its own is cut.
        on_failure: `stop` with an error that names the task of an environment that crashes or returns a number that is not finite, or
            `skip` it: its return is NaN.

    Returns:
        Undiscounted returns, float64 `[tasks, seeds]`.

    Raises:
        TrainingError: for a failing environment with `stop`.
        OptionError: for an option out of range.
    """
    if batch < 1 or limit < 1 or on_failure not in ("stop", "skip"):
        raise OptionError(f"returns got batch={batch}, limit={limit}, on_failure='{on_failure}'; expected 1 or more, stop or skip.")
    predict = answers(policy, deterministic=deterministic)
    waiting = [(i, j) for i in range(len(tasks)) for j in range(len(seeds))][::-1]
    found = np.zeros((len(tasks), len(seeds)))
    running: list[_Episode] = []
    while waiting or running:
        while waiting and len(running) < batch:
            i, j = waiting.pop()
            running.append(_Episode(make, tasks[i], (i, j)).begin(seeds[j]))
        ready = [episode for episode in running if not episode.over]
        if ready:
            actions = predict(_stack([episode.observation for episode in ready]))
            for episode, action in zip(ready, actions, strict=True):
                episode.step(action, limit)
        for episode in [e for e in running if e.over]:
            running.remove(episode)
            if episode.failure and on_failure == "stop":
                raise TrainingError(
                    f"The environment of the task {np.asarray(episode.task).tolist()} failed in evaluation. {episode.failure}. "
                    "Cure it, or pass on_failure='skip'."
                )
            found[episode.place] = np.nan if episode.failure else episode.total
    return found


def mastered(found: NDArray[np.float64], threshold: float = 230.0) -> float:
    """Return the share of tasks whose mean return over seeds is above a threshold, in percent.

    Args:
        found: returns `[tasks, seeds]`.
        threshold: what counts as mastered; 230 for BipedalWalker (sheet of ALP-GMM).
    """
    return 100 * float((found.mean(1) > threshold).mean())


class _Episode:
    """One episode of one task, which ends in a return or in a failure."""

    def __init__(self, make: Callable[[Any], Any], task: Any, place: tuple[int, int]) -> None:
        self.make, self.task, self.place = make, task, place
        self.total, self.steps, self.over, self.failure = 0.0, 0, False, ""
        self.env: Any = None
        self.observation: Any = None

    def begin(self, seed: int) -> _Episode:
        def first() -> None:
            self.env = self.make(self.task)
            self.observation, _ = self.env.reset(seed=int(seed))

        self._try(first)
        return self

    def step(self, action: Any, limit: int) -> None:
        def next_() -> None:
            self.observation, reward, terminated, truncated, _ = self.env.step(action)
            if not np.isfinite(reward) or not finite(self.observation):
                raise FloatingPointError(f"the reward is {reward}, or the observation is not finite")
            self.total += float(reward)
            self.steps += 1
            if terminated or truncated or self.steps >= limit:
                self.over = True
                self.env.close()

        self._try(next_)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self.over, self.failure = True, f"{type(error).__name__}: {error}"


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.stack([one[key] for one in observations]) for key in observations[0]}
    return np.stack(observations)


def video(policy: Any, env: Any, path: str | Path, *, seed: int = 0, limit: int = 1000, fps: int | None = None, skip: int = 1) -> int:
    """Film one episode of a policy as an MP4 file (H.264).

    Args:
        policy: as for `returns`.
        env: Gymnasium environment that was made with `render_mode="rgb_array"`; it is not closed.
        path: the file, written whole or not at all.
        seed: seed of the episode.
        limit: most steps that are filmed.
        fps: pictures a second; the environment's own by default.
        skip: film every so many steps only.

    Returns:
        Number of pictures.

    Raises:
        OptionError: if the environment gives no pictures.
    """
    if env.render_mode != "rgb_array":
        raise OptionError(f"{env} gives no pictures: make it with render_mode='rgb_array'; it has {env.render_mode!r}.")
    av = optional("av", "video")
    predict, rate = answers(policy), fps or max(1, round(env.metadata.get("render_fps", 30) / skip))
    observation, _ = env.reset(seed=seed)
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream, count = None, 0
        for step in range(limit):
            if step % skip == 0:
                picture = env.render()
                height, width = (side - side % 2 for side in picture.shape[:2])  # H.264 halves colour in both directions
                if stream is None:
                    stream = container.add_stream("libx264", rate=Fraction(rate))
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width], dtype=np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
                count += 1
            action = predict(_stack([observation]))[0]
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        if stream is not None:
            container.mux(stream.encode())
    return count
