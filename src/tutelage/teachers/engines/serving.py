"""What stands between a frozen teacher and its network: it builds engines when they are needed and drops them when the network changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tutelage.teachers.engines.base import Engine, EngineError, Look, look, rows_of, tensors_of
from tutelage.teachers.engines.build import KINDS, build
from tutelage.teachers.engines.choose import Choice, choose
from tutelage.teachers.engines.hooks import muted

SHAPES = 8
"""Kinds of call for which engines are kept."""
CHANGES = 5
"""Calls in a row, before each of which the weights or buffers had changed, after which an engine is no use."""

log = logging.getLogger("tutelage.teachers")


class Serving:
    """Serves the calls of one frozen teacher. It is no module: nothing of it is in the teacher's state.

    Args:
        asked: the engine that was asked for, or `"auto"`.
        batch: samples that engines are laid out for and timed on; those of the first call if `None`.
        bound: largest difference from eager that is accepted; `None` for what rounding explains.
        calls: calls that are expected in all, for `"auto"`; `None` if unknown.
    """

    def __init__(self, asked: str, batch: int | None, bound: float | None, calls: int | None) -> None:
        self.asked, self.batch, self.bound, self.calls = asked, batch, bound, calls
        self.choice: Choice | None = None if asked == "auto" else Choice(asked, f"{asked}: it was asked for.", batch)
        self.listeners: list[Callable[[Choice], None]] = []
        self._device: str | None = None
        self._drop()

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer one call, without a graph."""
        rows = rows_of(args, kwargs)
        if self.idle or rows == 0:
            return model(*args, **kwargs)
        seen = look(model)
        if seen.training:
            return model(*args, **kwargs)
        self._note(seen)
        if self.choice is None or self.choice.batch is None:
            self._settle(model, args, kwargs, seen, rows)
        if self._name == "eager":
            return model(*args, **kwargs)
        engine = self._engine(model, args, kwargs, seen)
        return model(*args, **kwargs) if engine is None else engine(args, kwargs, seen.hooked)

    @property
    def idle(self) -> bool:
        """Whether the network runs as it is, whatever the call."""
        return self.choice is not None and self.choice.engine == "eager"

    def moved(self, device: str | None) -> None:
        """Drop engines of another kind of device, and a choice that was measured there; changed weights are noticed at the next call."""
        if device != self._device:
            self._drop()
        self._device = device
        if self.asked == "auto" and self.choice is not None and not self.choice.recalled and self.choice.device != device:
            self.choice = None

    def take(self, engine: str, reason: str, batch: int | None) -> None:
        """Serve with a given engine from now on, or fail."""
        self.choice = Choice(engine, reason, batch or self.batch, recalled=True)
        self._drop()

    def _drop(self) -> None:
        self._built: dict[Any, Engine | None] = {}
        self._stamp: tuple[Any, ...] | None = None
        self._changes = 0

    def _note(self, seen: Look) -> None:
        """Drop what was built from weights that have changed since."""
        if seen.stamp == self._stamp:
            self._changes = 0
            return
        if self._stamp is not None:
            self._changes += 1
        self._built.clear()
        self._stamp = seen.stamp
        if self._changes < CHANGES:
            return
        told = f"the teacher's weights or buffers changed before {CHANGES} calls in a row, so an engine made from them is of no use"
        if self._must_serve:
            raise EngineError(f"engine='{self._name}': {told}. Give engine='eager', or teachers.EMA if it follows its student.")
        self._fall_back(told)

    def _settle(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], seen: Look, rows: int | None) -> None:
        """Fix the batch that engines are laid out for, and with `auto` the engine, on the first call."""
        batch = self.batch or rows or 1
        if self.choice is not None:
            self._announce(replace(self.choice, batch=batch))
            return
        with muted(model, seen.hooked):
            found, engine = choose(model, args, kwargs, hooked=seen.hooked, batch=batch, bound=self.bound, calls=self.calls)
        if engine is not None:
            self._built[self._form(found.engine, args, kwargs)] = engine
        self._announce(found)

    def _engine(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], seen: Look) -> Engine | None:
        """The engine for this kind of call; `None` where `auto` goes on with the network itself."""
        name = self._name
        if seen.hooked and not KINDS[name].hooks:
            if self.asked == "auto":
                return None
            raise EngineError(
                f"engine='{name}' does not run hooks on inner layers, and there is one on '{min(seen.hooked)}'. "
                "Give engine='folded', which runs them, 'eager', or 'auto'."
            )
        form = self._form(name, args, kwargs)
        if form not in self._built:
            try:
                if len(self._built) >= SHAPES:
                    raise EngineError(f"engine='{name}' met calls of more than {SHAPES} shapes. Give engine='folded', which takes any.")
                assert self.choice is not None
                with muted(model, seen.hooked):
                    built = build(name, model, args, kwargs, batch=self.choice.batch or 1, bound=self.bound)
                self._built[form] = built.engine
            except EngineError as error:
                if self._must_serve:
                    raise
                self._built[form] = None
                log.warning("Calls of this kind are answered by eager: %s", error)
        return self._built[form]

    def _form(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """What two calls share that one engine can serve."""
        found = tensors_of((args, kwargs))
        device = found[0].device.type if found else "cpu"
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        form: tuple[Any, ...] = (name, len(args), tuple(sorted(kwargs)), precision)
        return form + tuple((t.shape[1:], t.dtype, t.device) for t in found) if KINDS[name].fixes_shapes else form

    @property
    def _name(self) -> str:
        assert self.choice is not None
        return self.choice.engine

    @property
    def _must_serve(self) -> bool:
        return self.asked != "auto" or (self.choice is not None and self.choice.recalled)

    def _fall_back(self, why: str) -> None:
        assert self.choice is not None
        self._announce(replace(self.choice, engine="eager", reason=f"eager: {why}."))

    def _announce(self, choice: Choice) -> None:
        self.choice = choice
        log.info("Teacher's engine: %s", choice.reason)
        for listener in self.listeners:
            listener(choice)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of copies what is built and who listens."""
        return {"asked": self.asked, "batch": self.batch, "bound": self.bound, "calls": self.calls, "choice": self.choice}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start a copy with nothing built."""
        self.__dict__.update(state)
        self.listeners = []
        self._drop()
