"""Adversarial views: the small change of the input, inside an l_inf ball, that a network likes least."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError

Start = Literal["gaussian", "uniform", "none"]
Objective = Callable[[Tensor, Tensor], Tensor]
"""Logits `[N, C]` and labels int64 `[N]` to the loss `[N]` that the attacker raises."""

_STARTS = ("gaussian", "uniform", "none")


def cross_entropy_objective(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each sample, the objective of FGSM and PGD.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.

    Returns:
        `[N]`, in nats.
    """
    return F.cross_entropy(logits, labels, reduction="none")


def margin_objective(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest wrong logit minus the right one, positive where the network is fooled.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.

    Returns:
        `[N]`, in units of the logits.

    Source: Carlini and Wagner, arXiv 1608.04644, their objective f6, which CW-inf maximises by projected steps.
    """
    right = logits.gather(1, labels[:, None]).squeeze(1)
    wrong = logits.scatter(1, labels[:, None], float("-inf")).amax(dim=1)
    return wrong - right


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[nn.Module]:
    """Hold a model in eval mode and give back each module's own mode, and torch's random state, at the end.

    Args:
        model: the model under attack. Batch-norm statistics do not move and dropout is off inside the context.

    Yields:
        The same model.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    model.eval()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield model
    finally:
        for module, mode in modes:
            module.training = mode


def project(attacked: Tensor, clean: Tensor, eps: float, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Return the nearest point to an attacked input inside the l_inf ball around the clean one and inside the bounds.

    Args:
        attacked: any shape.
        clean: same shape.
        eps: radius of the ball, in units of the input.
        bounds: smallest and largest value of an input. Default (0, 1).

    Returns:
        A tensor of the same shape.
    """
    return torch.clamp(torch.minimum(torch.maximum(attacked, clean - eps), clean + eps), *bounds)


def pgd(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float = 8 / 255,
    step_size: float = 2 / 255,
    steps: int = 10,
    start: Start = "gaussian",
    start_scale: float = 0.001,
    objective: Objective = cross_entropy_objective,
    bounds: tuple[float, float] = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return inputs moved by projected signed-gradient steps to where the model's loss is higher.

    `x <- project(x + step_size sign(grad objective(model(x), labels)))`. The model answers in eval mode; its parameters,
    gradients, buffers, training modes and torch's global random state are as before when this returns.

    Args:
        model: network under attack; logits `[N, C]`. Normalisation belongs inside it.
        x: clean inputs, float `[N, ...]` within `bounds`.
        labels: int64 `[N]`.
        eps: radius of the l_inf ball, in units of the input. Default 8/255.
        step_size: length of a step, same unit. Default 2/255.
        steps: number of steps; 0 returns the projected start. Default 10.
        start: `"gaussian"` adds `start_scale` times standard normal noise (default), `"uniform"` a draw from the whole ball,
            `"none"` nothing.
        start_scale: standard deviation of the Gaussian start, in units of the input. Default 0.001.
        objective: `(logits, labels) -> [N]`, what the attacker raises. Default cross-entropy.
        bounds: smallest and largest value of an input. Default (0, 1).
        generator: source of the random start, on the device of `x`; `None` for torch's global one.

    Returns:
        Attacked inputs of the shape of `x`, without a graph.

    Raises:
        OptionError: for a negative strength or an unknown start.

    Source: Madry et al., arXiv 1706.06083, with the uniform start; the Gaussian start is that of TRADES,
    Zhang et al., arXiv 1901.08573, algorithm 1.
    """
    _check(eps=eps, step_size=step_size, steps=steps, start_scale=start_scale, start=start)
    clean = x.detach()
    attacked = clean
    if start == "gaussian":
        attacked = clean + start_scale * torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
    elif start == "uniform":
        attacked = clean + eps * (2 * torch.rand(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype) - 1)
    attacked = project(attacked, clean, eps, bounds)

    with undisturbed(model), torch.enable_grad():
        for _ in range(steps):
            attacked.requires_grad_(True)
            loss = objective(model(attacked), labels).sum()
            (gradient,) = torch.autograd.grad(loss, attacked)
            attacked = project(attacked.detach() + step_size * gradient.sign(), clean, eps, bounds)
    return attacked.detach()


def fgsm(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    eps: float = 8 / 255,
    objective: Objective = cross_entropy_objective,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Return inputs moved by one signed-gradient step of the length of the ball's radius.

    Args:
        model: network under attack; logits `[N, C]`.
        x: clean inputs, float `[N, ...]` within `bounds`.
        labels: int64 `[N]`.
        eps: radius of the l_inf ball, in units of the input. Default 8/255.
        objective: `(logits, labels) -> [N]`. Default cross-entropy.
        bounds: smallest and largest value of an input. Default (0, 1).

    Returns:
        Attacked inputs of the shape of `x`, without a graph.

    Source: Goodfellow, Shlens, Szegedy, arXiv 1412.6572.
    """
    return pgd(model, x, labels, eps=eps, step_size=eps, steps=1, start="none", objective=objective, bounds=bounds)


@dataclass(frozen=True, kw_only=True)
class PGD:
    """A PGD attacker with its strength fixed: `adversary(model, x, labels, generator) -> attacked`.

    Args:
        eps: radius of the l_inf ball, in units of the input. Default 8/255.
        step_size: length of a step, same unit. Default 2/255.
        steps: number of steps. Default 10.
        start: `"gaussian"` (default), `"uniform"` or `"none"`, as in `pgd`.
        start_scale: standard deviation of the Gaussian start. Default 0.001.

    Raises:
        OptionError: for a negative strength or an unknown start.
    """

    eps: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 10
    start: Start = "gaussian"
    start_scale: float = 0.001

    def __post_init__(self) -> None:
        _check(eps=self.eps, step_size=self.step_size, steps=self.steps, start_scale=self.start_scale, start=self.start)

    def scaled(self, factor: float) -> PGD:
        """Return the same attacker with its radius and step multiplied by a factor of 0 or more."""
        return replace(self, eps=factor * self.eps, step_size=factor * self.step_size)

    def __call__(self, model: nn.Module, x: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return `pgd(model, x, labels, ...)` at this strength."""
        return pgd(
            model,
            x,
            labels,
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
            start=self.start,
            start_scale=self.start_scale,
            generator=generator,
        )


def _check(*, start: str, **strength: float) -> None:
    for name, value in strength.items():
        if not value >= 0:
            raise OptionError(f"{name} is {value}; expected 0 or more. For images in [0, 1] the usual eps is {8 / 255:.4f} (8/255).")
    if start not in _STARTS:
        raise OptionError(f"start is '{start}'; expected one of {', '.join(repr(s) for s in _STARTS)}.")
