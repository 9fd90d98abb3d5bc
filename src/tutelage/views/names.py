"""Views that a command line can name."""

from __future__ import annotations

from collections.abc import Callable

from tutelage.errors import OptionError, nearest
from tutelage.views.base import Compose, View
from tutelage.views.geometry import horizontal_flip, random_affine, random_crop
from tutelage.views.pixels import gaussian_noise, random_erasing

NAMES: dict[str, Callable[[], View | None]] = {
    "none": lambda: None,
    "crop": random_crop,
    "flip": horizontal_flip,
    "crop-flip": lambda: Compose([random_crop(), horizontal_flip()]),
    "crop-flip-erase": lambda: Compose([random_crop(), horizontal_flip(), random_erasing()]),
    "affine": lambda: random_affine(degrees=15.0, shift=0.1, scale=0.1),
    "noise": gaussian_noise,
}


def from_name(name: str) -> View | None:
    """Return a view of images by its name.

    Args:
        name: `none`, `crop` (by an eighth of the height), `flip`, `crop-flip`, `crop-flip-erase`, `affine` (rotations
            to 15 degrees, shifts and scalings to a tenth) or `noise` (standard deviation 0.1).

    Returns:
        The view, or `None` for `none`.

    Raises:
        OptionError: if there is none of that name; the nearest is offered.
    """
    if name not in NAMES:
        raise OptionError(f"There is no view '{name}'.{nearest(name, NAMES)}")
    return NAMES[name]()
