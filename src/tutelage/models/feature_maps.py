"""Which layers of a network put out feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError


def feature_maps(network: nn.Module, input_shape: Sequence[int]) -> dict[str, tuple[int, int, int]]:
    """Find the layers whose output is one feature map per image, by running the network once on two blank images.

    Args:
        network: any network of images; its mode and its statistics stay as they are.
        input_shape: `(C, H, W)` of one image.

    Returns:
        Layer name, as in `named_modules`, to `(channels, height, width)`, in the order in which layers end: a block after its layers.
    """
    found: dict[str, tuple[int, int, int]] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and len(output) == 2:
                found.pop(name, None)
                found[name] = (output.shape[1], output.shape[2], output.shape[3])

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name]
    modes = [(module, module.training) for module in network.modules()]
    place = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        network.eval()
        with torch.no_grad():
            network(torch.zeros(2, *input_shape, device=place))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return found


def last_levels(network: nn.Module, input_shape: Sequence[int], count: int = 2, *, least: int = 1) -> dict[str, int]:
    """Return the last layers of the last levels of a network: a level is what has the same height and width.

    Args:
        network: any network of images.
        input_shape: `(C, H, W)` of one image.
        count: levels at most. Default 2.
        least: least height and width of a map that counts. Default 1.

    Returns:
        Layer name to channels, the deepest last.

    Raises:
        OptionError: if there is none.
    """
    sizes: dict[tuple[int, int], tuple[str, int]] = {}
    for name, (channels, height, width) in feature_maps(network, input_shape).items():
        if min(height, width) >= least:
            sizes.pop((height, width), None)
            sizes[height, width] = (name, channels)
    if not sizes or count < 1:
        raise OptionError(
            f"{type(network).__name__} has no layer that answers images {list(input_shape)} with maps of at least {least}x{least} cells. "
            "Use larger images, or a network that shrinks them less."
        )
    return dict(list(sizes.values())[-count:])
