"""A teacher that never changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import nn

from tutelage.errors import OptionError, SpecError, nearest
from tutelage.teachers.base import Teacher
from tutelage.teachers.engines.base import ENGINES
from tutelage.teachers.engines.choose import Choice
from tutelage.teachers.engines.serving import Serving


class Frozen(Teacher):
    """A trained model as a teacher: no gradients, eval mode, saved once per run, run by the engine that suits it.

    The model itself is taken over, not copied: its parameters stop training. To teach from a network that trains on,
    give `copy.deepcopy(network)`.

    The engine decides how the model runs forward. `"eager"` calls it. `"folded"` runs a copy whose batch normalisations are
    folded into the layers before them and whose images lie channels-last. `"compile"` puts that copy through `torch.compile`,
    `"onnxruntime"` runs an ONNX graph of the model. `"auto"` times them on the first batch, for about a second, and takes the
    fastest; those that take seconds to build are tried only if `calls` make up for it. All are compared with eager before they are
    used. They are derived: `state_dict()`, parameters and hooks are the model's, and after its weights change (other than through a
    tensor's `.data`) the engine is built anew. The model itself answers while any of its modules is in training mode (dropout for
    uncertainty, batch statistics), under gradients, and inside a compiled function.

    Args:
        model: any module that is called on the inputs: a network, or a wrapper around an ONNX file or a scikit-learn
            classifier from `tutelage.models.build`.
        engine: `"auto"`, `"eager"`, `"folded"`, `"compile"` or `"onnxruntime"`. Hooks on inner layers run with eager and folded;
            auto keeps to these two where it finds hooks.
        batch: samples that an engine is timed on and laid out for; those of the first call by default. Other numbers work.
        bound: largest accepted difference from eager, as a share of the largest number answered; by default what rounding
            explains: 1e-4, 5e-3 on a GPU with TF32, 2e-2 in half precision.
        calls: batches that the teacher will be asked about, for `"auto"`; 1,000 where nobody says.

    Raises:
        SpecError: if `model` is not a module.
        OptionError: for an unknown engine, or numbers out of range.
        EngineError: when called, if the engine cannot be built for this model, differs from eager by more than the bound, or
            cannot run hooks that are there. Auto passes such engines over.
    """

    constant = True

    def __init__(
        self,
        model: nn.Module,
        engine: str = "eager",
        *,
        batch: int | None = None,
        bound: float | None = None,
        calls: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise SpecError(
                f"Frozen takes a torch.nn.Module, got {type(model).__name__}. Turn a specification or a fitted classifier into one with "
                "tutelage.models.build(spec, num_classes=..., input_shape=..., role='teacher')."
            )
        if engine not in ENGINES:
            raise OptionError(f"Frozen(engine={engine!r}) is not an option.{nearest(str(engine), ENGINES)}")
        if (batch is not None and batch < 1) or (calls is not None and calls < 0) or (bound is not None and not 0 <= bound < float("inf")):
            raise OptionError(
                "Frozen takes a batch of at least 1, calls of at least 0 and a finite bound of at least 0: "
                f"got batch={batch}, calls={calls}, bound={bound}."
            )
        self.model = model
        self._serving = Serving(engine, batch, bound, calls)
        self.freeze()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model's answer.

        Args:
            *args: passed to the model.
            **kwargs: passed to the model.

        Returns:
            What the model returns.
        """
        if torch.compiler.is_compiling() or self._serving.idle or torch.is_grad_enabled():
            return self.model(*args, **kwargs)
        return self._serving(self.model, args, kwargs)

    @property
    def engine(self) -> str:
        """The engine that was asked for."""
        return self._serving.asked

    @property
    def chosen(self) -> str | None:
        """The engine that answers; `None` while `auto` has not seen a batch. Setting it makes `auto` use that one, or fail."""
        return None if self._serving.choice is None else self._serving.choice.engine

    @chosen.setter
    def chosen(self, engine: str) -> None:
        self.use(engine)

    @property
    def reason(self) -> str:
        """Why that engine, with what was measured."""
        return "auto: no batch was seen yet." if self._serving.choice is None else self._serving.choice.reason

    @property
    def choice(self) -> Choice | None:
        """The engine, the reason, and the batch and device that it was chosen on; `None` while `auto` has not seen a batch."""
        return self._serving.choice

    def use(self, engine: str, *, batch: int | None = None, reason: str = "") -> Self:
        """Answer with a given engine from now on, without timing any: what a resumed run does.

        Args:
            engine: any but `"auto"`.
            batch: samples that it is laid out for.
            reason: why, for `reason`.

        Returns:
            The teacher itself.

        Raises:
            OptionError: for an unknown engine, or another than the teacher was built with.
        """
        known = [name for name in ENGINES if name != "auto"]
        if engine not in known:
            raise OptionError(f"A teacher cannot use engine={engine!r}.{nearest(str(engine), known)}")
        if self.engine not in ("auto", engine):
            raise OptionError(
                f"This teacher was built with engine='{self.engine}', so it cannot use '{engine}'. Build it with engine='auto'."
            )
        self._serving.take(engine, reason or f"{engine}: it was set.", batch)
        return self

    def run_by(self, engine: str) -> Self:
        """Ask for another engine, as if the teacher had been built with it.

        Args:
            engine: one of the engines.

        Returns:
            The teacher itself.

        Raises:
            OptionError: for an unknown engine.
        """
        if engine not in ENGINES:
            raise OptionError(f"There is no engine {engine!r}.{nearest(str(engine), ENGINES)}")
        self._serving = Serving(engine, None, None, None)
        return self

    def expect(self, calls: int) -> None:
        """Tell `auto` how many batches the teacher will be asked about, unless it was told when it was built.

        Args:
            calls: batches.
        """
        if self._serving.calls is None:
            self._serving.calls = calls

    def on_choice(self, listener: Callable[[Choice], None]) -> None:
        """Call a function when the engine is settled, at the first batch. Copies of the teacher do not take it along.

        Args:
            listener: takes the choice.
        """
        self._serving.listeners.append(listener)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move or convert the model; engines are built anew where it then is."""
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        first = next(self.model.parameters(), None)
        self._serving.moved(None if first is None else first.device.type)
        return moved


def as_teachers(models: Iterable[nn.Module]) -> nn.ModuleList:
    """Collect teachers in a list, freezing the plain networks among them.

    Args:
        models: teachers, or networks that become `Frozen`.

    Returns:
        The teachers.

    Raises:
        OptionError: if there are none.
    """
    members = [m if isinstance(m, Teacher) else Frozen(m) for m in models]
    if not members:
        raise OptionError("An ensemble of no teachers was asked for. Give at least one.")
    return nn.ModuleList(members)
