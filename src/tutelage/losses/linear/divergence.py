"""The loss that users call: checks, the choice of chunks, and the way around tokens without weight."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError
from tutelage.losses.linear import checks
from tutelage.losses.linear.chunked import Chunked
from tutelage.losses.linear.kinds import by_name
from tutelage.losses.linear.plan import linear_chunk
from tutelage.losses.linear.walk import Head, Task
from tutelage.models.untraced import untraced
from tutelage.targets import TopK

Kind = Literal["forward", "reverse", "jsd", "ce"]


@overload
def linear_divergence(
    student_hidden: Tensor,
    student_head: Tensor | nn.Linear,
    teacher_hidden: Tensor | None = ...,
    teacher_head: Tensor | nn.Linear | None = ...,
    *,
    top_k: TopK | None = ...,
    kind: Kind = ...,
    beta: float = ...,
    temperature: float = ...,
    weight: Tensor | None = ...,
    labels: None = ...,
    label_weight: float = ...,
    ignore_index: int = ...,
    chunk: int | None = ...,
    memory_budget: int | None = ...,
    recompute: bool = ...,
) -> Tensor: ...


@overload
def linear_divergence(
    student_hidden: Tensor,
    student_head: Tensor | nn.Linear,
    teacher_hidden: Tensor | None = ...,
    teacher_head: Tensor | nn.Linear | None = ...,
    *,
    top_k: TopK | None = ...,
    kind: Kind = ...,
    beta: float = ...,
    temperature: float = ...,
    weight: Tensor | None = ...,
    labels: Tensor,
    label_weight: float = ...,
    ignore_index: int = ...,
    chunk: int | None = ...,
    memory_budget: int | None = ...,
    recompute: bool = ...,
) -> tuple[Tensor, Tensor]: ...


@untraced
def linear_divergence(
    student_hidden: Tensor,
    student_head: Tensor | nn.Linear,
    teacher_hidden: Tensor | None = None,
    teacher_head: Tensor | nn.Linear | None = None,
    *,
    top_k: TopK | None = None,
    kind: Kind = "forward",
    beta: float = 0.5,
    temperature: float = 1.0,
    weight: Tensor | None = None,
    labels: Tensor | None = None,
    label_weight: float = 1.0,
    ignore_index: int = -100,
    chunk: int | None = None,
    memory_budget: int | None = None,
    recompute: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the divergence between two heads' predictions per token, with the logits of one chunk of tokens alive at a time.

    Value and gradient are those of `forward_kl`, `reverse_kl`, `jensen_shannon` or `soft_cross_entropy` on `hidden @ head.T`. The student's
    hidden states, head and bias get gradients, the teacher gets none. Products are computed in the type of the head (that of autocast where
    it is on), all sums in float32 (float64 for that).

    Gradients are computed with the value, for the usual case that the losses of all tokens are then summed or averaged. If they are
    weighted differently after the call, backward notices and computes the logits anew: exact too, but slower. So give weights as `weight`,
    or say `recompute=True`, which also holds no gradient of the head between forward and backward. Derivatives of second order are refused.

    Args:
        student_hidden: float [..., D].
        student_head: float [V, D], or an `nn.Linear` with or without bias, of the same dtype.
        teacher_hidden: float [..., D'] with the same leading shape; D' may differ.
        teacher_head: float [V, D'], or an `nn.Linear`.
        top_k: the teacher's stored `TopK` of the leading shape, in place of hidden states and head. The divergence is then over k + 1
            outcomes, the kept classes and all others together: at most the whole one, and equal to it when k = V.
        kind: "forward" for KL(p_t || p_s), "reverse" for KL(p_s || p_t), "jsd" for the generalised Jensen-Shannon divergence, "ce" for the
            cross-entropy -sum p_t log p_s. Default forward.
        beta: the teacher's share of the mixture of "jsd", in [0, 1]; 0 is forward KL, 1 is reverse KL. Default 0.5.
        temperature: above 0, divides the logits of both. A stored top-k must be of the same one, unless it keeps all classes. Default 1.
        weight: float or bool, of the leading shape: multiplies each token's losses. Nothing is computed for a token of weight 0, whose
            losses are 0 whatever it holds; a learned weight gets no gradient there.
        labels: int64 of the leading shape, for cross-entropy at temperature 1 in the same pass.
        label_weight: multiplies the cross-entropy with labels. Default 1.
        ignore_index: label without cross-entropy (its divergence stays; use `weight` to leave the token out). Default -100.
        chunk: tokens of a chunk. Default: as many as the budget allows.
        memory_budget: bytes for the logits of one chunk. Default an eighth of the logits of all tokens, from 8 to 256 MiB; `linear_chunk`
            tells what follows.
        recompute: compute logits again in backward instead of gradients in forward. Default no.

    Returns:
        One loss per token in nats, [...], float32 (float64 for that); with labels, also `label_weight` times their cross-entropy, [...].

    Raises:
        ShapeError: if shapes, dtypes or vocabularies do not fit, or a label or stored class is outside the vocabulary.
        OptionError: if an option is outside its range, or the teacher is given twice or not at all.

    Source: Hsu et al., Liger Kernel, 2024, section 3.2 (chunks, and gradients in the forward pass); Agarwal et al., On-Policy
        Distillation of Language Models (GKD), ICLR 2024, eq. 1 (the divergences).
    """
    checks.options(kind, beta, temperature)
    head, theirs = checks.head_of(student_head, student_hidden, "student"), None
    leading, vocabulary = student_hidden.shape[:-1], len(head.weight)
    if top_k is not None and teacher_hidden is None and teacher_head is None:
        checks.stored(top_k, leading, vocabulary, temperature)
    elif top_k is None and teacher_hidden is not None and teacher_head is not None:
        theirs = checks.head_of(teacher_head, teacher_hidden, "teacher").detach()
        checks.per_token("teacher_hidden", teacher_hidden.shape[:-1], leading)
        checks.same_vocabulary(vocabulary, len(theirs.weight))
    else:
        raise OptionError("expected one teacher: either teacher_hidden and teacher_head, or top_k")
    if weight is not None:
        checks.per_token("weight", weight.shape, leading)
    if labels is not None:
        checks.per_token("labels", labels.shape, leading)
        checks.classes("labels", labels, vocabulary, ignore_index)

    dtype, teacher_dtype = _compute_dtype(head), _compute_dtype(theirs or head)
    tokens = _Tokens(leading, weight)
    hidden = tokens.rows(student_hidden)
    task = Task(
        divergence=by_name(kind, beta),
        temperature=temperature,
        chunk=linear_chunk(
            len(hidden),
            vocabulary,
            chunk=chunk,
            memory_budget=memory_budget,
            dtype=max(dtype, teacher_dtype, key=lambda each: each.itemsize),
            top_k=top_k is not None,
        ).tokens,
        dtype=dtype,
        teacher_dtype=teacher_dtype,
        teacher_hidden=None if teacher_hidden is None else tokens.rows(teacher_hidden.detach()),
        teacher_head=theirs,
        top_k=None if top_k is None else tokens.stored(top_k),
        labels=None if labels is None else tokens.rows(labels),
        label_weight=label_weight,
        ignore_index=ignore_index,
        ahead=torch.is_grad_enabled() and not recompute,
    )
    token_weight = None if weight is None else tokens.rows(weight.to(task.sums))
    divergence, of_labels = Chunked.apply(task, hidden, head.weight, head.bias, token_weight)  # type: ignore[no-untyped-call]
    if labels is None:
        return tokens.spread(divergence)
    return tokens.spread(divergence), tokens.spread(of_labels)


