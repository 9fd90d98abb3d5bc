from __future__ import annotations

import pytest
import torch

from tutelage.errors import OptionError
from tutelage.report import figures


def test_a_filmstrip_shows_every_frame_of_every_clip_in_order():
    pytest.importorskip("matplotlib")
    clip = torch.linspace(0, 1, 4)[:, None, None, None].expand(4, 3, 5, 6)
    figure = figures.filmstrip({"long": clip, "grey": clip[:2, :1]})
    shown = [axes.images[0].get_array().mean() for axes in figure.axes]
    assert shown == pytest.approx([0, 1 / 3, 2 / 3, 1, 0, 1 / 3])
    assert figure.axes[0].get_title(loc="left") == "long"
    with pytest.raises(OptionError, match="expected frames"):
        figures.filmstrip({"flat": torch.zeros(4, 5, 6)})
