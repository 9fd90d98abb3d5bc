"""The second experiment of LeJEPA: points on an X, moved by a regulariser alone, without any network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from tutelage.losses.normality import NormalityTest


def x_points(number: int, width: int, seed: int) -> Tensor:
    """Return whitened points whose first two coordinates lie on the diagonals of a square, the others normal.

    Args:
        number: how many.
        width: coordinates of each.
        seed: seed of the draw.

    Returns:
        float32 `[number, width]`, of mean 0 and identity covariance, so that no moment up to the second tells them from a Gaussian.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(number, width, generator=generator, dtype=torch.float64)
    along = torch.linspace(-(3**0.5), 3**0.5, number, dtype=torch.float64)
    points[:, 0], points[:, 1] = along, along * (1 - 2 * (torch.arange(number) % 2))
    # Whitening by a symmetric root moves points least, and keeps the first two coordinates on their diagonals but for a small shear.
    points = points - points.mean(0)
    values, vectors = torch.linalg.eigh(points.T @ points / number)
    whitened: Tensor = points @ (vectors * values.rsqrt()) @ vectors.T
    return whitened.float()


def diagonal_statistic(points: Tensor) -> float:
    """Return the Epps-Pulley statistic of the slices at +45 and -45 degrees in the first two coordinates, averaged."""
    import torch

    from tutelage import losses as L

    directions = torch.zeros(2, points.shape[1])
    directions[0, :2], directions[1, :2] = torch.tensor([1.0, 1.0]) / 2**0.5, torch.tensor([1.0, -1.0]) / 2**0.5
    return float(L.sigreg(points, directions))


def moved(points: Tensor, test: NormalityTest, *, slices: int, steps: int, rate: float, seed: int) -> Tensor:
    """Return the points after gradient descent on SIGReg with few, always fresh, directions.

    Args:
        points: `[N, D]`.
        test: the univariate test.
        slices: directions per step.
        steps: steps of Adam.
        rate: its learning rate, which falls to zero along a cosine.
        seed: seed of the directions.
    """
    import torch

    from tutelage import losses as L

    free = points.clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        directions = L.random_directions(slices, points.shape[1], seed=seed * steps + step)
        optimizer.zero_grad()
        L.sigreg(free, directions, test=test).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return free.detach()


def drawn(clouds: dict[str, Tensor]) -> Any:
    """Return a figure of the first two coordinates of several clouds of points, side by side."""
    from tutelage.errors import optional

    figure = optional("matplotlib.figure", "report").Figure(figsize=(3.2 * len(clouds), 3.2), layout="constrained")
    for place, (name, points) in enumerate(clouds.items(), 1):
        axes = figure.add_subplot(1, len(clouds), place)
        axes.scatter(points[:, 0], points[:, 1], s=10, color="#3b82c4")
        axes.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal", xticks=[], yticks=[])
        axes.set_title(name, fontsize=10)
    return figure
