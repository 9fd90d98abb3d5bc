"""Grokking: a student fits a quadratic teacher first as its tangent kernel would and generalises later, when its features turn to it.

One scale of the output decides how late: a large one keeps training lazy, a small one lets features move at once.

Reference: Kumar, Bordelon, Gershman, Pehlevan, Grokking as the Transition from Lazy to Rich Training Dynamics, ICLR 2024, arXiv 2310.06110.
Tags: theory, grokking, delayed generalisation, tangent kernel, feature learning, lazy training, student-teacher, regression
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.data.teacher_task import TeacherTask
from tutelage.errors import OptionError, ShapeError, TrainingError
from tutelage.evaluate.delay import Delay, GridLog, delay
from tutelage.evaluate.kernels import cka, kernel_change, kernel_descent, kernel_regression
from tutelage.evaluate.second_moment import alignment, answers, augmented, committee_kernel, loss_parts, second_moment
from tutelage.models.committee import Committee
from tutelage.models.output_scale import OutputScale
from tutelage.train import Batch, Method


class Grokking(Method):
    """A committee `(alpha / N) sum_i (h_i + epsilon / 2 h_i^2)`, `h_i = w_i . x`, on labels of a fixed function.

    `descend` trains it, and any number of others beside it, by full-batch gradient descent. `losses` is the same loss for the trainer:
    plain SGD on the whole set with the learning rate `learning_rate` takes the same steps.

    Batch:
        input: float64 `[P, D]`, from N(0, I/D), all training samples at once.
        target: the teacher's answers, float64 `[P]`.

    Args:
        dimensions: D, input dimensions.
        alpha: scale of the output, no unit. Default 1; the paper sweeps 2^-5 to 32. Large is lazy, small is rich.
        epsilon: share of the square in the activation, at least 0. Default 0.05 (the main figure's is 0.02 in one copy, 0.25 in
            another; the sweep has 0.25 to 4). Small means that the tangent kernel hardly sees quadratic functions at the start.
        width: N, hidden units. Default 100 (the main figure has 500).
        rate: c of the learning rate `c N / alpha^2`. Default 0.5, as in the paper's sweeps; its main figure has 1.
        centred: subtract the answer at initialisation, so that the student starts at 0. Default true.
        weight_scale: standard deviation of the initial weights. Default 1; the paper sweeps 0.125 to 2.
        seed: seed of the initial weights.

    Raises:
        OptionError: for an option out of range.

    Source: sections 3 and 4 of the paper.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        alpha: float = 1.0,
        epsilon: float = 0.05,
        width: int = 100,
        rate: float = 0.5,
        centred: bool = True,
        weight_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not alpha > 0 or not rate > 0 or not epsilon >= 0:
            raise OptionError(f"alpha is {alpha}, rate {rate}, epsilon {epsilon}; expected alpha and rate above 0, epsilon of at least 0.")
        network = Committee(dimensions, width, epsilon=epsilon, weight_scale=weight_scale, seed=seed)
        self.student: OutputScale = OutputScale(network, alpha, centred=centred)
        self.alpha, self.epsilon, self.width, self.rate, self.centred = alpha, epsilon, width, rate, centred
        self.initial: Tensor
        self.register_buffer("initial", network.weight.detach().clone())

    @property
    def weight(self) -> Tensor:
        """The student's weights `[N, D]`."""
        network = self.student.model
        assert isinstance(network, Committee)
        return network.weight

    @property
    def learning_rate(self) -> float:
        """Length of a gradient step, `c N / alpha^2`."""
        return self.rate * self.width / self.alpha**2

    @property
    def name(self) -> str:
        """The two knobs, for errors and legends."""
        return f"alpha {self.alpha:g}, epsilon {self.epsilon:g}"

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean squared error to the teacher's answers."""
        error = self.student(batch["input"]) - batch["target"]
        return {"mse": (error**2).mean()}

    def start(self, inputs: Tensor) -> Tensor:
        """Return what is added to the linearised student's answers: those at initialisation, or 0 where they are subtracted."""
        return torch.zeros_like(inputs[:, 0]) if self.centred else answers(second_moment(self.initial), inputs, self.alpha, self.epsilon)


