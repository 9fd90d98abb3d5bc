"""The project's own networks, and networks from the user's Python, by specification."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from tutelage.errors import SpecError, TutelageError, nearest
from tutelage.models.convnet import ConvNet, small_cnn
from tutelage.models.lite0 import PRETRAINED
from tutelage.models.mlp import MLP
from tutelage.models.resnet import ResNet
from tutelage.models.spec import Spec, guess
from tutelage.models.timesformer import timesformer
from tutelage.models.video import VideoCNN
from tutelage.models.vit import ViT
from tutelage.models.word_bag import WordBag

OF_CLIPS: dict[str, Callable[..., nn.Module]] = {"video-cnn": VideoCNN, "timesformer": timesformer}
"""Those of them that take clips."""

OF_TEXTS: dict[str, Callable[..., nn.Module]] = {"word-bag": WordBag}
"""Those that take lists of texts."""

REFERENCE: dict[str, Callable[..., nn.Module]] = {
    "small-cnn": small_cnn,
    "cnn": ConvNet,
    "mlp": MLP,
    "resnet": ResNet,
    "vit": ViT,
    **OF_CLIPS,
    **OF_TEXTS,
}
"""The networks of `tutelage:NAME`."""


def reference(spec: Spec, num_classes: int, input_shape: Sequence[int]) -> nn.Module:
    """Build one of the project's own networks.

    Args:
        spec: `tutelage:NAME`, with the network's arguments as options.
        num_classes: outputs.
        input_shape: shape of one input.

    Returns:
        The network, with random weights.

    Raises:
        SpecError: for an unknown name or option, or inputs that the network does not take.
    """
    if spec.name not in REFERENCE:
        raise SpecError(f"'{spec.text}': there is no network 'tutelage:{spec.name}'.{nearest(spec.name, [*REFERENCE, *PRETRAINED])}")
    factory = REFERENCE[spec.name]
    parameters = inspect.signature(factory).parameters
    own = {n: p.default for n, p in parameters.items() if n not in {"num_classes", "input_shape", "in_channels", "words"}}
    options = {name: spec.take(name, default) for name, default in own.items() if name in spec.options}
    spec.finish(own)
    if spec.name in OF_CLIPS and len(input_shape) != 4:
        raise SpecError(f"'{spec.text}' takes clips [T, C, H, W], but one input of the data has the shape {list(input_shape)}.")
    if spec.name in OF_TEXTS and input_shape:
        raise SpecError(f"'{spec.text}' takes texts, but one input of the data has the shape {list(input_shape)}.")
    if spec.name not in OF_TEXTS and not input_shape:
        raise SpecError(
            f"'{spec.text}' takes no texts, but the data's inputs are texts. Use tutelage:{', tutelage:'.join(OF_TEXTS)} or hf:NAME."
        )
    if spec.name != "mlp" and spec.name not in OF_CLIPS and spec.name not in OF_TEXTS:
        if len(input_shape) != 3:
            raise SpecError(f"'{spec.text}' takes images, but one input of the data has the shape {list(input_shape)}. Use tutelage:mlp.")
        stages = len(options.get("widths", parameters["widths"].default)) if spec.name in {"small-cnn", "cnn"} else 1
        if min(input_shape[1:]) < 2 ** (stages - 1):
            raise SpecError(
                f"'{spec.text}' halves its images {stages - 1} times, which {input_shape[1]}x{input_shape[2]} pixels do not allow."
            )
    shape: dict[str, Any] = {}
    if input_shape:
        shape = {"input_shape": tuple(input_shape)} if "input_shape" in parameters else {"in_channels": input_shape[0]}
    try:
        return factory(num_classes=num_classes, **shape, **options)
    except (TutelageError, TypeError, ValueError) as error:
        raise SpecError(f"'{spec.text}': {error}") from error


def from_python(spec: Spec, context: dict[str, Any]) -> Any:
    """Call a factory of the user's.

    Args:
        spec: `python:package.module:factory` or `python:path/to/file.py:factory`, with the factory's arguments as options.
        context: values offered to the factory under the names it declares (`num_classes`, `input_shape`, `role`); options come first.

    Returns:
        What the factory returned, or the module itself if the name is one.

    Raises:
        SpecError: if it does not import, does not exist, or raises.
    """
    place, colon, name = spec.name.rpartition(":")
    if not colon or not place or not name:
        raise SpecError(f"'{spec.text}' should be python:package.module:factory or python:path/to/file.py:factory.")
    module = _import_file(spec, Path(place)) if place.endswith(".py") else _import_module(spec, place)
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            public = [n for n in vars(target) if not n.startswith("_")] if hasattr(target, "__dict__") else []
            raise SpecError(f"'{spec.text}': '{place}' has no '{part}'.{nearest(part, public)}")
        target = getattr(target, part)
    if isinstance(target, nn.Module) or not callable(target):
        spec.finish([])
        return target
    parameters = inspect.signature(target).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    arguments = {n: v for n, v in context.items() if anything or n in parameters}
    if not anything:
        unknown = [n for n in spec.options if n not in parameters]
        if unknown:
            raise SpecError(f"'{spec.text}': {name} has no argument '{unknown[0]}'.{nearest(unknown[0], parameters)}")
    arguments.update({n: guess(spec.options.pop(n)) for n in list(spec.options)})
    try:
        return target(**arguments)
    except Exception as error:
        raise SpecError(f"'{spec.text}': calling {name}({', '.join(arguments)}) raised {type(error).__name__}: {error}") from error


def _import_module(spec: Spec, place: str) -> ModuleType:
    """Import by dotted name; the working directory counts, as it does for `python -m`."""
    added = os.getcwd() not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(place)
    except Exception as error:
        raise SpecError(f"'{spec.text}': importing {place} raised {type(error).__name__}: {error}") from error
    finally:
        if added:
            sys.path.remove(os.getcwd())


def _import_file(spec: Spec, path: Path) -> ModuleType:
    if not path.is_file():
        raise SpecError(f"'{spec.text}': file '{path}' does not exist.")
    unique = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(unique, path)
    if found is None or found.loader is None:
        raise SpecError(f"'{spec.text}': '{path}' is not a Python file.")
    module = importlib.util.module_from_spec(found)
    sys.modules[unique] = module  # dataclasses look their module up there
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[unique]
        raise SpecError(f"'{spec.text}': importing {path} raised {type(error).__name__}: {error}") from error
    return module
