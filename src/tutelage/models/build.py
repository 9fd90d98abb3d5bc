"""One door for every kind of model: a specification becomes a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import nn

from tutelage.errors import OptionError, SpecError, nearest
from tutelage.models.adapted import Adapted
from tutelage.models.factories import from_python, reference
from tutelage.models.lite0 import IMAGENET_CLASSES, PRETRAINED
from tutelage.models.onnx_model import OnnxModel, image_options
from tutelage.models.sklearn_model import SklearnModel, from_skops
from tutelage.models.spec import ADAPTER, Spec, parse
from tutelage.models.timm_models import from_timm
from tutelage.models.transformers_models import from_hub
from tutelage.models.weights import load_weights

Role = Literal["student", "teacher"]

SCHEMES = ("tutelage", "timm", "hf", "python", "onnx", "sklearn")
"""Kinds of specification."""

WEIGHED = ("tutelage", "timm", "python")
"""Those that take `weights=FILE.safetensors`; the others come with their weights."""


def build(
    spec: Any, *, num_classes: int, input_shape: Sequence[int], role: Role = "student", classes: Sequence[str] | None = None
) -> nn.Module:
    """Turn a specification into a model that takes the data's inputs.

    A specification is one of

    - a module, returned as it is, or a fitted scikit-learn classifier (teacher only)
    - `tutelage:small-cnn`, `tutelage:cnn`, `tutelage:mlp`, `tutelage:resnet`, `tutelage:vit`; options are their arguments (`widths=8,16`)
    - `tutelage:efficientnet-lite0`: with its ImageNet weights, input size and normalisation; a new head unless 1,000 classes are asked for
    - `timm:NAME`; options `pretrained=true`, `num_classes=10` and what `timm.create_model` takes
    - `hf:NAME-OR-PATH`: an image or text classifier of transformers, from safetensors; options `num_classes`, `max_length`, `head`
    - `python:package.module:factory` or `python:path/to/file.py:factory`; options are its arguments, and `num_classes`, `input_shape` and
      `role` are given to it where it declares them
    - `onnx:FILE` (teacher only); option `output`
    - `sklearn:FILE.skops` (teacher only)

    followed by `?option=value&option=value`. All that are written take `size`, `mean`, `std`, `channels` and
    `class_order` (see `Adapted`), and the networks of `tutelage`, `timm` and `python` take `weights=FILE.safetensors`.

    Args:
        spec: the specification.
        num_classes: classes of the data.
        input_shape: shape of one input, `(C, H, W)` or `(D,)`; not used for texts.
        role: what the model will be. A student must be trainable.
        classes: names of the data's classes, for classifiers fitted on names.

    Returns:
        The model, with whatever adapts its inputs and classes around it. Whether it fits is `check_fits`' question.

    Raises:
        SpecError: for anything that names no usable model.
        OptionError: for an unknown role.
        MissingExtra: if the model's library is not installed.
    """
    if role not in get_args(Role):
        raise OptionError(f"role={role!r} is not an option.{nearest(str(role), get_args(Role))}")
    if isinstance(spec, nn.Module):
        return spec
    if isinstance(spec, str):
        return _from_text(parse(spec, SCHEMES), num_classes, tuple(input_shape), role, classes)
    if hasattr(spec, "predict_proba") or hasattr(spec, "decision_function"):
        _only_teaches(type(spec).__name__, role)
        return SklearnModel(spec, num_classes=num_classes, classes=classes)
    what = f"the class {spec.__name__}; give an instance" if isinstance(spec, type) else f"a {type(spec).__name__}"
    raise SpecError(f"A model is a torch.nn.Module, a fitted scikit-learn classifier or a specification (SCHEME:NAME), got {what}.")


def _from_text(spec: Spec, num_classes: int, input_shape: tuple[int, ...], role: Role, classes: Sequence[str] | None) -> nn.Module:
    adapter = {name: spec.numbers(name) for name in ADAPTER if name in spec.options}
    weights: str = "" if spec.scheme not in WEIGHED else spec.take("weights", "")
    if spec.scheme == "tutelage" and spec.name in PRETRAINED and "class_order" in adapter:
        num_classes = IMAGENET_CLASSES  # whose classes the order picks from
    model, stated = _load(spec, num_classes, _adapted_shape(input_shape, adapter), role, classes)
    if weights:
        load_weights(model, weights)
    options = {**stated, **adapter}
    return Adapted(model, **options) if options else model


def _load(
    spec: Spec, num_classes: int, input_shape: tuple[int, ...], role: Role, classes: Sequence[str] | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The bare model, and what it says itself about its inputs."""
    if spec.scheme == "tutelage":
        if spec.name in PRETRAINED:
            return PRETRAINED[spec.name](spec, num_classes, input_shape)
        outputs: int = spec.take("num_classes", num_classes)
        return reference(spec, outputs, input_shape), {}
    if spec.scheme == "timm":
        if len(input_shape) != 3:
            raise SpecError(f"'{spec.text}' takes images, but one input of the data has the shape {list(input_shape)}.")
        return from_timm(spec, num_classes, role)
    if spec.scheme == "hf":
        network, stated = from_hub(spec, num_classes, role)
        spec.finish([*ADAPTER, "num_classes", "max_length", "head"])
        return network, stated
    if spec.scheme == "python":
        made = from_python(spec, {"num_classes": num_classes, "input_shape": input_shape, "role": role})
        if not isinstance(made, nn.Module) and not hasattr(made, "predict_proba"):
            raise SpecError(f"'{spec.text}' gave a {type(made).__name__}; expected a torch.nn.Module or a fitted scikit-learn classifier.")
        return build(made, num_classes=num_classes, input_shape=input_shape, role=role, classes=classes), {}
    _only_teaches(spec.text, role)
    if spec.scheme == "onnx":
        network = OnnxModel(spec.name, output=spec.take("output", "") or None)
        spec.finish([*ADAPTER, "output"])
        return network, image_options(network)
    spec.finish(ADAPTER)
    return SklearnModel(from_skops(spec.name), num_classes=num_classes, classes=classes), {}


def _only_teaches(what: str, role: Role) -> None:
    if role == "student":
        raise SpecError(f"{what} cannot be trained by gradient steps, so it can be a teacher but not a student.")


def _adapted_shape(input_shape: tuple[int, ...], adapter: dict[str, Any]) -> tuple[int, ...]:
    """The shape of one input behind the stated adapter."""
    if len(input_shape) != 3:
        return input_shape
    size = adapter.get("size", input_shape[1:])
    height, width = size if isinstance(size, tuple) else (size, size)
    return (adapter.get("channels", input_shape[0]), height, width)
