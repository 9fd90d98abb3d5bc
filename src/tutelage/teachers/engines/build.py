"""Building an engine by name, and believing it only after it was seen to agree with the network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tutelage.errors import TutelageError
from tutelage.teachers.engines.agree import default_bound, difference
from tutelage.teachers.engines.base import Engine, EngineError, first_line, resized, rows_of, tensors_of
from tutelage.teachers.engines.compiled import Compiled
from tutelage.teachers.engines.folded import Folded
from tutelage.teachers.engines.runtime import Runtime

KINDS: dict[str, type[Engine]] = {"folded": Folded, "compile": Compiled, "onnxruntime": Runtime}


@dataclass(frozen=True)
class Built:
    """An engine that agrees with its network.

    Args:
        engine: the engine.
        seconds: what building it took.
        difference: largest difference that was seen, as a share of the answers' scale.
        bound: what was allowed.
    """

    engine: Engine
    seconds: float
    difference: float
    bound: float


def build(name: str, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, batch: int, bound: float | None) -> Built:
    """Build an engine for a call and compare it with the network on that call's inputs.

    Args:
        name: `"folded"`, `"compile"` or `"onnxruntime"`.
        model: the network, in eval mode and with its hooks muted.
        args: positional arguments of a real call.
        kwargs: its keyword arguments.
        batch: samples that the engine is laid out for.
        bound: largest difference that is accepted (see `agree.difference`); `None` for `agree.default_bound`.

    Returns:
        The engine.

    Raises:
        EngineError: if it cannot be built, fails, or differs by more than the bound.
    """
    who = f"engine='{name}' cannot be built for {type(model).__name__}"
    cure = "Give engine='eager', or 'auto', which passes such engines over."
    if next(model.parameters(), None) is None:
        raise EngineError(f"{who}: it has no weights in PyTorch (a file or a fitted classifier runs by itself). Give engine='eager'.")
    if any(hasattr(p, "full_tensor") for p in model.parameters()):
        raise EngineError(f"{who}: its weights are sharded over several processes. Give engine='eager'.")
    started = time.perf_counter()
    try:
        with torch.random.fork_rng(devices=cuda_of(args, kwargs)):
            engine = _made(name, model, args, kwargs, batch)
    except TutelageError as error:
        raise EngineError(f"{who}: {str(error).rstrip('.')}. {cure}") from error
    except Exception as error:  # compilers and exporters raise many classes, some of them private
        raise EngineError(f"{who}: {first_line(error).rstrip('.')}. {cure}") from error
    seconds = time.perf_counter() - started
    found, allowed = _compare(engine, model, args, kwargs, bound, who, cure)
    if not found <= allowed:
        raise EngineError(
            f"engine='{name}' answers otherwise than {type(model).__name__} itself: they differ by {found:.3g} of the answers' scale on a "
            f"real batch, and at most {allowed:.3g} is accepted. Give engine='eager', or a larger bound= if that is small enough."
        )
    return Built(engine, seconds, found, allowed)


def _made(name: str, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], batch: int) -> Engine:
    if name == "folded":
        return Folded(model, args, kwargs)
    if name == "compile":
        return Compiled(model, args, kwargs, batch)
    return Runtime(model, args, kwargs)


def _compare(
    engine: Engine, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], bound: float | None, who: str, cure: str
) -> tuple[float, float]:
    """The largest difference on the call, and on its first sample alone if code was generated; and what is allowed."""
    rows = rows_of(args, kwargs)
    calls = [(args, kwargs)]
    if rows is not None and rows > 1 and not isinstance(engine, Folded):
        calls.append((resized(args, rows, 1), resized(kwargs, rows, 1)))
    worst, allowed = 0.0, bound or 0.0
    for positional, named in calls:
        with torch.no_grad(), torch.random.fork_rng(devices=cuda_of(args, kwargs)):
            expected = model(*positional, **named)
            try:
                answer = engine(positional, named)
            except Exception as error:
                raise EngineError(f"{who}: it was built but does not run ({first_line(error).rstrip('.')}). {cure}") from error
        worst = max(worst, difference(expected, answer))
        allowed = max(allowed, default_bound(expected)) if bound is None else bound
    return worst, allowed


def cuda_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.device]:
    """The CUDA devices whose random state a call may draw from."""
    return sorted({t.device for t in tensors_of((args, kwargs)) if t.device.type == "cuda"}, key=str)
