"""Figures of a report, drawn with matplotlib: its extra is `report`.

Every function returns a `matplotlib.figure.Figure` of its own; nothing touches matplotlib's global state or needs a display.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import OptionError, optional
from tutelage.files import replacing

if TYPE_CHECKING:
    from tutelage.report.report import Report

PALETTE = ("#3b82c4", "#e07b39", "#2f9e6e", "#c2569b", "#b5a022", "#7a6fd0", "#5aa9c9", "#d0504f")
_STYLES = ("-", "--", "-.", ":")
_MARKERS = "osD^vP*X"
_INK = "#0a0b0c"
_GRID = "#8a8f98"


def _axes(width: float, height: float) -> tuple[Any, Any]:
    figure = optional("matplotlib.figure", "report").Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.grid(True, color=_GRID, alpha=0.25, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _label(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, fontsize=11, color=_INK)
    axes.set_xlabel(x_label, fontsize=9, color=_INK)
    axes.set_ylabel(y_label, fontsize=9, color=_INK)


def curves(x: Sequence[float], y: Mapping[str, Sequence[float]], *, title: str = "", x_label: str = "epoch", y_label: str = "") -> Any:
    """Draw one line per arm.

    Args:
        x: positions on the shared axis.
        y: for each arm one number per position.
        title: heading.
        x_label: name and unit of the axis.
        y_label: name and unit of the values.
    """
    figure, axes = _axes(6.4, 3.6)
    for number, (arm, line) in enumerate(y.items()):
        style = _STYLES[number // len(PALETTE) % len(_STYLES)]
        marker = _MARKERS[number % len(_MARKERS)] if len(x) <= 12 else None
        axes.plot(x, line, style, color=PALETTE[number % len(PALETTE)], marker=marker, markersize=4, linewidth=1.8, label=arm)
    _label(axes, title, x_label, y_label)
    if y:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    return figure


def reliability_diagram(bins: Mapping[str, Sequence[float]], *, title: str = "") -> Any:
    """Draw accuracy against confidence, with the share of samples in each bin: on the diagonal, confidence is what comes true.

    Args:
        bins: what `evaluate.reliability` returns.
        title: heading, usually the arm.
    """
    figure, axes = _axes(3.6, 3.6)
    filled = [i for i, count in enumerate(bins["count"]) if count > 0]
    total = sum(bins["count"]) or 1.0
    width = [bins["upper"][i] - bins["lower"][i] for i in filled]
    middle = [(bins["upper"][i] + bins["lower"][i]) / 2 for i in filled]
    axes.bar(middle, [bins["count"][i] / total for i in filled], width, color=_GRID, alpha=0.45, label="share of samples")
    axes.plot([0, 1], [0, 1], color=_GRID, linewidth=1, linestyle="--", label="calibrated")
    points = sorted((bins["confidence"][i], bins["accuracy"][i]) for i in filled)
    axes.plot([p[0] for p in points], [p[1] for p in points], color=PALETTE[0], marker="o", markersize=4, linewidth=1.8, label="measured")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _label(axes, title, "confidence", "accuracy")
    axes.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="upper left")
    return figure


def scatter(
    points: Mapping[str, Sequence[tuple[float, float]]], *, title: str = "", x_label: str = "", y_label: str = "accuracy (%)"
) -> Any:
    """Draw one cloud per arm: accuracy against what it costs, on a logarithmic axis where costs span more than a factor of ten.

    Args:
        points: for each arm its `(cost, accuracy)` pairs.
        title: heading.
        x_label: name and unit of the cost.
        y_label: name and unit of the other axis.
    """
    figure, axes = _axes(6.4, 3.6)
    for number, (arm, pairs) in enumerate(points.items()):
        colour, marker = PALETTE[number % len(PALETTE)], _MARKERS[number % len(_MARKERS)]
        axes.scatter([p[0] for p in pairs], [p[1] for p in pairs], s=42, color=colour, marker=marker, alpha=0.85, label=arm)
    costs = [p[0] for pairs in points.values() for p in pairs]
    if costs and min(costs) > 0 and max(costs) / min(costs) > 10:
        axes.set_xscale("log")
    _label(axes, title, x_label, y_label)
    if points:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    return figure


def disagreements(
    images: Any, labels: Any, student_logits: Any, teacher_logits: Any, *, classes: Sequence[str] | None = None, limit: int = 16
) -> Any:
    """Draw the inputs on which student and teacher disagree, most confident disagreements first.

    Args:
        images: tensor or array `[N, C, H, W]` in [0, 1], C of 1 or 3.
        labels: true classes `[N]`.
        student_logits: `[N, classes]`.
        teacher_logits: `[N, classes]`.
        classes: names of the classes; their numbers by default.
        limit: most pictures to draw.

    Returns:
        The figure; it says so where there is no disagreement.

    Raises:
        OptionError: if the lengths or the images' shape do not fit.
    """
    import numpy as np

    pixels, truth, ours, theirs = (
        np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for v in (images, labels, student_logits, teacher_logits)
    )
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or not len(pixels) == len(truth) == len(ours) == len(theirs):
        shapes = f"images {pixels.shape}, labels {truth.shape}, student {ours.shape}, teacher {theirs.shape}"
        raise OptionError(f"disagreements: got {shapes}; expected images [N, 1 or 3, H, W] and N labels and rows of logits.")
    said, taught = ours.argmax(1), theirs.argmax(1)
    shifted = ours - ours.max(1, keepdims=True)
    confidence = 1.0 / np.exp(shifted).sum(1)
    differ = np.flatnonzero(said != taught)
    chosen = differ[np.argsort(-confidence[differ], kind="stable")][:limit]
    name = [str(i) for i in range(ours.shape[1])] if classes is None else [str(c) for c in classes]

    figure_class = optional("matplotlib.figure", "report").Figure
    columns = min(8, max(1, len(chosen)))
    rows = max(1, math.ceil(len(chosen) / columns))
    figure = figure_class(figsize=(max(4.0, 1.35 * columns), 1.75 * rows), layout="constrained", facecolor="white")
    if not len(chosen):
        figure.text(0.5, 0.5, f"Student and teacher agree on all {len(truth)} inputs.", ha="center", va="center")
        return figure
    for place, index in enumerate(chosen, 1):
        axes = figure.add_subplot(rows, columns, place)
        picture = pixels[index].transpose(1, 2, 0).clip(0, 1)
        axes.imshow(picture[..., 0] if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
        marks = ["✓" if answer == truth[index] else "✗" for answer in (said[index], taught[index])]
        text = f"true {name[truth[index]]}\nstudent {name[said[index]]} {marks[0]}\nteacher {name[taught[index]]} {marks[1]}"
        axes.set_title(text, fontsize=7.5, color=_INK, pad=3)
    return figure


def filmstrip(rows: Mapping[str, Any]) -> Any:
    """Draw clips as rows of their frames, in the order of time.

    Args:
        rows: for each name a tensor or array `[T, C, H, W]` in [0, 1], C of 1 or 3; lengths may differ.

    Returns:
        The figure.

    Raises:
        OptionError: if a clip has another shape.
    """
    import numpy as np

    clips = {name: np.asarray(clip.detach().cpu() if hasattr(clip, "detach") else clip) for name, clip in rows.items()}
    for name, clip in clips.items():
        if clip.ndim != 4 or clip.shape[1] not in (1, 3):
            raise OptionError(f"filmstrip: '{name}' has the shape {clip.shape}; expected frames [T, 1 or 3, H, W].")
    columns = max((len(clip) for clip in clips.values()), default=1)
    size = (1.1 * columns + 0.4, 1.3 * max(len(clips), 1))
    figure = optional("matplotlib.figure", "report").Figure(figsize=size, layout="constrained", facecolor="white")
    for number, (name, clip) in enumerate(clips.items()):
        for place, frame in enumerate(clip):
            axes = figure.add_subplot(len(clips), columns, number * columns + place + 1)
            picture = frame.transpose(1, 2, 0).clip(0, 1)
            axes.imshow(picture[..., 0] if len(frame) == 1 else picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
            if place == 0:
                axes.set_title(name, fontsize=7.5, color=_INK, pad=3, loc="left")
    return figure


def svg(figure: Any, identity: str) -> str:
    """Return a figure as an SVG element for inclusion in a page, its dark ink taking the colour of the page's text.

    Args:
        figure: the figure.
        identity: prefix of the element's internal names, so that several can stand in one page; letters, digits and dashes.
    """
    matplotlib = optional("matplotlib", "report")
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": identity}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{identity}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{identity}-", text)
    text = re.sub(r"<svg ([^>]*)>", r'<svg aria-hidden="true" focusable="false" \1>', text, count=1)
    return text.replace(_INK, "currentColor").strip()


def save_curves(report: Report, folder: Path) -> list[Path]:
    """Write every chart of a report as an SVG file on white.

    Args:
        report: the report.
        folder: where to, made if missing.

    Returns:
        The files, named after the charts' titles.
    """
    written = []
    for curve in report.curves:
        figure = curves(curve.x, curve.y, title=curve.title, x_label=curve.x_label, y_label=curve.y_label)
        path = folder / f"{re.sub(r'[^a-z0-9]+', '-', curve.title.lower()).strip('-')}.svg"
        with replacing(path) as temporary:
            figure.savefig(temporary, facecolor="white", bbox_inches="tight", metadata={"Date": None})
        written.append(path)
    return written
