"""`engine="auto"`: time what can be had on a real batch, and take the fastest that agrees."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tutelage.teachers.engines.agree import default_bound, difference
from tutelage.teachers.engines.base import Engine, EngineError, resized, rows_of, tensors_of
from tutelage.teachers.engines.build import KINDS, Built, build, cuda_of
from tutelage.teachers.engines.folded import Folded

BUDGET = 0.2
"""Seconds of timing for each of the four candidates, so that all timing takes about a second; or one batch each if that is longer."""
COSTS = {"folded": 0.0, "onnxruntime": 6.0, "compile": 20.0}
"""Seconds that building each is expected to take, as measured with small networks; cheap ones are tried first."""
WORTH = 4.0
"""A costly engine is tried if the calls to come would take this many times its cost; at twice the speed it then saves twice that."""
GAIN = 0.95
"""A candidate wins if it takes less than this share of the best one's time before it: less is within what a machine's speed drifts."""
CALLS = 1000
"""Calls that are expected when nobody said how many."""


@dataclass(frozen=True)
class Choice:
    """Which engine serves a teacher, and why.

    Args:
        engine: its name.
        reason: why, in a sentence or two.
        batch: samples of the batch that it was built for; `None` before the first call.
        device: kind of device that it was chosen on, `"cpu"` or `"cuda"`; `None` where it was not measured.
        recalled: whether it was taken from a record, so that it must be had and nothing else.
    """

    engine: str
    reason: str
    batch: int | None = None
    device: str | None = None
    recalled: bool = False


def choose(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    hooked: frozenset[str],
    batch: int,
    bound: float | None,
    calls: int | None,
) -> tuple[Choice, Engine | None]:
    """Time the network and its engines on one real batch.

    Args:
        model: the network, in eval mode and with its hooks muted.
        args: positional arguments of a real call.
        kwargs: its keyword arguments.
        hooked: names of layers with hooks; if there are any, only engines that run hooks are candidates.
        batch: samples that are timed: the call's samples are repeated or cut.
        bound: largest difference that is accepted; `None` for what rounding explains.
        calls: calls that are expected in all; 1,000 if `None`.

    Returns:
        The choice, and its engine (`None` for eager).
    """
    found = [t.device.type for t in tensors_of((args, kwargs))]
    device = found[0] if found else "cpu"
    rows = rows_of(args, kwargs) or batch
    timed, named = resized(args, rows, batch), resized(kwargs, rows, batch)

    def eager(positional: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return model(*positional, **keywords)

    def choice(name: str, reason: str) -> Choice:
        return Choice(name, reason, batch, device)

    if next(model.parameters(), None) is None:
        return choice("eager", "eager: the teacher has no weights in PyTorch, so there is nothing to make faster."), None
    with torch.no_grad(), torch.random.fork_rng(devices=cuda_of(args, kwargs)):
        expected = eager(args, kwargs)
        again = difference(expected, eager(args, kwargs))
        allowed = bound if bound is not None else default_bound(expected)
        if not again <= allowed:
            return choice("eager", "eager: the teacher's answers differ from call to call (dropout or noise at work)."), None
        seconds = {"eager": _time(eager, timed, named)}
        best: tuple[str, Built | None] = ("eager", None)
        notes: list[str] = []
        for name, cost in COSTS.items():
            if hooked and not KINDS[name].hooks:
                notes.append(f"{name} does not run hooks on inner layers")
                continue
            spent = (CALLS if calls is None else calls) * seconds[best[0]]
            if cost and spent < WORTH * cost:
                notes.append(f"{name} was not tried (about {cost:.0f} s to build, for {spent:.3g} s of teaching)")
                continue
            try:
                built = build(name, model, args, kwargs, batch=batch, bound=bound)
            except EngineError as error:
                notes.append(str(error).rstrip("."))
                continue
            if isinstance(built.engine, Folded) and not built.engine.changes:
                notes.append("folded has nothing to fold")
                continue
            seconds[name] = _time(built.engine, timed, named)
            if seconds[name] < GAIN * seconds[best[0]]:
                best = (name, built)
    return choice(best[0], _reason(best, seconds, batch, notes)), best[1].engine if best[1] else None


def _time(run: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """Shortest seconds of a call; the first is not counted unless one takes longer than the budget."""
    cuda = cuda_of(args, kwargs)
    seconds: list[float] = []
    begun = time.perf_counter()
    while not seconds or time.perf_counter() - begun < BUDGET:
        started = time.perf_counter()
        run(args, kwargs)
        for device in cuda:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:] or seconds)


def _reason(best: tuple[str, Built | None], seconds: dict[str, float], batch: int, notes: list[str]) -> str:
    name, built = best
    others = [f"{other} {taken * 1000:.3g} ms" for other, taken in seconds.items() if other not in (name, "eager")]
    if built is None:
        text = f"eager: {seconds['eager'] * 1000:.3g} ms a batch of {batch}, and nothing was faster"
    else:
        text = (
            f"{name}: {seconds[name] * 1000:.3g} ms a batch of {batch}, {seconds['eager'] / seconds[name]:.2g} times eager's speed; "
            f"its answers differ by at most {built.difference:.1g} of their scale ({built.bound:.0e} is allowed)"
        )
    return "; ".join([text, *others, *notes]) + "."