class _Tokens:
    """The tokens that have a weight, as rows."""

    def __init__(self, leading: torch.Size, weight: Tensor | None) -> None:
        self.leading = leading
        self.kept = None if weight is None else weight.reshape(-1).nonzero().squeeze(-1)

    def rows(self, tensor: Tensor) -> Tensor:
        """Return [..., more] as rows [n, more] of the kept tokens."""
        flat = tensor.reshape(self.leading.numel(), *tensor.shape[len(self.leading) :])
        return flat if self.kept is None else flat[self.kept]

    def stored(self, top_k: TopK) -> TopK:
        """Return a stored teacher of the kept tokens."""
        log_probs, indices, log_rest, temperature = top_k
        return TopK(self.rows(log_probs.detach()), self.rows(indices), self.rows(log_rest.detach()), temperature)

    def spread(self, losses: Tensor) -> Tensor:
        """Return losses of the kept tokens in the leading shape, 0 elsewhere."""
        if self.kept is not None:
            losses = losses.new_zeros(self.leading.numel()).index_copy(0, self.kept, losses)
        return losses.reshape(self.leading)


def _compute_dtype(head: Head) -> torch.dtype:
    device = head.weight.device.type
    if torch.is_autocast_enabled(device) and head.weight.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return head.weight.dtype
