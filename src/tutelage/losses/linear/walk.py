"""The walk over chunks of tokens: values, and gradients in the same pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tutelage.losses.linear.kinds import Divergence, stored
from tutelage.targets import TopK, log_soften

# Passes over logits run on blocks of rows that stay in the processor's cache; on other devices only scratch memory is to be bounded.
CACHED_BYTES = 2**20
SCRATCH_BYTES = 32 * 2**20


class Head(NamedTuple):
    """What makes logits of hidden states: float [V, D] and, perhaps, [V]."""

    weight: Tensor
    bias: Tensor | None

    def detach(self) -> Head:
        """Return it without graph."""
        return Head(self.weight.detach(), None if self.bias is None else self.bias.detach())

    def cast(self, dtype: torch.dtype) -> Head:
        """Return it in a type."""
        return Head(self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype))

    def logits(self, hidden: Tensor, out: Tensor) -> Tensor:
        """Write logits of hidden states [n, D] to `out` [n, V]."""
        if self.bias is None:
            return torch.mm(hidden, self.weight.t(), out=out)
        return torch.addmm(self.bias, hidden, self.weight.t(), out=out)


@dataclass(frozen=True)
class Task:
    """Everything but the tensors that may carry a graph.

    Args:
        divergence: value and gradient of a block of rows.
        temperature: divides the logits of both.
        chunk: tokens whose logits are alive at a time.
        dtype: in which the student's products are computed; sums are float32 (float64 for that).
        teacher_dtype: in which the teacher's are.
        teacher_hidden: float [N, D'], or `None` where the teacher is stored.
        teacher_head: makes its logits.
        top_k: the stored teacher.
        labels: int64 [N], or `None`.
        label_weight: factor of the cross-entropy with them.
        ignore_index: label without cross-entropy.
        ahead: compute gradients with the value.
    """

    divergence: Divergence
    temperature: float
    chunk: int
    dtype: torch.dtype
    teacher_dtype: torch.dtype
    teacher_hidden: Tensor | None
    teacher_head: Head | None
    top_k: TopK | None
    labels: Tensor | None
    label_weight: float
    ignore_index: int
    ahead: bool

    @property
    def sums(self) -> torch.dtype:
        """The type of sums over classes and tokens."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def stored(self, rows: slice) -> TopK:
        """Return some rows of the stored teacher, in the type of sums and at the task's temperature."""
        assert self.top_k is not None
        log_probs, indices, log_rest, temperature = self.top_k
        kept = log_probs[rows].to(self.sums)
        if temperature != self.temperature:  # only where all classes are kept: their log-probabilities are logits
            kept = log_soften(kept * temperature, self.temperature)
        return TopK(kept, indices[rows], log_rest[rows].to(self.sums), self.temperature)


class Wanted(NamedTuple):
    """Which gradients are."""

    hidden: bool
    weight: bool
    bias: bool


class Walked(NamedTuple):
    """Values without weights, [N] each, and weighted gradients in the type of sums."""

    divergence: Tensor
    label: Tensor
    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def _block(
    task: Task, logits: Tensor, teacher: Tensor | TopK, labels: Tensor | None, scales: Tensor, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Return divergence and label cross-entropy of a few rows.

    If it is wanted, the gradient of their sum over rows, each multiplied by its row of `scales` [2, n], replaces the logits.
    """
    log_s = log_soften(logits, task.temperature)
    label_loss = label_gradient = None
    if labels is not None:
        # Labels are learned at temperature 1, whatever the teacher is softened with.
        log_p = log_s if task.temperature == 1.0 else log_soften(logits)
        counted = labels != task.ignore_index
        target = labels.where(counted, 0).unsqueeze(-1)
        label_loss = -log_p.gather(-1, target).squeeze(-1).where(counted, 0.0)
        if wanted:
            share = (scales[1] * counted).unsqueeze(-1)
            label_gradient = log_p.exp().mul_(share).scatter_add_(-1, target, -share)
    if isinstance(teacher, TopK):
        loss, gradient = stored(task.divergence, log_s, teacher.log_probs, teacher.indices, teacher.log_rest, wanted)
    else:
        loss, gradient = task.divergence(log_s, log_soften(teacher, task.temperature).to(log_s.dtype), wanted)
    if gradient is not None:
        gradient.mul_(scales[0].unsqueeze(-1) / task.temperature)
        logits.copy_(gradient if label_gradient is None else gradient.add_(label_gradient))
    return loss, label_loss


def _add_product(total: Tensor, left: Tensor, right: Tensor, rows: int) -> None:
    """Add a product of matrices to a sum that may be of a wider type, by blocks of its rows there."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
        return
    for start in range(0, len(total), rows):
        total[start : start + rows] += left[start : start + rows] @ right


def walk(task: Task, hidden: Tensor, head: Head, scales: Tensor, wanted: Wanted) -> Walked:
    """Go over the tokens chunk by chunk.

    Args:
        task: what to compute.
        hidden: the student's hidden states, [N, D].
        head: the student's head.
        scales: factors of the gradients of divergence and label cross-entropy of each token, [2, N].
        wanted: which gradients to return.

    Returns:
        Values and gradients.
    """
    total, vocabulary = len(hidden), len(head.weight)
    hidden, head = hidden.to(task.dtype), head.cast(task.dtype)
    sums = task.sums
    made = hidden.new_zeros(2, total, dtype=sums)
    result = Walked(
        made[0],
        made[1],
        hidden.new_empty(hidden.shape, dtype=sums) if wanted.hidden else None,
        hidden.new_zeros(head.weight.shape, dtype=sums) if wanted.weight else None,
        hidden.new_zeros(vocabulary, dtype=sums) if wanted.bias else None,
    )
    teacher_hidden, teacher_head = task.teacher_hidden, task.teacher_head
    if teacher_hidden is not None and teacher_head is not None:
        teacher_hidden, teacher_head = teacher_hidden.to(task.teacher_dtype), teacher_head.cast(task.teacher_dtype)
    room = hidden.new_empty(min(task.chunk, total), vocabulary)
    teacher_room = None if teacher_hidden is None else torch.empty_like(room, dtype=task.teacher_dtype)
    rows = max(1, (CACHED_BYTES if hidden.device.type == "cpu" else SCRATCH_BYTES) // max(vocabulary * sums.itemsize, 1))
    for start in range(0, total, task.chunk):
        tokens = slice(start, min(start + task.chunk, total))
        states = hidden[tokens]
        logits = head.logits(states, room[: len(states)])
        theirs = None
        if teacher_hidden is not None and teacher_head is not None and teacher_room is not None:
            theirs = teacher_head.logits(teacher_hidden[tokens], teacher_room[: len(states)])
        for first in range(0, len(states), rows):
            some = slice(first, min(first + rows, len(states)))
            here = slice(start + some.start, start + some.stop)
            teacher = theirs[some] if theirs is not None else task.stored(here)
            labels = None if task.labels is None else task.labels[here]
            made[0, here], of_labels = _block(task, logits[some], teacher, labels, scales[:, here], any(wanted))
            if of_labels is not None:
                made[1, here] = of_labels
        # The logits are now their gradient.
        if result.hidden is not None:
            result.hidden[tokens] = logits @ head.weight
        if result.weight is not None:
            _add_product(result.weight, logits.t(), states, max(1, SCRATCH_BYTES // max(hidden.shape[1] * 4, 1)))
        if result.bias is not None:
            result.bias.add_(logits.sum(0, dtype=sums))
    return result
