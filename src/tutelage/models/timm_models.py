"""Image networks of timm, by specification."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from tutelage.errors import SpecError, nearest, optional
from tutelage.models.spec import Spec, guess


def from_timm(spec: Spec, num_classes: int, role: str) -> tuple[nn.Module, dict[str, Any]]:
    """Build a timm network.

    A pretrained teacher keeps its own classes unless `num_classes` is stated; every other network gets the data's.

    Args:
        spec: `timm:NAME`, with `pretrained`, `num_classes` and any argument of `timm.create_model` as options.
        num_classes: classes of the data.
        role: `"student"` or `"teacher"`.

    Returns:
        The network, and the options of `Adapted` that its configuration states: channels, normalisation, and the size where it is
        fixed or was trained for one.

    Raises:
        SpecError: for an unknown name or option, or weights that cannot be fetched.
    """
    timm = optional("timm", "vision")
    if not timm.is_model(spec.name):
        raise SpecError(f"'{spec.text}': timm has no model '{spec.name}'.{_closest(spec.name, timm.list_models())}")
    pretrained: bool = spec.take("pretrained", False)
    classes: int | None = spec.take("num_classes", 0) or None
    if classes is None and not (pretrained and role == "teacher"):
        classes = num_classes
    arguments = {name: guess(spec.options.pop(name)) for name in list(spec.options)}
    if classes is not None:
        arguments["num_classes"] = classes
    try:
        network: nn.Module = timm.create_model(spec.name, pretrained=pretrained, **arguments)
    except TypeError as error:
        known = [*inspect.signature(timm.create_model).parameters, "in_chans", "img_size", "drop_path_rate"]
        wrong = next((n for n in arguments if f"'{n}'" in str(error)), None)
        hint = nearest(wrong, known) if wrong else ""
        raise SpecError(f"'{spec.text}': timm does not take these options ({error}).{hint}") from error
    except Exception as error:
        cure = " Without a network, give weights=FILE.safetensors in place of pretrained=true." if pretrained else ""
        raise SpecError(f"'{spec.text}': timm could not build it ({type(error).__name__}: {error}).{cure}") from error
    return network, _stated(network, pretrained, arguments)


def _stated(network: nn.Module, pretrained: bool, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the network's configuration says about its inputs."""
    config: dict[str, Any] = dict(getattr(network, "pretrained_cfg", None) or {})
    channels, *sides = config.get("input_size", (3, 224, 224))
    channels = arguments.get("in_chans", channels)
    stated: dict[str, Any] = {"channels": channels}
    if "img_size" in arguments:
        stated["size"] = arguments["img_size"]
    elif pretrained or config.get("fixed_input_size", False):
        stated["size"] = tuple(sides)
    for name in ("mean", "std"):
        values = config.get(name)
        if values is not None:
            stated[name] = tuple(values) if len(values) == channels else sum(values) / len(values)
    return stated


def _closest(name: str, known: list[str]) -> str:
    """The nearest of 1,300 names, never all of them."""
    hint = nearest(name, known)
    return hint if "Did you mean" in hint else " timm.list_models() lists them."
