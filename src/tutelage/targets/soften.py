"""Probabilities at a temperature: the one place where logits become distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import OptionError

HALF = (torch.float16, torch.bfloat16)


def divide(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return logits divided by a temperature, in float32 if they are of a half type and something is to be divided.

    Args:
        logits: float [..., C].
        temperature: above 0; a number, or a tensor of the leading shape [...] (or one that broadcasts to it).

    Returns:
        `logits / temperature`, [..., C]; the logits themselves at temperature 1.

    Raises:
        OptionError: if a number is not above 0. Tensors are not checked, since that would wait for the device.
    """
    if isinstance(temperature, Tensor):
        return (logits.float() if logits.dtype in HALF else logits) / temperature.unsqueeze(-1)
    if not 0.0 < temperature < float("inf"):
        raise OptionError(f"temperature is {temperature!r}; expected a finite number above 0 (1 leaves logits as they are)")
    if temperature == 1.0:
        return logits
    return (logits.float() if logits.dtype in HALF else logits) / temperature


def log_soften(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Return log-probabilities of logits at a temperature: `log_softmax(logits / temperature)`.

    They are always finite for finite logits. A class excluded by a logit of minus infinity gets the lowest finite number instead of minus
    infinity, so that 0 * log 0 is 0 in value and gradient wherever a probability multiplies a log-probability.

    Args:
        logits: float [..., C]; log-probabilities are logits too.
        temperature: above 0; higher is flatter. A number, or a tensor of the leading shape.

    Returns:
        Log-probabilities [..., C], float32 for half types, else of the dtype of the logits.
    """
    dtype = torch.float32 if logits.dtype in HALF else None
    log_probs = torch.log_softmax(divide(logits, temperature), dim=-1, dtype=dtype)
    # Outside the graph: log-softmax differentiates through exp of its result, which is 0 for both, so a clamp would add passes to every
    # backward pass and change nothing.
    log_probs.data.clamp_min_(torch.finfo(log_probs.dtype).min)
    return log_probs


def soften(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Return probabilities of logits at a temperature: `softmax(logits / temperature)`.

    Args:
        logits: float [..., C].
        temperature: above 0; higher is flatter. A number, or a tensor of the leading shape.

    Returns:
        Probabilities [..., C], float32 for half types.

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, eq. 1.
    """
    return torch.softmax(divide(logits, temperature), dim=-1, dtype=torch.float32 if logits.dtype in HALF else None)


def sharpen(probs: Tensor, temperature: float | Tensor = 0.5) -> Tensor:
    """Return probabilities raised to `1 / temperature` and normalised again.

    Equal to softening the logits they came from by the same temperature; below 1 it moves them towards one class, and a probability of 0
    stays 0.

    Args:
        probs: float [..., C], not negative, not all zero. They need not sum to 1.
        temperature: above 0. Default 0.5.

    Returns:
        Probabilities [..., C], float32 for half types.

    Source: Berthelot et al., MixMatch, NeurIPS 2019, eq. 7.
    """
    return soften((probs.float() if probs.dtype in HALF else probs).log(), temperature)
