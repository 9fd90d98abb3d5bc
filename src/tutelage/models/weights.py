"""Loading weights from a safetensors file, checked by name and shape."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tutelage.errors import SpecError
from tutelage.models.spec import PICKLES, refuse_pickle


def load_weights(model: nn.Module, file: str | Path) -> nn.Module:
    """Load a state dictionary into a model.

    Args:
        model: the network that the weights belong to.
        file: a `.safetensors` file with exactly the model's names and shapes.

    Returns:
        The model.

    Raises:
        SpecError: if the file is missing, damaged, no safetensors file, or holds other names or shapes.
    """
    path = Path(file)
    if path.suffix.lower() in PICKLES:
        refuse_pickle(str(path))
    if path.suffix.lower() != ".safetensors":
        raise SpecError(f"Weights file '{path}' should be a .safetensors file.")
    if not path.is_file():
        raise SpecError(f"Weights file '{path}' does not exist.")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise SpecError(f"Weights file '{path}' cannot be read; it is truncated or no safetensors file ({error}).") from error
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    missing, foreign = own.keys() - weights.keys(), weights.keys() - own.keys()
    if missing or foreign:
        raise SpecError(
            f"Weights file '{path}' is not for this {type(model).__name__}: {_some('missing', missing)}; {_some('unknown', foreign)}. "
            "Give the architecture and options that it was trained with."
        )
    for name, value in own.items():
        if value.shape != weights[name].shape:
            raise SpecError(
                f"Weights file '{path}': '{name}' is {list(weights[name].shape)} but this {type(model).__name__} has {list(value.shape)}. "
                "Give the architecture and options (widths, num_classes, ...) that it was trained with."
            )
    model.load_state_dict(weights)
    return model


def _some(word: str, names: Iterable[str]) -> str:
    listed = sorted(names)
    return f"{len(listed)} {word}" + (f" ({', '.join(listed[:3])}{', ...' if len(listed) > 3 else ''})" if listed else "")
