from __future__ import annotations

import numpy as np
import pytest

from tutelage.data.glyphs import font_files, glyphs
from tutelage.errors import DataError, OptionError


def test_every_font_draws_every_digit_centred_and_in_its_frame():
    drawn = glyphs("0123456789", size=20, margin=0.1)
    assert drawn.shape == (len(font_files()), 10, 1, 20, 20)
    assert drawn.dtype == np.uint8
    assert (drawn.max((2, 3, 4)) > 150).all()
    assert drawn[..., :2, :].max() == 0
    assert drawn[..., -2:].max() == 0
    for side in (3, 4):
        drawn_at = drawn.max(side)[:, :, 0] > 0  # the frame of each glyph along one axis
        first, last = drawn_at.argmax(-1), 19 - drawn_at[..., ::-1].argmax(-1)
        assert abs((first + last) / 2 - 9.5).max() <= 1


def test_fonts_and_characters_differ():
    drawn = glyphs("17", size=16)
    flat = drawn.reshape(len(drawn), 2, -1).astype(float)
    assert abs(flat[:, 0] - flat[:, 1]).mean() > 10
    assert len({row.tobytes() for row in drawn[:, 1]}) > 10


def test_what_cannot_be_drawn_is_named(tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    with pytest.raises(DataError, match=r"bad\.ttf"):
        glyphs("1", fonts=[tmp_path / "bad.ttf"])
    with pytest.raises(DataError, match="draws nothing"):
        glyphs(" ", fonts=font_files()[:1])
    with pytest.raises(OptionError, match="at least one text"):
        glyphs("")