@dataclass(frozen=True)
class Trajectory:
    """What was measured along one descent.

    Args:
        steps: numbers of the steps, a geometric grid from 0.
        values: by name one number per step: `train_loss`, `test_loss`, `cka`, `kernel_change` (relative), `weight_norm`,
            `linear_train_loss` and `linear_test_loss` (the linearised student after as many
            steps); with a quadratic teacher `A`, `B`, `C` and `alignment`.
        power: E[y^2] or another loss of knowing nothing, the unit in which losses compare.
        kernel_test_loss: of regression with the initial tangent kernel, the limit of the linearised student; `None` where not computed.
    """

    steps: tuple[int, ...]
    values: dict[str, tuple[float, ...]]
    power: float
    kernel_test_loss: float | None = None

    def delay(self, *, train_below: float = 0.1, test_below: float = 0.3) -> Delay:
        """Return when it fitted and when it generalised.

        Args:
            train_below: threshold of the training loss, in units of E[y^2].
            test_below: threshold of the test loss, in the same units.
        """
        v = self.values
        return delay(self.steps, v["train_loss"], v["test_loss"], train_below=train_below * self.power, test_below=test_below * self.power)


def descend(
    students: Sequence[Grokking], tasks: Sequence[TeacherTask], steps: int, *, per_decade: int = 20, kernels: bool = True
) -> list[Trajectory]:
    """Train students by full-batch gradient descent on the mean squared error, all in one tensor program.

    One step moves every neuron by the same affine map, and losses depend on the neurons' second moment alone: the map is iterated, at
    a cost that does not depend on their number, and applied to the initial weights at the end. It is the descent itself, exactly.

    Args:
        students: each with its own knobs; they start from their initial weights, and hold the last ones afterwards.
        tasks: one per student, all of one size; the same task may come several times.
        steps: number of steps T.
        per_decade: rows of the log per power of ten.
        kernels: log the tangent kernel too, whose cost grows with the square of the samples.

    Returns:
        One trajectory per student.

    Raises:
        ShapeError: if tasks and students do not fit each other.
        TrainingError: if a loss is no longer finite: it names the student and the step.
    """
    _check(students, tasks)
    x, y = (torch.stack([getattr(task, name) for task in tasks]) for name in ("train_input", "train_target"))
    alpha, epsilon, rate = (torch.tensor([[getattr(s, name)] for s in students], dtype=x.dtype) for name in ("alpha", "epsilon", "rate"))
    centred = torch.tensor([[s.centred] for s in students], dtype=x.dtype)
    origin = torch.stack([second_moment(s.initial) for s in students])
    identity = torch.eye(x.shape[-1] + 1, dtype=x.dtype).expand_as(origin)
    lengths = (2 * rate / (alpha * x.shape[1]))[..., None]
    columns = torch.cat([epsilon[..., None] * x, torch.ones_like(x[..., :1])], -1)
    offset = centred * answers(origin, x, alpha, epsilon) + y

    watches = [_Watch(s, t, m, GridLog(steps, per_decade), kernels) for s, t, m in zip(students, tasks, origin, strict=True)]
    maps, moment = identity.clone(), origin
    with torch.no_grad():
        for step in range(steps + 1):
            error = answers(moment, x, alpha, epsilon) - offset
            if watches[0].log.due(step):
                for watch, now, miss in zip(watches, moment, error, strict=True):
                    watch.add(step, now, miss)
            if step == steps:
                break
            # dL/dw_i = (2 alpha / (N P)) sum_mu e_mu (1 + epsilon w_i . x_mu) x_mu, and the step is c N / alpha^2.
            gradient = (x * error[..., None]).mT @ columns
            move = identity.clone()
            move[:, :-1] -= lengths * gradient
            maps = move @ maps
            moment = maps @ origin @ maps.mT
        for student, found in zip(students, maps, strict=True):
            student.weight.copy_(augmented(student.initial) @ found.mT[:, :-1])
    return [watch.trajectory() for watch in watches]


