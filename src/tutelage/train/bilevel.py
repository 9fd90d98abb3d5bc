"""One-step unrolled bilevel learning: the gradient of a held-out loss with respect to what shapes a student's training loss.

The outer problem is min_w L_val(theta*(w)), where theta*(w) minimises an inner loss that w shapes (weights per sample, ratios,
targets). Its inner solution is approximated by one plain gradient step from where the student stands,

    theta'(w) = theta - eta * grad_theta inner(theta, w),

so that the outer gradient is -eta * v^T d/dw grad_theta inner(theta, w) with v = grad L_val(theta').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tutelage.errors import OptionError

Predict = Callable[..., Tensor]
"""The student at some parameters: called like the module itself."""

Objective = Callable[[Predict], Tensor]
"""A scalar loss of the student that it is given."""


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _at(module: nn.Module, parameters: dict[str, Tensor]) -> Predict:
    """Return the module at other parameters, with copies of its buffers, so that running statistics are not touched."""
    buffers = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    return partial(functional_call, module, {**parameters, **buffers})


def _leaves(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [p.detach().clone().requires_grad_() for p in parameters]


def _filled(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, like, strict=True)]


def hypergradient(
    module: nn.Module,
    inner: Objective,
    outer: Objective,
    knobs: Sequence[Tensor],
    *,
    learning_rate: float,
    first_order: bool = False,
    radius: float = 0.01,
    reduce: Callable[[Tensor], Tensor] = _unchanged,
) -> tuple[list[Tensor], Tensor]:
    """Return d outer(theta') / d knobs after one virtual gradient step of the module on `inner`.

    The module, its parameters' gradients and its buffers stay as they are: both objectives see it through
    `torch.func.functional_call`. The knobs' `.grad` is not touched either; see `surrogate` for how to hand the result to an optimizer.

    Args:
        module: the student, whose trainable parameters take the virtual step.
        inner: `inner(predict)` returns the scalar training loss, which depends on the knobs; `predict` is called like the module.
        outer: `outer(predict)` returns the scalar held-out loss, which depends on the knobs only through the student.
        knobs: tensors that require a gradient: the parameters of what shapes the inner loss.
        learning_rate: eta, length of the virtual step (no momentum).
        first_order: `True` takes v at theta in place of theta' and the mixed derivative by a central difference of two
            forward passes, so that no graph of gradients is held (ours; the default is the exact one-step gradient).
        radius: distance in parameter space of the central difference, which is walked along v.
        reduce: averages a tensor over the processes of a distributed run. With it the virtual step and v are those of the
            global batch, and the mean over processes of what is returned is the gradient of the single-process run.

    Returns:
        One gradient per knob, zero for a knob that the inner loss does not use; and the held-out loss, detached.

    Raises:
        OptionError: if the learning rate is negative or the radius not positive.

    Source: one-step unrolling as in Liu et al., 2019 (DARTS), equations 6 to 8.
    """
    if learning_rate < 0 or radius <= 0:
        raise OptionError(f"hypergradient takes learning_rate >= 0 and radius > 0, got {learning_rate} and {radius}.")
    names, originals = zip(*((n, p) for n, p in module.named_parameters() if p.requires_grad), strict=True)
    theta = _leaves(originals)

    def at(parameters: Sequence[Tensor]) -> Predict:
        return _at(module, dict(zip(names, parameters, strict=True)))

    if first_order:
        value, direction = _descent(at, outer, theta, reduce)
        gradients = _central_difference(at, inner, theta, direction, knobs, radius)
    else:
        inner_gradient = _filled(torch.autograd.grad(inner(at(theta)), theta, create_graph=True, allow_unused=True), theta)
        # Detached: theta' depends on the knobs only through the inner gradient, whose graph the last line walks.
        ahead = _leaves([p - learning_rate * reduce(g.detach()) for p, g in zip(theta, inner_gradient, strict=True)])
        value, direction = _descent(at, outer, ahead, reduce)
        slope = torch.stack([(g * v).sum() for g, v in zip(inner_gradient, direction, strict=True)]).sum()
        gradients = _filled(torch.autograd.grad(slope, knobs, allow_unused=True), knobs)
    return [-learning_rate * g for g in gradients], value


def _descent(
    at: Callable[[Sequence[Tensor]], Predict], outer: Objective, theta: Sequence[Tensor], reduce: Callable[[Tensor], Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the held-out loss at theta and its gradient there, both averaged over processes."""
    loss = outer(at(theta))
    gradients = _filled(torch.autograd.grad(loss, theta, allow_unused=True), theta)
    return reduce(loss.detach()), [reduce(g) for g in gradients]


def _central_difference(
    at: Callable[[Sequence[Tensor]], Predict],
    inner: Objective,
    theta: Sequence[Tensor],
    direction: Sequence[Tensor],
    knobs: Sequence[Tensor],
    radius: float,
) -> list[Tensor]:
    """Return direction^T d/d knobs grad_theta inner, from inner's gradient to the knobs at theta +- radius along the direction."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(v) for v in direction]))
    reach = radius / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    sides = []
    for sign in (1.0, -1.0):
        moved = [p.detach() + sign * reach * v for p, v in zip(theta, direction, strict=True)]
        sides.append(_filled(torch.autograd.grad(inner(at(moved)), knobs, allow_unused=True), knobs))
    return [(up - down) / (2 * reach) for up, down in zip(*sides, strict=True)]


def surrogate(knobs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Return a scalar whose back-propagation leaves exactly these gradients on the knobs.

    A trainer that owns precision, accumulation and clipping wants a loss to back-propagate: this is one.

    Args:
        knobs: tensors that require a gradient.
        gradients: one per knob, of its shape, as `hypergradient` returns them.

    Returns:
        The sum of knob times gradient, a scalar; its own value means nothing.
    """
    return torch.stack([(knob * gradient.detach()).sum() for knob, gradient in zip(knobs, gradients, strict=True)]).sum()
