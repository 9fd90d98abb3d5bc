"""One picture to one uint8 array: orientation, colour, transparency, size."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.errors import optional

GREY = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L"})


def to_array(image: Any, *, grey: bool, size: tuple[int, int] | None) -> np.ndarray:
    """Turn a Pillow image into an array.

    The orientation that a camera noted is applied, transparent pixels become white, 16-bit grey is brought to 8 bits.

    Args:
        image: opened `PIL.Image.Image`.
        grey: one channel instead of three.
        size: (height, width) in pixels to scale to, the middle cut out where proportions differ; `None` keeps the image's own.

    Returns:
        uint8 `[C, H, W]`.
    """
    pil = optional("PIL.Image", "vision")
    operations = optional("PIL.ImageOps", "vision")
    if size is not None:
        image.draft(None, (2 * max(size), 2 * max(size)))  # large JPEG files decode at a fraction of their size
    image = operations.exif_transpose(image)
    if image.mode.startswith("I"):
        image = pil.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", image.size, (255, 255, 255, 255)), image)
    image = image.convert("L" if grey else "RGB")
    if size is not None and image.size != size[::-1]:
        image = operations.fit(image, size[::-1], pil.Resampling.BILINEAR)
    array = np.array(image)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))
