"""A hook on the named layers of any network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from tutelage.errors import OptionError, nearest


@contextmanager
def tap(model: nn.Module, *layers: str) -> Iterator[dict[str, Any]]:
    """Collect what named layers put out while the block runs.

    The outputs themselves are collected, not copies, so gradients flow through them; a layer that runs several times leaves
    its last output. The hooks are gone when the block ends, with or without an exception.

        with tap(student, "stages.1") as features:
            logits = student(images)
        features["stages.1"]  # [N, C, H, W]

    Args:
        model: any network.
        *layers: names as in `model.named_modules()`.

    Yields:
        A dictionary from layer name to output, filled as the layers run.

    Raises:
        OptionError: if there is no layer of such a name.
    """
    modules = dict(model.named_modules())
    unknown = [name for name in layers if not name or name not in modules]
    if unknown:
        raise OptionError(f"{type(model).__name__} has no layer '{unknown[0]}'.{nearest(unknown[0], [n for n in modules if n])}")
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs[name] = output

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
