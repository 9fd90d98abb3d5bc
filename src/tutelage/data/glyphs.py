"""Printed characters drawn from fonts: clean pictures of a class, of which no photograph or handwriting was seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tutelage.errors import DataError, OptionError, optional

FONTS = (
    *(f"DejaVuSans{kind}.ttf" for kind in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{kind}.ttf" for kind in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{kind}.ttf" for kind in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{kind}.ttf" for kind in ("", "Bol", "Italic", "BolIta")),
    *(f"{name}10.ttf" for name in ("cmr", "cmb", "cmss", "cmtt")),
)
"""Fonts that come with matplotlib: twenty faces of sans, serif and typewriter families."""


def font_files() -> list[Path]:
    """Return the paths of `FONTS`.

    Raises:
        MissingExtra: if matplotlib, which brings them, is not installed.
        DataError: if this version of it has none of them.
    """
    folder = Path(optional("matplotlib", "report").get_data_path()) / "fonts" / "ttf"
    found = [folder / name for name in FONTS if (folder / name).is_file()]
    if not found:
        raise DataError(f"'{folder}' holds none of the fonts {', '.join(FONTS[:3])}, ...: give paths of fonts of your own.")
    return found


def glyphs(texts: Sequence[str], *, size: int = 28, margin: float = 0.15, fonts: Sequence[str | Path] | None = None) -> np.ndarray:
    """Draw texts in several fonts, white on black, each as high or wide as its frame and centred.

    Args:
        texts: what to draw, usually one character each.
        size: side of the square pictures, in pixels.
        margin: empty share of the side on each side of the text, in [0, 0.5).
        fonts: paths of TrueType fonts; those of matplotlib by default.

    Returns:
        uint8 `[F, T, 1, size, size]`, a row per font and a picture per text.

    Raises:
        OptionError: for no text, or a size or margin out of range.
        DataError: if a font cannot be read, or draws nothing for a text.
        MissingExtra: if Pillow or matplotlib is not installed.
    """
    if not texts or size < 4 or not 0 <= margin < 0.5:
        raise OptionError(
            f"Glyphs take at least one text, a size of at least 4 and a margin in [0, 0.5): got {len(texts)}, {size}, {margin}."
        )
    paths = [Path(font) for font in fonts] if fonts is not None else font_files()
    return np.stack([np.stack([_draw(path, text, size, margin) for text in texts]) for path in paths])


def _draw(path: Path, text: str, size: int, margin: float) -> np.ndarray:
    pil, draw, font = (optional(f"PIL.{name}", "vision") for name in ("Image", "ImageDraw", "ImageFont"))
    large = 8 * size  # drawn large and scaled down, so that strokes are smooth
    try:
        face = font.truetype(str(path), large)
    except OSError as error:
        raise DataError(f"The font '{path}' cannot be read ({error}).") from error
    left, top, right, bottom = face.getbbox(text)
    canvas = pil.new("L", (max(right - left, 1), max(bottom - top, 1)))
    draw.Draw(canvas).text((-left, -top), text, font=face, fill=255)
    box = canvas.getbbox()
    if box is None:
        raise DataError(f"The font '{path}' draws nothing for {text!r}.")
    canvas = canvas.crop(box)
    inner = size * (1 - 2 * margin)
    scale = inner / max(canvas.size)
    canvas = canvas.resize((max(1, round(canvas.width * scale)), max(1, round(canvas.height * scale))), pil.Resampling.BOX)
    picture = pil.new("L", (size, size))
    picture.paste(canvas, ((size - canvas.width) // 2, (size - canvas.height) // 2))
    return np.asarray(picture, np.uint8)[None].copy()
