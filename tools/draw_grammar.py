"""Draws docs/pictures/grammar.svg: the six nouns and how a batch flows through them."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

BOXES = {
    "data": (0.0, 1.0, "batch", "#e8eaf6"),
    "view_t": (2.0, 1.8, "View\n(teacher's)", "#c5cae9"),
    "view_s": (2.0, 0.2, "View\n(student's)", "#c5cae9"),
    "teacher": (4.2, 1.8, "Teacher", "#ffe0b2"),
    "student": (4.2, 0.2, "student", "#e8eaf6"),
    "target": (6.2, 1.8, "Target", "#c8e6c9"),
    "selector": (8.2, 1.8, "Selector", "#f8bbd0"),
    "loss": (8.2, 0.2, "Loss", "#ffcdd2"),
}
ARROWS = [
    ("data", "view_t", ""),
    ("data", "view_s", ""),
    ("view_t", "teacher", ""),
    ("view_s", "student", ""),
    ("teacher", "target", ""),
    ("target", "selector", ""),
    ("target", "loss", ""),
    ("selector", "loss", "weights"),
    ("student", "loss", "logits, features"),
    ("student", "teacher", "update"),
]
WIDTH, HEIGHT = 1.45, 0.8


def main() -> None:
    matplotlib.rcParams |= {"svg.hashsalt": "tutelage", "font.family": "sans-serif"}
    figure, axes = plt.subplots(figsize=(10, 3.4))
    for x, y, text, colour in BOXES.values():
        axes.add_patch(FancyBboxPatch((x, y), WIDTH, HEIGHT, boxstyle="round,pad=0.02,rounding_size=0.12", fc=colour, ec="#37474f"))
        axes.text(
            x + WIDTH / 2, y + HEIGHT / 2, text, ha="center", va="center", fontsize=11, weight="bold" if text[0].isupper() else "normal"
        )
    for start, end, text in ARROWS:
        (x0, y0, *_), (x1, y1, *_) = BOXES[start], BOXES[end]
        a, b = (x0 + WIDTH / 2, y0 + HEIGHT / 2), (x1 + WIDTH / 2, y1 + HEIGHT / 2)
        if x1 > x0:
            a, b = (x0 + WIDTH, a[1]), (x1, b[1])
        else:
            up = y1 > y0
            a, b = (a[0], y0 + (HEIGHT if up else 0)), (b[0], y1 + (0 if up else HEIGHT))
        dashed = text == "update"
        axes.add_patch(
            FancyArrowPatch(a, b, arrowstyle="-|>", mutation_scale=14, color="#37474f", ls="--" if dashed else "-", shrinkA=3, shrinkB=3)
        )
        if text:
            x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
            upright = x1 == x0
            axes.text(
                x + (0.08 if upright else 0),
                y + (0 if upright else 0.08),
                text,
                fontsize=9,
                color="#546e7a",
                ha="left" if upright else "center",
            )
    axes.text(
        5.0,
        -0.45,
        "Schedule: how momentum, temperature, weights and curriculum change with progress",
        ha="center",
        fontsize=10,
        color="#37474f",
    )
    axes.set_xlim(-0.1, 9.8)
    axes.set_ylim(-0.6, 2.8)
    axes.axis("off")
    out = Path(__file__).parents[1] / "docs" / "pictures" / "grammar.svg"
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, bbox_inches="tight", facecolor="white", metadata={"Date": None})


main()
