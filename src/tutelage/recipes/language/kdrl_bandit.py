"""A contextual bandit, where everything about KDRL's objective can be known exactly: how far each estimator's gradient is off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tutelage import losses as L
from tutelage.losses.policy import clipped_surrogate, group_advantage, sampled_reverse_kl


@dataclass(frozen=True)
class Bandit:
    """Contexts with one right action each, and a teacher that prefers the right one in most of them.

    Args:
        right: int64 [contexts], the right action.
        teacher: float [contexts, actions], the teacher's logits.
    """

    right: Tensor
    teacher: Tensor

    @classmethod
    def make(cls, *, contexts: int = 20, actions: int = 10, correct: float = 0.8, sharpness: float = 3.0, seed: int = 0) -> Bandit:
        """Draw a bandit.

        Args:
            contexts: how many.
            actions: in each.
            correct: share of contexts in which the teacher prefers the right action.
            sharpness: the preferred action's logit; the others are standard normal.
            seed: of all draws.
        """
        generator = torch.Generator().manual_seed(seed)
        right = torch.randint(actions, (contexts,), generator=generator)
        wrong = (right + torch.randint(1, actions, (contexts,), generator=generator)) % actions
        taught = torch.where(torch.arange(contexts) < round(correct * contexts), right, wrong)
        teacher = torch.randn(contexts, actions, generator=generator)
        return cls(right, teacher.scatter(1, taught[:, None], sharpness))

    def reluctant(self, logit: float = -4.0) -> Tensor:
        """Return logits of a policy that is indifferent but for the right action, which it almost never takes: 0.2 % with 10 actions."""
        return torch.zeros_like(self.teacher).scatter(1, self.right[:, None], logit)

    def accuracy(self, logits: Tensor) -> float:
        """Return the probability in percent that a policy takes the right action, averaged over contexts."""
        return 100 * float(logits.softmax(-1).gather(1, self.right[:, None]).mean())

    def divergence(self, logits: Tensor) -> float:
        """Return the exact reverse KL of a policy to the teacher in nats, averaged over contexts."""
        return float(L.reverse_kl(logits, self.teacher).mean())


def learn(
    bandit: Bandit,
    *,
    beta: float,
    reward: bool = True,
    estimator: Literal["k1", "k2", "k3"] = "k2",
    steps: int = 150,
    group: int = 8,
    learning_rate: float = 0.05,
    start: Tensor | None = None,
    seed: int = 0,
) -> tuple[Tensor, list[float]]:
    """Train a softmax policy by the objective of KDRL.

    Args:
        bandit: what it learns.
        beta: weight of the distillation term.
        reward: whether there is the reward term.
        estimator: of reverse KL on the drawn action.
        steps: each of one group of actions in every context.
        group: actions in each context.
        learning_rate: of Adam.
        start: logits to begin from; uniform by default.
        seed: of the draws.

    Returns:
        The policy's logits, and its accuracy after every step.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.zeros_like(bandit.teacher) if start is None else start.clone()).requires_grad_()
    optimizer = torch.optim.Adam([logits], learning_rate)
    log_t, curve = bandit.teacher.log_softmax(-1), []
    for _ in range(steps):
        log_s = logits.log_softmax(-1)
        actions = torch.multinomial(log_s.detach().exp(), group, replacement=True, generator=generator)
        drawn = log_s.gather(1, actions)
        loss = beta * _divergence(drawn, log_t.gather(1, actions), estimator).mean()
        if reward:
            advantage = group_advantage((actions == bandit.right[:, None]).float())
            loss = loss + clipped_surrogate(drawn, drawn.detach(), advantage).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        curve.append(bandit.accuracy(logits.detach()))
    return logits.detach(), curve


def gradient_error(bandit: Bandit, logits: Tensor, estimator: Literal["k1", "k2", "k3"], *, draws: int = 4096, seed: int = 0) -> float:
    """Return how far the mean gradient of an estimator is from that of the exact reverse KL, as a share of the latter's norm.

    Args:
        bandit: with its teacher.
        logits: the policy's.
        estimator: "k1" as the differentiated value, whose gradient is zero on average; "k2"; "k3".
        draws: actions in each context.
        seed: of the draws.
    """
    exact, sampled = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(L.reverse_kl(exact, bandit.teacher).sum(), exact)
    log_s = sampled.log_softmax(-1)
    generator = torch.Generator().manual_seed(seed)
    actions = torch.multinomial(log_s.detach().exp(), draws, replacement=True, generator=generator)
    losses = sampled_reverse_kl(log_s.gather(1, actions), bandit.teacher.log_softmax(-1).gather(1, actions), estimator=estimator)
    (found,) = torch.autograd.grad(losses.mean(1).sum(), sampled)
    return float((found - wanted).norm() / wanted.norm())


def _divergence(drawn: Tensor, teacher: Tensor, estimator: Literal["k1", "k2", "k3"]) -> Tensor:
    if estimator == "k1":
        return clipped_surrogate(drawn, drawn.detach(), teacher - drawn.detach())
    return sampled_reverse_kl(drawn, teacher, estimator=estimator)
