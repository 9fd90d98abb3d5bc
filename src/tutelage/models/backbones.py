"""Networks without their last layer, for learning features; written to a file that timm and plain PyTorch load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import files
from tutelage.errors import SpecError
from tutelage.models.adapted import Adapted
from tutelage.models.build import build
from tutelage.models.spec import ADAPTER, parse
from tutelage.models.weights import load_weights

BACKBONES = ("tutelage", "timm", "python")
"""Kinds of specification that can be had without a head."""


class Flat(nn.Module):
    """A network whose answer is flattened to one vector per sample.

    Args:
        model: answers `[N, ...]`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Tensor:
        """Return features `[N, D]`."""
        return features_of(self.model(inputs))


def features_of(answer: Any) -> Tensor:
    """Return an answer as one vector per sample."""
    if not isinstance(answer, Tensor) or answer.ndim < 2:
        got = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise SpecError(f"A backbone answers features [N, ...] in one tensor; this one answers {got}.")
    return answer.flatten(1)


def backbone(spec: Any, input_shape: Sequence[int]) -> tuple[nn.Module, int]:
    """Turn a specification into a network that ends in features.

    Args:
        spec: `tutelage:NAME` (its last linear layer is left out), `timm:NAME` (`num_classes=0`), `python:module:factory` (called with
            `num_classes=0` where it declares that; what it answers are the features), each with options as for `build`, also
            `weights=FILE.safetensors` of a network without a head; or a module that answers features.
        input_shape: shape of one input, `(C, H, W)` or `(D,)`.

    Returns:
        The network, whose answers are `[N, D]`, and D.

    Raises:
        SpecError: for anything that gives no features of such inputs.
    """
    if isinstance(spec, nn.Module):
        network = spec
    elif isinstance(spec, str):
        network = _from_text(spec, tuple(input_shape))
    else:
        raise SpecError(f"A backbone is a torch.nn.Module or a specification ({', '.join(s + ':NAME' for s in BACKBONES)}), got {spec!r}.")
    answer = _tried(network, tuple(input_shape))
    if answer.ndim != 2:
        network = Flat(network)
    return network, answer.flatten(1).shape[1]


def _from_text(text: str, input_shape: tuple[int, ...]) -> nn.Module:
    parsed = parse(text, (*BACKBONES, "hf", "onnx", "sklearn"))
    if parsed.scheme not in BACKBONES:
        raise SpecError(f"'{text}' cannot be had without its head: backbones are {', '.join(s + ':NAME' for s in BACKBONES)}.")
    weights = parsed.options.pop("weights", None)
    rest = _written(parsed.scheme, parsed.name, parsed.options)
    if parsed.scheme == "tutelage":
        network = build(rest, num_classes=2, input_shape=input_shape)
        bare(network).head = nn.Identity()
    else:
        network = build(rest, num_classes=0, input_shape=input_shape)
    if weights is not None:
        load_weights(bare(network), weights)
    return network


def _written(scheme: str, name: str, options: dict[str, str]) -> str:
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return f"{scheme}:{name}?{query}" if query else f"{scheme}:{name}"


def bare(network: nn.Module) -> nn.Module:
    """Return the network itself, without what flattens its answers and adapts its inputs."""
    while isinstance(network, Flat | Adapted):
        network = network.model
    return network


def _tried(network: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    place = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            answer = network(torch.zeros(2, *input_shape, device=place))
    except Exception as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise SpecError(
            f"The backbone ({type(bare(network)).__name__}) cannot run on inputs [2, {', '.join(map(str, input_shape))}]: "
            f"{type(error).__name__}: {first} State how inputs become what it takes: size=, channels=, mean= and std= in its specification."
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    features_of(answer)
    return answer  # type: ignore[no-any-return]


def save_backbone(directory: Path, network: nn.Module, spec: Any, *, input_shape: Sequence[int], width: int) -> Path:
    """Write a backbone: `backbone.safetensors`, the network's own state dictionary, and `backbone.json`, what it is.

    The names in the file are those of the network that the specification names, so that
    `timm.create_model(NAME, num_classes=0, checkpoint_path="backbone.safetensors")` and `load_state_dict` take it.

    Args:
        directory: where to.
        network: what `backbone` returned, trained.
        spec: the specification it came from; a live module is noted as such.
        input_shape: shape of one input.
        width: number of its features.

    Returns:
        The weights' path.
    """
    from safetensors.torch import save_file

    path = directory / "backbone.safetensors"
    state = {name: value.detach().cpu().contiguous().clone() for name, value in bare(network).state_dict().items()}
    with files.replacing(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    origin = spec if isinstance(spec, str) else None
    about: dict[str, Any] = {
        "spec": origin,
        "model": type(bare(network)).__name__,
        "features": width,
        "input_shape": list(input_shape),
        "input": _adaptation(network),
        "weights": files.sha256(path),
    }
    if origin is not None and origin.startswith("timm:"):
        name, _, query = origin.removeprefix("timm:").partition("?")
        options = "".join(f", {key}={value!r}" for key, value in _options(query).items() if key not in {"pretrained", "weights", *ADAPTER})
        about["load"] = f"timm.create_model('{name}', num_classes=0{options}, checkpoint_path='backbone.safetensors')"
    else:
        about["load"] = "network.load_state_dict(safetensors.torch.load_file('backbone.safetensors'), strict=False)  # all but the head"
    files.write_json(directory / "backbone.json", about)
    return path


def _options(query: str) -> dict[str, Any]:
    from tutelage.models.spec import guess

    return {key: guess(value) for key, _, value in (part.partition("=") for part in query.split("&") if part)}


def _adaptation(network: nn.Module) -> dict[str, Any]:
    """What is done to images [N, C, H, W] in [0, 1] before the network sees them."""
    while isinstance(network, Flat):
        network = network.model
    if not isinstance(network, Adapted):
        return {}
    stated = {
        "size": list(network.size) if network.size else None,
        "channels": network.channels,
        "mean": None if network.mean is None else network.mean.tolist(),
        "std": None if network.std is None else network.std.tolist(),
    }
    return {name: value for name, value in stated.items() if value is not None}


def load_backbone(directory: str | Path) -> tuple[nn.Module, int]:
    """Build a backbone that `save_backbone` wrote, with its weights, in eval mode.

    Args:
        directory: folder that holds `backbone.json` and `backbone.safetensors`.

    Returns:
        The network with what adapts its inputs, and the number of its features.

    Raises:
        SpecError: if there is none, or it was a live module.
    """
    folder = Path(directory)
    try:
        about = json.loads((folder / "backbone.json").read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"'{folder}' holds no backbone: backbone.json cannot be read ({error}).") from error
    weights = folder / "backbone.safetensors"
    if about["spec"] is None:
        raise SpecError(f"The backbone of '{folder}' was a live {about['model']}: build it yourself and load '{weights}'.")
    name, _, query = about["spec"].partition("?")
    kept = "&".join(part for part in query.split("&") if part and not part.startswith(("pretrained=", "weights=")))
    # What pretrained weights state about inputs is written down; without it a network built anew would state something else.
    adapter = {k: v for k, v in about["input"].items() if not any(part.startswith(f"{k}=") for part in kept.split("&"))}
    stated = "&".join(f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}" for k, v in adapter.items())
    query = "&".join(part for part in (kept, stated) if part)
    network, width = backbone(f"{name}?{query}" if query else name, about["input_shape"])
    load_weights(bare(network), weights)
    return network.eval(), width
