"""Words as Beacons: a language model breaks a sparse task into subgoals, which a PPO student sees and is paid for.

The teacher names, once per level, cells to reach or to change in order; the student sees the current one beside its view, and earns a bonus
for reaching it that falls with the time it took. In training an oracle with the measured errors of language models can stand in for them.

Reference: U. Ruiz-Gonzalez, A. Andres, P. Bascoy, J. Del Ser. "Words as Beacons: Guiding RL Agents with High-Level Language Prompts."
Open-World Agents workshop, NeurIPS 2024. arXiv 2410.08632.
Tags: control, reinforcement learning, language models, subgoals, sparse rewards, exploration, MiniGrid, PPO
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tutelage.environments.subgoals import WIDTHS, Kind, SubgoalTracker, Teacher, hashed
from tutelage.errors import OptionError, nearest, optional
from tutelage.models.grid_encoder import GridEncoder
from tutelage.teachers.subgoals import Extra, Near, Noise, Noisy, oracle

optional("stable_baselines3", "rl")
from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor  # noqa: E402


class WordsAsBeacons:
    """Subgoals in the observation and in the reward of an unchanged PPO student.

    1. A teacher names the subgoals of a level: `oracle`, `Recorded` answers, a `ChatTeacher`; `noise` corrupts them anew in each episode.
    2. `environment`: the student sees view and current subgoal g, and earns `r + alpha (1 - n / T)` when it reaches g after n steps.
    3. `student`: PPO of Stable-Baselines3 with the paper's network and constants.

    Batch: none. The student learns by its own algorithm; its observation is a dictionary of the view and g.

    With MiniGrid:

        method = WordsAsBeacons(kind="representation", noise=noise_of("llama", "MultiRoom-N2-S4", "representation"))
        environments = vectorise(method.factories(lambda: gymnasium.make("MiniGrid-MultiRoom-N2-S4-v0"), 16))
        student = method.student(environments)
        student.learn(15_000_000)

    Args:
        teacher: who names subgoals: from (environment, seed of its level, generator) to a list of `Subgoal`; the oracle by default.
            `None` for nobody, which is plain PPO.
        kind: relative (way to the subgoal, 2 numbers), representation (what its cell holds, 3) or language (embedding of its text, 384);
            representation.
        alpha: weight of the bonus; 0.2 (the published code's default is 1).
        decay: whether the bonus falls with the steps since the last subgoal; True.
        noise: errors that are added to the teacher's answers; None.
        extra: random subgoals between the teacher's (study of generalisation: 5); 0.
        noreward: subgoals are seen and not paid (ablation); False.
        nosubgoal: subgoals are paid and not seen, so that the policy needs no teacher later; False.
        levels: train on levels of the seeds 0 to this, as recorded answers need (1,000 in the paper); None for ever new levels.
        embed: from a subgoal's text to its embedding `[384]`; hash-seeded unit vectors, or `sentence_embeddings().__getitem__`.

    Raises:
        OptionError: for an option out of range.

    Source: arXiv 2410.08632 and the code published with it.
    """

    def __init__(
        self,
        teacher: Teacher | None = oracle,
        *,
        kind: Kind = "representation",
        alpha: float = 0.2,
        decay: bool = True,
        noise: Noise | None = None,
        extra: int = 0,
        noreward: bool = False,
        nosubgoal: bool = False,
        levels: int | None = None,
        embed: Callable[[str], Any] = hashed,
    ) -> None:
        if kind not in WIDTHS:
            raise OptionError(f"kind is '{kind}'.{nearest(str(kind), WIDTHS)}")
        self.kind, self.alpha, self.decay, self.levels, self.embed = kind, alpha, decay, levels, embed
        self.noreward, self.nosubgoal = noreward or teacher is None, nosubgoal or teacher is None
        named: Teacher = _nobody if teacher is None else teacher
        named = named if noise is None or teacher is None else Noisy(named, noise, kind)
        self.teacher: Teacher = Extra(named, extra) if extra else named

    def environment(self, env: Any, *, pretrain: bool = False, near: int | None = None) -> SubgoalTracker:
        """Wrap an environment.

        Args:
            env: the environment.
            pretrain: the task is to reach one random subgoal, and nothing else (a first phase of training).
            near: in that phase, how far it is at most.
        """
        return SubgoalTracker(
            env,
            Near(near) if pretrain else self.teacher,
            kind=self.kind,
            alpha=self.alpha,
            decay=self.decay,
            noreward=self.noreward,
            nosubgoal=self.nosubgoal,
            levels=self.levels,
            embed=self.embed,
            pretrain=pretrain,
        )

    def factories(
        self, make: Callable[[], Any], count: int = 16, *, pretrain: bool = False, near: int | None = None
    ) -> list[Callable[[], Any]]:
        """Return factories of parallel environments, for `tutelage.train.policies.vectorise` or Stable-Baselines3's own.

        Args:
            make: builds the original environment.
            count: how many.
            pretrain: see `environment`.
            near: see `environment`.
        """
        return [partial(self._built, make, pretrain, near) for _ in range(count)]

    def _built(self, make: Callable[[], Any], pretrain: bool, near: int | None) -> SubgoalTracker:
        return self.environment(make(), pretrain=pretrain, near=near)

    def student(self, environments: Any, *, learning_rate: float = 1e-4, steps: int = 128, seed: int = 0, device: str = "cpu") -> Any:
        """Return the paper's student, untrained: PPO with clip 0.2, 4 epochs, batches of 256, gamma 0.99, lambda 0.95, entropy 5e-4.

        Args:
            environments: vectorised environments that `environment` wrapped.
            learning_rate: of Adam; 1e-4.
            steps: steps of each environment between two updates; 128 (of 16 environments).
            seed: seed of weights and actions.
            device: where it is trained.
        """
        return PPO(
            "MultiInputPolicy",
            environments,
            learning_rate=learning_rate,
            n_steps=steps,
            batch_size=256,
            n_epochs=4,
            gamma=0.99,
            gae_lambda=0.95,
            clip_range=0.2,
            ent_coef=5e-4,
            vf_coef=0.5,
            max_grad_norm=0.5,
            seed=seed,
            device=device,
            policy_kwargs=POLICY,
        )


class BeaconFeatures(BaseFeaturesExtractor):  # type: ignore[misc]
    """The shared body of the paper's network, for Stable-Baselines3: actor and critic are one linear layer each on its 256 features.

    Args:
        observation_space: of a `SubgoalTracker` around an environment with an image.
    """

    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space, 256)
        subgoal = observation_space.spaces.get("subgoal")
        if "image" not in observation_space.spaces:
            raise OptionError(f"Observations are {observation_space}: the network takes an 'image', as MiniGrid's.")
        self.network = GridEncoder(0 if subgoal is None else subgoal.shape[0], channels=observation_space["image"].shape[0])

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Return features `[N, 256]`."""
        found: Tensor = self.network(observations["image"], observations.get("subgoal"))
        return found


POLICY: dict[str, Any] = {
    "features_extractor_class": BeaconFeatures,
    "net_arch": [],
    "normalize_images": False,
    "optimizer_class": torch.optim.Adam,
    "optimizer_kwargs": {"eps": 1e-8},
}
"""Keywords of a policy with that network, for any algorithm of Stable-Baselines3 that shares features between actor and critic."""


def _nobody(env: Any, level: int, generator: Any) -> list[Any]:
    """Name no subgoal."""
    del env, level, generator
    return []
