"""The place of the walk in autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.errors import TrainingError
from tutelage.losses.linear.walk import Head, Task, Wanted, walk


class _NotTwice(torch.autograd.Function):
    """Passes gradients on and refuses to be differentiated: they are computed chunk by chunk without a graph."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if tensor is None else tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise TrainingError(
            "linear_divergence was differentiated twice (a gradient penalty, a virtual step?), but its gradients carry no graph; "
            "use losses.forward_kl, reverse_kl or jensen_shannon on the logits where second derivatives are needed"
        )


class Chunked(torch.autograd.Function):
    """Weighted divergence and label cross-entropy per token, [N] each, of hidden states [N, D] and the student's head.

    Gradients need the logits, which are gone when backward comes with the gradient of each token's loss. Losses are nearly always summed or
    averaged, that is, all these gradients are one number: so the forward walk already computes the gradients for the number 1, backward
    multiplies them by the one it gets, and walks again only if the tokens' gradients differ (or backward is called a second time).
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, task: Task, hidden: Tensor, weight: Tensor, bias: Tensor | None, token_weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        ctx.task = task
        # The teacher's tensors stay with the task: they never carry a graph, and those made in inference mode may not be saved here.
        ctx.save_for_backward(hidden, weight, bias, token_weight)
        wanted = Wanted(*(bool(needed) and task.ahead for needed in ctx.needs_input_grad[1:4]))
        with torch.autocast(hidden.device.type, enabled=False):
            scales = _scales(task, hidden, token_weight)
            walked = walk(task, hidden, Head(weight, bias), scales, wanted)
            ctx.unweighted = torch.stack([walked.divergence, walked.label * task.label_weight])
            ctx.ahead = walked[2:] if any(wanted) else None
            divergence, label = ctx.unweighted if token_weight is None else ctx.unweighted * token_weight
        return divergence.clone(), label.clone()

    @staticmethod
    def backward(ctx: Any, of_divergence: Tensor, of_label: Tensor) -> Any:  # noqa: D102
        hidden, weight, bias, token_weight = ctx.saved_tensors
        task, ahead, ctx.ahead = ctx.task, ctx.ahead, None
        wanted = Wanted(*ctx.needs_input_grad[1:4])
        with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
            if ahead is not None and (not len(hidden) or _one_number(of_divergence, of_label if task.labels is not None else None)):
                gradients = [
                    None if each is None else each.mul_(of_divergence[:1].to(each.dtype)) if len(hidden) else each for each in ahead
                ]
            else:
                ahead = None
                scales = _scales(task, hidden, token_weight) * torch.stack([of_divergence, of_label])
                gradients = list(walk(task, hidden, Head(weight, bias), scales, wanted)[2:])
            of_token_weight = None
            if ctx.needs_input_grad[4]:
                of_token_weight = (ctx.unweighted * torch.stack([of_divergence, of_label])).sum(0)
            likes = (hidden, weight, bias, token_weight)
            results = [None if g is None else g.to(like.dtype) for g, like in zip((*gradients, of_token_weight), likes, strict=True)]
        if torch.is_grad_enabled():
            results = list(_NotTwice.apply(len(results), *results, hidden, weight, bias, token_weight, of_divergence, of_label))  # type: ignore[no-untyped-call]
        return None, *results


def _scales(task: Task, hidden: Tensor, token_weight: Tensor | None) -> Tensor:
    """Return the factor of each token's divergence and label cross-entropy in its loss, [2, N]."""
    weights = hidden.new_ones(len(hidden), dtype=task.sums) if token_weight is None else token_weight.to(task.sums)
    return torch.stack([weights, weights * task.label_weight])


def _one_number(of_divergence: Tensor, of_label: Tensor | None) -> bool:
    same = (of_divergence == of_divergence[0]).all()
    if of_label is not None:
        same &= (of_label == of_divergence[0]).all()
    return bool(same)
