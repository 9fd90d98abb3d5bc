"""Networks whose output is scaled: digits, a ReLU committee under a smaller one, and a transformer on sums modulo a prime."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import data, models
from tutelage.data.teacher_task import teacher_task
from tutelage.errors import TrainingError
from tutelage.evaluate.delay import GridLog
from tutelage.methods.theory.grokking import Trajectory
from tutelage.models.committee import Committee
from tutelage.models.modular import SumTransformer, modular_pairs
from tutelage.models.output_scale import OutputScale

if TYPE_CHECKING:
    from tutelage.recipes.theory.grokking import NetworkOptions

Pair = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def fit(
    model: nn.Module,
    train: Pair,
    test: Pair,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    power: float,
    batch: int | None = None,
    seed: int = 0,
    per_decade: int = 12,
) -> Trajectory:
    """Train a network and log both losses on a geometric grid of steps.

    Args:
        model: the network, which is changed.
        train: inputs and targets.
        test: inputs and targets.
        loss: `(answers, targets) -> scalar`.
        optimizer: of the network's parameters.
        steps: number of steps.
        power: loss of knowing nothing, the unit of thresholds.
        batch: samples per step, drawn with replacement; all of them if `None`.
        seed: seed of the draws.
        per_decade: rows per power of ten.

    Returns:
        `train_loss`, `test_loss` and `weight_norm` on the grid.

    Raises:
        TrainingError: if the loss is not finite.
    """
    log, generator = GridLog(steps, per_decade), torch.Generator().manual_seed(seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    for step in range(steps + 1):
        if log.due(step):
            with torch.no_grad():
                losses = {name: float(loss(model(x), y)) for name, (x, y) in (("train_loss", train), ("test_loss", test))}
                norm = float(torch.stack([p.square().sum() for p in trained]).sum().sqrt())
            if not losses["train_loss"] < float("inf"):
                raise TrainingError(
                    f"The loss of {type(model).__name__} is {losses['train_loss']} at step {step}: lower the learning rate."
                )
            log.add(step, **losses, weight_norm=norm)
        if step == steps:
            break
        rows = slice(None) if batch is None else torch.randint(len(train[0]), (batch,), generator=generator)
        optimizer.zero_grad()
        loss(model(train[0][rows]), train[1][rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Trajectory(tuple(log.steps), {name: tuple(column) for name, column in log.values.items()}, power)


def digits(options: NetworkOptions, seed: int) -> dict[str, Trajectory]:
    """Train an MLP of large initial weights on 1,000 digits, by squared error to one-hot labels, at every output scale.

    Args:
        options: of the networks.
        seed: seed of data, weights and batches.

    Returns:
        One trajectory per scale, its unit the mean square of a one-hot label.
    """
    parts = data.load(options.mnist_data, validation=0.1, test=1000, seed=seed)
    train = data.split(parts.train, {"train": options.mnist_samples}, seed)["train"]
    pairs = [(arrays.gather()["input"], F.one_hot(arrays.labels, parts.num_classes).float()) for arrays in (train, parts.test)]
    found = {}
    for scale in options.mnist_scales:
        torch.manual_seed(seed)
        network = models.mlp(num_classes=parts.num_classes, input_shape=parts.shape, widths=options.mnist_widths)
        with torch.no_grad():
            for layer in network.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight *= options.mnist_gain
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        found[f"digits, scale {scale:g}"] = fit(
            OutputScale(network, scale),
            pairs[0],
            pairs[1],
            F.mse_loss,
            optimizer,
            steps=options.mnist_steps,
            power=1 / parts.num_classes,
            batch=200,
            seed=seed,
        )
    return found


def student_teacher(options: NetworkOptions, seed: int) -> dict[str, Trajectory]:
    """Train a committee of 100 ReLU units, centred, on 100 answers of a committee of two in 20 dimensions.

    Args:
        options: of the networks.
        seed: seed of teacher, samples and student.

    Returns:
        One trajectory per output scale, its unit E[y^2].
    """
    dimensions, width = 20, 100
    teacher = OutputScale(Committee(dimensions, 2, activation="relu", seed=seed + 1_000_000), 2.0)
    task = teacher_task(dimensions, 100, seed=seed, teacher=teacher)
    found = {}
    for scale in options.teacher_scales:
        student = OutputScale(Committee(dimensions, width, activation="relu", seed=seed), scale, centred=True)
        optimizer = torch.optim.SGD(student.model.parameters(), lr=0.5 * width / scale**2)
        found[f"student-teacher, scale {scale:g}"] = fit(
            student,
            (task.train_input, task.train_target),
            (task.test_input, task.test_target),
            F.mse_loss,
            optimizer,
            steps=options.teacher_steps,
            power=task.power,
        )
    return found


def modular(options: NetworkOptions, seed: int) -> dict[str, Trajectory]:
    """Train a one-layer transformer on 60 % of all sums modulo a prime, by cross-entropy and AdamW, at every output scale.

    Args:
        options: of the networks.
        seed: seed of split and weights.

    Returns:
        One trajectory per scale, its unit the cross-entropy of guessing.
    """
    pairs, sums = modular_pairs(options.modulus)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    cut = round(0.6 * len(pairs))
    train, test = ((pairs[rows], sums[rows]) for rows in (order[:cut], order[cut:]))
    found = {}
    for scale in options.modular_scales:
        torch.manual_seed(seed)
        network = SumTransformer(options.modulus)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1.0, betas=(0.9, 0.98), fused=True)
        guess = float(torch.tensor(float(options.modulus)).log())
        found[f"sums, scale {scale:g}"] = fit(
            OutputScale(network, scale), train, test, F.cross_entropy, optimizer, steps=options.modular_steps, power=guess
        )
    return found
