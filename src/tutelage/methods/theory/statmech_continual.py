"""StatMech-Continual: binary weights learned as a distribution, which is prior and anchor when the next task comes.

A weight that is certain hardly moves and an uncertain one is free, so old tasks stay without replay; for perceptrons a theory of order
parameters says in advance how much is forgotten and transferred (`tutelage.evaluate.mean_field`).

Reference: Li, Huang, Zou, Huang, Statistical mechanics of continual learning: variational principle and mean-field potential,
arXiv 2212.02846.
Tags: theory, continual learning, forgetting, binary weights, variational Bayes, perceptron, mean field, classification
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage.errors import OptionError, ShapeError
from tutelage.losses.anchor import binary_kl, quadratic
from tutelage.models.binary import FieldLinear, FieldPerceptron, field_variance, stability
from tutelage.schedules import Schedule, value
from tutelage.train import Batch, Method

_CERTAIN = math.atanh(math.sqrt(0.5))
"""Value of |b t| at which the variance of a weight is a half."""


@dataclass(frozen=True)
class Annealed:
    """Sharpness that grows with progress, `peak tanh(start + slope progress)`.

    Args:
        peak: what it tends to.
        start: argument at progress 0.
        slope: how far the argument moves until progress 1.
    """

    peak: float = 10.0
    start: float = 0.1
    slope: float = 2.0

    def __call__(self, progress: float) -> float:
        """Return the value at this progress in [0, 1]."""
        return self.peak * math.tanh(self.start + self.slope * progress)


class StatMechContinual(Method):
    """Variational learning of binary weights, task after task: `CE + gamma / P sum_i KL(Q_t || Q_t_old)`.

    The average over weights is taken inside the class probabilities: exactly for `FieldPerceptron`, whose cross-entropy is
    `-log Phi(y m.x / sqrt(sum s x^2))`, by one draw of the Gaussian pre-activations for `FieldMLP`. Train on one task, call
    `consolidate()`, train on the next. With `gamma=0` it is plain fine-tuning.

    Batch:
        input: float32 `[N, *shape]`, images in [0, 1] or patterns of -1 and 1.
        label: int64 `[N]`.

    Args:
        student: network with layers of binary fields (`FieldMLP`, `FieldPerceptron`, or your own with `FieldLinear` inside), all of
            which are anchored; logits or log-probabilities `[N, C]`.
        samples: training samples of a task, P: the cross-entropy is a mean over them, so the divergence is divided by their number,
            which is the sum over samples plus the whole divergence up to a factor. 1 leaves the divergence undivided.
        gamma: weight of the divergence. Default 1; 0.1 is studied too.
        anchor: `"task"` holds the student to the fields after the previous task (default; the paper's perceptrons); `"step"` to
            those one optimizer step earlier, in the first task too, as the released code of its deep networks does.
        divergence: `"exact"` (default), or `"quadratic"`: its second-order expansion about the reference, which is elastic weight
            consolidation with the fields' Fisher information `b^2 s`.
        prior: what the first task is held to with `anchor="task"`: `"none"` (default) or `"flat"`, all weights undecided.
        sharpness: b, a number or a schedule over all tasks. Default `Annealed()`, `10 tanh(0.1 + 2 progress)`, the paper's for
            permuted pixels; `Annealed(slope=1)` is its choice for two data sets; perceptrons have 1. It moves at every step, not epoch.
        tasks: number of tasks that the schedule spans. Default 1.
        draws: forward passes whose probabilities `predict` averages. Default 1, as in the paper.

    Source: arXiv 2212.02846 and its released code.
    """

    def __init__(
        self,
        student: nn.Module,
        samples: int,
        *,
        gamma: float = 1.0,
        anchor: Literal["task", "step"] = "task",
        divergence: Literal["exact", "quadratic"] = "exact",
        prior: Literal["none", "flat"] = "none",
        sharpness: float | Schedule = Annealed(),
        tasks: int = 1,
        draws: int = 1,
    ) -> None:
        super().__init__()
        if samples < 1 or tasks < 1 or draws < 1 or gamma < 0:
            raise OptionError(
                f"samples {samples}, tasks {tasks}, draws {draws}, gamma {gamma}: "
                "expected three numbers of at least 1 and one of at least 0."
            )
        if not callable(sharpness) and not sharpness > 0:
            raise OptionError(f"sharpness is {sharpness}; expected a number above 0, or a schedule.")
        for name, got, known in (
            ("anchor", anchor, ("task", "step")),
            ("divergence", divergence, ("exact", "quadratic")),
            ("prior", prior, ("none", "flat")),
        ):
            if got not in known:
                raise OptionError(f"{name} is '{got}'; expected '{known[0]}' or '{known[1]}'.")
        self.student = student
        self.layers = [m for m in student.modules() if isinstance(m, FieldLinear | FieldPerceptron)]
        if not self.layers:
            raise ShapeError(f"{type(student).__name__} has no layer of binary fields: build it of FieldLinear, or take FieldMLP.")
        self.samples = samples
        self.gamma = gamma
        self.anchor = anchor
        self.divergence = divergence
        self.sharpness = sharpness
        self.tasks = tasks
        self.draws = draws
        self.task = 0
        self.held = anchor == "step" or prior == "flat"
        for number, layer in enumerate(self.layers):
            start = layer.field.detach().clone()
            self.register_buffer(f"reference_{number}", torch.zeros_like(start) if anchor == "task" else start)
            if anchor == "step":
                self.register_buffer(f"latest_{number}", start.clone())

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `ce` and, when there is something to hold to and gamma is not 0, `kl`.

        Logs `sharpness`, and `certain`: the share of weights whose variance is below a half.
        """
        sharpness = value(self.sharpness, min((self.task + self.progress) / self.tasks, 1.0))
        for layer in self.layers:
            layer.sharpness.fill_(sharpness)
        losses = {"ce": L.mean(L.cross_entropy(self.student(batch["input"]), batch["label"]))}
        if self.held and self.gamma:
            losses["kl"] = self.gamma / self.samples * self.kl(sharpness)
        with torch.no_grad():
            certain = torch.stack([(layer.field.abs() > _CERTAIN / sharpness).sum() for layer in self.layers]).sum()
            self.log("certain", certain / sum(layer.field.numel() for layer in self.layers))
        self.log("sharpness", sharpness)
        return losses

    def kl(self, sharpness: float) -> Tensor:
        """Return the divergence of all weights from the reference, in nats.

        Args:
            sharpness: b of both.
        """
        total = []
        for number, layer in enumerate(self.layers):
            reference = self.get_buffer(f"reference_{number}")
            if self.divergence == "exact":
                total.append(binary_kl(layer.field, reference, sharpness=sharpness).sum())
            else:
                fisher = sharpness**2 * field_variance(reference, sharpness)
                total.append(quadratic(layer.field, reference, fisher).sum())
        return torch.stack(total).sum()

    def consolidate(self) -> None:
        """End a task: its posterior becomes the next one's prior and reference.

        Raises:
            OptionError: if there is no next task.
        """
        if self.task + 1 >= self.tasks:
            raise OptionError(f"All {self.tasks} tasks have been learned: give tasks as many as there will be.")
        self.task += 1
        self.held = True
        with torch.no_grad():
            for number, layer in enumerate(self.layers):
                self.get_buffer(f"reference_{number}").copy_(layer.field)

    def update_teachers(self) -> None:
        """After an optimizer step: with `anchor="step"` the reference follows, one step behind."""
        super().update_teachers()
        if self.anchor == "step":
            with torch.no_grad():
                for number, layer in enumerate(self.layers):
                    latest = self.get_buffer(f"latest_{number}")
                    self.get_buffer(f"reference_{number}").copy_(latest)
                    latest.copy_(layer.field)

    def predict(self, batch: Batch) -> Tensor:
        """Return log-probabilities `[N, C]`, the average of `draws` stochastic forward passes."""
        passes = [self.student(batch["input"]).log_softmax(-1) for _ in range(self.draws)]
        return passes[0] if len(passes) == 1 else torch.logsumexp(torch.stack(passes), 0) - math.log(len(passes))


def descend(
    field: Tensor,
    inputs: Tensor,
    labels: Tensor,
    *,
    steps: int,
    reference: Tensor | None = None,
    gamma: float | Tensor = 1.0,
    sharpness: float = 1.0,
    learning_rate: float = 0.005,
    decay: float = 1e-3,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Train perceptrons of binary weights on one task, several at once on the same patterns, by Adam with decoupled weight decay.

    Each descends `- sum_mu log Phi(y m.x / sqrt(sum s x^2)) + gamma KL(Q_t || Q_reference)`.

    Args:
        field: t at the start, `[K, N]`; it is not changed.
        inputs: patterns `[P, N]`.
        labels: -1 or 1, `[P]`.
        steps: optimizer steps.
        reference: fields of the previous task `[K, N]` or `[N]`; `None` for no divergence.
        gamma: weight of the divergence, one number or one for each perceptron `[K]`.
        sharpness: b.
        learning_rate: of Adam, with means that decay by 0.9 and 0.999.
        decay: decoupled weight decay of the fields; published values lie between 1e-3 and 0.5, tuned for each load.
        batch_size: patterns of a step, drawn without replacement epoch by epoch; `None` for all.
        generator: source of the batches' order.

    Returns:
        The fields after the last step, `[K, N]`.

    Raises:
        ShapeError: if fields, patterns and labels do not fit.

    Source: arXiv 2212.02846.
    """
    if field.ndim != 2 or inputs.shape != (len(labels), field.shape[1]):
        raise ShapeError(
            f"Fields {list(field.shape)}, patterns {list(inputs.shape)} and labels {list(labels.shape)}; expected [K, N], [P, N] and [P]."
        )
    field = field.detach().clone().requires_grad_()
    optimizer = torch.optim.AdamW([field], lr=learning_rate, weight_decay=decay)
    weight = torch.as_tensor(gamma, dtype=field.dtype).expand(len(field))
    held = None if reference is None or not weight.any() else reference.expand_as(field)
    size = min(batch_size or len(labels), len(labels))
    squares, order = inputs.square(), torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        x, square, y = inputs, squares, labels
        if size < len(labels):
            if len(order) < size:
                order = torch.randperm(len(labels), generator=generator)
            rows, order = order[:size], order[size:]
            x, square, y = inputs[rows], squares[rows], labels[rows]
        # Perceptrons share no weight, so the sum over them trains each by itself.
        loss = -torch.special.log_ndtr(y * stability(field, x, sharpness, squares=square)).sum() * (len(labels) / size)
        if held is not None:
            loss = loss + (weight * binary_kl(field, held, sharpness=sharpness).sum(-1)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return field.detach()


def overlap(field: Tensor, teacher: Tensor) -> Tensor:
    """Return `p = sum_i sign(t_i) w_i / N`, the overlap of perceptrons' likeliest weights with a teacher's.

    Args:
        field: t, `[K, N]`.
        teacher: weights of -1 and 1, `[N]`.

    Returns:
        `[K]`, in [-1, 1]; undecided weights count as 1.
    """
    return (torch.where(field < 0, -1.0, 1.0) * teacher).mean(-1)
