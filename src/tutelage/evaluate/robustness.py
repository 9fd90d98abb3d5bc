"""Robust accuracy: how often a classifier stays right when an attacker may move its inputs inside an l_inf ball."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tutelage.errors import DataError, OptionError, ShapeError, nearest, optional
from tutelage.views.adversarial import fgsm, margin_objective, pgd, undisturbed

if TYPE_CHECKING:
    from tutelage.data import Arrays

ATTACKS = ("fgsm", "pgd_sat", "pgd_trades", "cw")
"""Names of the attacks of `robustness`, from weak to strong."""

Attack = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]


def weighted_robust_accuracy(clean: float, robust: float) -> float:
    """Return W, the mean of clean and robust accuracy.

    Args:
        clean: accuracy on clean inputs, in percent.
        robust: accuracy under one attack, in percent.

    Returns:
        W in percent.

    Source: Zhao et al., arXiv 2306.16170.
    """
    return (clean + robust) / 2


def robustness(
    model: nn.Module,
    arrays: Arrays,
    *,
    attacks: Sequence[str] = ATTACKS,
    eps: float = 8 / 255,
    step_size: float = 0.003,
    steps: int = 20,
    cw_steps: int = 30,
    batch_size: int = 500,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """Return clean accuracy, accuracy under each attack, and W of each attack, in percent.

    `fgsm` is one step of length `eps`; `pgd_sat` starts anywhere in the ball, `pgd_trades` at 0.001 times Gaussian noise; `cw`
    ascends the margin of the best wrong logit from anywhere in the ball. All attackers see the model's gradients.

    Args:
        model: classifier; logits `[N, C]`. It is used in eval mode and left as it was.
        arrays: labelled inputs in [0, 1].
        attacks: names out of `ATTACKS`. Default all.
        eps: radius of the l_inf ball, in units of the input. Default 8/255 (paper).
        step_size: step of the iterated attacks, same unit. Default 0.003 (paper).
        steps: steps of the two PGD attacks. Default 20 (paper).
        cw_steps: steps of `cw`. Default 30 (paper).
        batch_size: inputs attacked at once. Default 500.
        seed: seed of the random starts, the same for every attack. Default 0.
        device: where to compute; `None` for where the model is.

    Returns:
        `"clean"`, and for each attack its name (robust accuracy) and `"w_"` plus its name (weighted robust accuracy).

    Raises:
        OptionError: for an unknown attack.
        DataError: if there are no inputs, or inputs outside [0, 1].

    Source: attacks and W as in the tables of Zhao et al., arXiv 2306.16170; the uniform start of `cw` is ours.
    """
    iterated = partial(pgd, eps=eps, step_size=step_size)
    known: dict[str, Attack] = {
        "fgsm": lambda net, x, y, _: fgsm(net, x, y, eps=eps),
        "pgd_sat": lambda net, x, y, g: iterated(net, x, y, steps=steps, start="uniform", generator=g),
        "pgd_trades": lambda net, x, y, g: iterated(net, x, y, steps=steps, start="gaussian", generator=g),
        "cw": lambda net, x, y, g: iterated(net, x, y, steps=cw_steps, start="uniform", objective=margin_objective, generator=g),
    }
    for name in attacks:
        if name not in known:
            raise OptionError(f"There is no attack '{name}'.{nearest(name, known)}")
    device = _device(model, device)
    right = dict.fromkeys(("clean", *attacks), 0)
    generators = {name: torch.Generator(device).manual_seed(seed) for name in attacks}
    for x, y in _batches(arrays, batch_size, device):
        right["clean"] += _right(model, x, y)
        for name in attacks:
            right[name] += _right(model, known[name](model, x, y, generators[name]), y)
    found = {name: 100 * count / len(arrays) for name, count in right.items()}
    return found | {f"w_{name}": weighted_robust_accuracy(found["clean"], found[name]) for name in attacks}


def auto_attack(
    model: nn.Module,
    arrays: Arrays,
    *,
    eps: float = 8 / 255,
    batch_size: int = 250,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> float:
    """Return the accuracy that is left after AutoAttack, the field's standard ensemble of four parameter-free attacks, in percent.

    It runs APGD on cross-entropy, targeted APGD on the difference of logits ratio, targeted FAB and Square with 5,000 queries
    (with fewer than four classes, where that ratio does not exist, without the second), each on what the ones before left right.

    Args:
        model: classifier of images; logits `[N, C]`. It is used in eval mode and left as it was.
        arrays: labelled images `[N, C, H, W]` in [0, 1].
        eps: radius of the l_inf ball, in units of the input. Default 8/255.
        batch_size: images attacked at once. Default 250.
        seed: seed of the attacks. Default 0.
        device: where to compute; `None` for where the model is.

    Returns:
        Robust accuracy in percent, at most the clean accuracy.

    Raises:
        MissingExtra: without the extra `robust`.
        DataError: if there are no images, or values outside [0, 1].
        ShapeError: if the inputs are not images.

    Source: Croce and Hein, arXiv 2003.01690, through the library `pyautoattack`.
    """
    library = optional("pyautoattack", "robust")
    device = _device(model, device)
    parts = list(_batches(arrays, batch_size, device))
    x, y = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    if x.ndim != 4:
        raise ShapeError(f"AutoAttack got inputs of shape {tuple(x.shape)}; expected images [N, C, H, W]. Use `robustness` for tables.")
    with undisturbed(model), _without_gradients(model), _quietly():
        with torch.no_grad():
            classes = model(x[:1]).shape[-1]
        names = {"version": "standard"} if classes > 3 else {"version": "custom", "attacks": ["apgd-ce", "fab-t", "square"]}
        attack = library.AutoAttack(model, norm="Linf", eps=eps, seed=seed, device=device, **names)
        attack.apgd.n_restarts = attack.fab.n_restarts = 1
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, classes - 1)
        _, answers = attack.run_standard_evaluation(x, y, batch_size=batch_size)
    return 100 * int((answers == y).sum()) / len(y)


def _device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    first = next(model.parameters(), None)
    return first.device if first is not None else torch.device("cpu")


def _batches(arrays: Arrays, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    if len(arrays) == 0:
        raise DataError(f"'{arrays.name}' is empty; robust accuracy needs at least one labelled input.")
    for start in range(0, len(arrays), batch_size):
        batch = arrays.gather(range(start, min(start + batch_size, len(arrays))))
        x = batch["input"].to(device)
        low, high = float(x.min()), float(x.max())
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"'{arrays.name}' has inputs from {low:g} to {high:g}; attacks need inputs in [0, 1]. "
                "Scale them to that, and normalise inside the model."
            )
        yield x, batch["label"].to(device)


def _right(model: nn.Module, x: Tensor, y: Tensor) -> int:
    with undisturbed(model), torch.no_grad():
        return int((model(x).argmax(dim=1) == y).sum())


@contextmanager
def _without_gradients(model: nn.Module) -> Iterator[None]:
    """Keep an attacker that calls `backward` from adding to the gradients of the model's parameters."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


@contextmanager
def _quietly() -> Iterator[None]:
    """Mute AutoAttack's remarks, and give back the trace function that its check for dynamic defences removes."""
    logger, trace = logging.getLogger("auto-attack"), sys.gettrace()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        sys.settrace(trace)
