"""SIGReg: embeddings are asked to be isotropic Gaussian, by a univariate test of normality on random slices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tutelage.errors import OptionError, ShapeError
from tutelage.losses.features import full
from tutelage.losses.normality import Line, NormalityTest, epps_pulley, test_named

_CHUNK = 64  # directions at once, for the tests that hold their projections


def random_directions(count: int, width: int, *, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Draw directions uniformly on the unit sphere.

    They are drawn on the CPU and then moved, so that the same seed gives the same directions on every device and process.

    Args:
        count: how many, M.
        width: dimensions, K.
        seed: for instance the number of the step, which every process knows.
        device: where they go.

    Returns:
        float32 `[M, K]`, rows of length 1.

    Raises:
        OptionError: if there would be none.
    """
    if count < 1 or width < 1:
        raise OptionError(f"{count} directions of width {width} were asked for; expected at least 1 of each.")
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1).to(device)


def sigreg(
    embeddings: Tensor,
    directions: Tensor,
    *,
    test: NormalityTest = "epps-pulley",
    knots: int = 17,
    reach: float = 3.0,
    line: Line = "half",
) -> Tensor:
    """Return how far embeddings are from an isotropic standard Gaussian: the mean over directions of a test on their projections.

    Time and memory are linear in samples, and memory does not grow with the number of directions. In a distributed training the test
    is on the samples of all processes, and gradients flow to each.

    Args:
        embeddings: float `[..., N, K]`; leading axes (views) are tested each by itself. Computed in float32 for half types.
        directions: `[M, K]`, the same on every process (see `random_directions`).
        test: the test (see `losses.normality`). Default `"epps-pulley"`.
        knots: points of that test's quadrature. Default 17.
        reach: its largest t. Default 3.
        line: `"half"` puts the knots on [0, reach], `"full"` on [-reach, reach].

    Returns:
        One number per leading index, `[...]`: not averaged over views.

    Raises:
        ShapeError: if embeddings and directions do not fit.
        OptionError: for an unknown test or an option out of its range.

    Source: arXiv 2511.08544, section 4 and algorithm 1. The default quadrature is that of the authors' package; their pseudo-code has
        reach=5 and line="full".
    """
    if embeddings.ndim < 2 or directions.ndim != 2 or embeddings.shape[-1] != directions.shape[-1]:
        raise ShapeError(
            f"Embeddings are {list(embeddings.shape)} and directions {list(directions.shape)}; expected [..., N, K] and [M, K]."
        )
    chosen = test_named(test)
    z = full(embeddings)
    if test == "epps-pulley":
        return epps_pulley(z, directions, knots=knots, reach=reach, line=line).mean(-1)

    def part(embeddings: Tensor, some: Tensor) -> Tensor:
        return chosen(embeddings @ some.T)

    with torch.autocast(z.device.type, enabled=False):
        found = [checkpoint(part, z, some.to(z), use_reentrant=False) for some in torch.split(directions, _CHUNK)]
    return torch.cat(found, -1).mean(-1)
