"""Hard instances: masks over the instances of a bag that hide what a teacher finds salient, what it ignores, and some at random.

A mask is bool `[N]`, True for an instance that is hidden: what is left of a bag is `bag[~mask]`, a shorter sequence.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from tutelage.errors import OptionError, ShapeError

Fusion = Literal["vote", "mean"]


def share(ratio: float, total: int) -> int:
    """Return `ceil(ratio * total)`, not fooled by rounding (0.1 * 30 is 3).

    Args:
        ratio: from 0 to 1.
        total: of how many.

    Raises:
        OptionError: if the ratio leaves [0, 1].
    """
    if not 0.0 <= ratio <= 1.0:
        raise OptionError(f"A ratio of masked instances is {ratio!r}; expected a number from 0 to 1.")
    return min(math.ceil(ratio * total - 1e-9 * total), total)


@torch.no_grad()
def salient(scores: Tensor, count: int, *, fusion: Fusion = "vote", largest: bool = True) -> Tensor:
    """Return the positions of the instances that score highest, over all attention heads together.

    Args:
        scores: how salient each instance is, higher is more, float `[H, N]` or `[N]`.
        count: how many to return, 0 to N.
        fusion: `"vote"`: each head names its `count` highest, and those named most often are returned, of equally many votes those of the
            highest mean score; `"mean"`: the highest mean score over heads. With one head both are its top `count`. Default `"vote"`.
        largest: False for the lowest in place of the highest. Default True.

    Returns:
        int64 `[count]`, in no particular order.

    Raises:
        OptionError: for an unknown fusion.
        ShapeError: if the scores are not `[H, N]` or `[N]`, or are fewer than `count`.

    Source: Tang et al., Masked Hard Instance Mining, arXiv 2307.15254, section 3.2 and supplement.
    """
    if fusion not in ("vote", "mean"):
        raise OptionError(f"fusion is '{fusion}'; expected 'vote' or 'mean'.")
    heads = scores.unsqueeze(0) if scores.ndim == 1 else scores
    if heads.ndim != 2 or not 0 <= count <= heads.shape[1] or not len(heads):
        raise ShapeError(f"{count} instances were asked of scores {list(scores.shape)}; expected [H, N] or [N] with N of at least {count}.")
    mean = heads.float().mean(0)
    if count == 0 or len(heads) == 1 or fusion == "mean":
        return mean.topk(count, largest=largest, sorted=False).indices
    votes = torch.zeros_like(mean).index_add(
        0, heads.topk(count, largest=largest, sorted=False).indices.flatten(), mean.new_ones(count * len(heads))
    )
    order = mean.argsort(descending=largest, stable=True)
    return order[votes[order].argsort(descending=True, stable=True)[:count]]


@torch.no_grad()
def hard_instance_mask(
    scores: Tensor | None,
    total: int,
    *,
    high: float = 0.0,
    high_randomness: float = 1.0,
    low: float = 0.0,
    random: float = 0.0,
    fusion: Fusion = "vote",
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return the union of three masks: the most salient instances (HAM), the least salient (L), and some at random (R).

    A mask that would leave no instance gives up its random part, then its low part, then the rest: bags of one instance stay whole.

    Args:
        scores: how salient each instance is to a teacher, float `[H, N]` or `[N]`; may be `None` when `high` and `low` are 0.
        total: N.
        high: share of the most salient instances to hide, of which there are `ceil(high N)`.
        high_randomness: hr in (0, 1]: that many are drawn at random among the `ceil(high / hr N)` most salient, of which they are about
            the share hr. Default 1: the most salient themselves.
        low: share of the least salient instances to hide, `ceil(low N)`.
        random: share of instances drawn from the whole bag, `ceil(random N)`.
        fusion: how several heads are made one ranking, see `salient`.
        generator: source of randomness, on the device of the scores.
        device: where the mask lies when there are no scores.

    Returns:
        bool `[N]`, True where hidden; at least one is False.

    Raises:
        OptionError: if a share leaves [0, 1] or `high_randomness` (0, 1].
        ShapeError: if there is no instance, or the scores are not of N instances.
    """
    if not 0.0 < high_randomness <= 1.0:
        raise OptionError(f"high_randomness is {high_randomness!r}; expected a number above 0, at most 1 (no randomness).")
    if total < 1 or (scores is None and (high or low)) or (scores is not None and scores.shape[-1] != total):
        got = None if scores is None else list(scores.shape)
        raise ShapeError(f"A mask of {total} instances cannot be made of scores {got}; expected [H, {total}] of at least one instance.")
    place = device if scores is None else scores.device
    nothing = torch.zeros(total, dtype=torch.bool, device=place)
    parts: list[Tensor] = []
    hidden = share(high, total)
    if hidden and scores is not None:
        pool = salient(scores, max(share(min(high / high_randomness, 1.0), total), hidden), fusion=fusion)
        parts.append(pool[_drawn(len(pool), hidden, generator, place)])
    if low and scores is not None:
        parts.append(salient(scores, share(low, total), fusion=fusion, largest=False))
    if random:
        parts.append(_drawn(total, share(random, total), generator, place))
    for kept in range(len(parts), 0, -1):
        mask = nothing.index_fill(0, torch.cat(parts[:kept]), True)
        if not bool(mask.all()):
            return mask
    return nothing


def _drawn(total: int, count: int, generator: torch.Generator | None, device: torch.device | None) -> Tensor:
    if count == total:
        return torch.arange(total, device=device)
    return torch.randperm(total, generator=generator, device=device)[:count]