class _Watch:
    """Measures one student at the steps of a log."""

    def __init__(self, student: Grokking, task: TeacherTask, origin: Tensor, log: GridLog, kernels: bool) -> None:
        self.student, self.task, self.origin, self.log, self.kernels = student, task, origin, log, kernels
        self.kernel = self._kernel(origin, task.train_input)

    def _kernel(self, moment: Tensor, left: Tensor) -> Tensor:
        s = self.student
        return committee_kernel(moment, left, self.task.train_input, alpha=s.alpha, epsilon=s.epsilon, width=s.width)

    def add(self, step: int, moment: Tensor, error: Tensor) -> None:
        s, task = self.student, self.task
        if not bool(error.isfinite().all()):
            raise TrainingError(
                f"The student with {s.name} diverged before step {step}: its loss is not finite. Lower rate, which is {s.rate:g}, or alpha."
            )
        drift = moment - self.origin if s.centred else moment
        miss = answers(drift, task.test_input, s.alpha, s.epsilon) - task.test_target
        row = {"train_loss": float((error**2).mean()), "test_loss": float((miss**2).mean())}
        row["weight_norm"] = float((s.width * moment[:-1, :-1].trace()).sqrt())
        if self.kernels:
            kernel = self._kernel(moment, task.train_input)
            row |= {"cka": float(cka(kernel, task.train_target)), "kernel_change": float(kernel_change(kernel, self.kernel))}
        if task.direction is not None:
            row |= loss_parts(moment, task.direction, alpha=s.alpha, epsilon=s.epsilon, origin=self.origin if s.centred else None)
            row["alignment"] = alignment(moment, self.origin, task.direction)
        self.log.add(step, **row)

    def trajectory(self) -> Trajectory:
        values = {name: tuple(column) for name, column in self.log.values.items()}
        if not self.kernels:
            return Trajectory(tuple(self.log.steps), values, self.task.power)
        lazy, limit = self._lazy()
        return Trajectory(tuple(self.log.steps), values | lazy, self.task.power, limit)

    def _lazy(self) -> tuple[dict[str, tuple[float, ...]], float]:
        """Losses of the linearised student, and that of its limit."""
        s, task = self.student, self.task
        cross = self._kernel(self.origin, task.test_input)
        first, held_out = s.start(task.train_input), s.start(task.test_input)
        wanted = task.train_target - first
        fitted, found = kernel_descent(self.kernel, wanted, cross, rate=s.learning_rate, steps=self.log.steps)
        limit = kernel_regression(self.kernel, wanted, cross) + held_out - task.test_target
        return {
            "linear_train_loss": tuple(((fitted - wanted) ** 2).mean(-1).tolist()),
            "linear_test_loss": tuple(((found + held_out - task.test_target) ** 2).mean(-1).tolist()),
        }, float((limit**2).mean())


def _check(students: Sequence[Grokking], tasks: Sequence[TeacherTask]) -> None:
    if not students or len(students) != len(tasks):
        raise ShapeError(f"Got {len(students)} students and {len(tasks)} tasks: give one task per student, at least one.")
    sizes = {tuple(task.train_input.shape) for task in tasks}
    if len(sizes) > 1:
        raise ShapeError(
            f"Students that are trained together need tasks of one size [P, D]; got {sorted(sizes)}. Train each size by itself."
        )
    for student, task in zip(students, tasks, strict=True):
        if student.weight.shape[1] != task.dimensions:
            raise ShapeError(f"The student with {student.name} takes {student.weight.shape[1]} dimensions, its task has {task.dimensions}.")
