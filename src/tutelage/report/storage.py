"""Reports on disk: `report.json`, the pictures beside it, and the page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import CheckpointError, MissingExtra, OptionError
from tutelage.files import write_bytes, write_json
from tutelage.report.parts import Claim

if TYPE_CHECKING:
    from tutelage.report.report import Report


def results(report: Report) -> dict[str, Any]:
    """Return what `results/METHOD.json` holds (see `Report.results`)."""
    claims = [{"text": c.text, "value": c.value, "interval": c.interval, "held": c.held} for c in report.claims]
    numbers = {"method": report.name, "title": report.title, "seeds": report.seeds, "arms": report.values, "claims": claims}
    about = {"versions": report.versions, "wall_seconds": report.wall_seconds, "config": report.config, "notes": report.notes}
    ready: dict[str, Any] = plain(numbers | about)
    return ready


def save(report: Report, directory: Path) -> Path | None:
    """Write a report to a folder (see `Report.save`)."""
    from tutelage.report.page import write_page

    pictures = []
    for place, picture in enumerate(report.pictures, 1):
        slug = re.sub(r"[^a-z0-9]+", "-", picture.title.lower()).strip("-")[:60]
        file = f"pictures/{place:02d}-{slug}.png"
        write_bytes(directory / file, picture.png)
        pictures.append({"title": picture.title, "caption": picture.caption, "file": file})
    rest = {
        "claims": [asdict(claim) for claim in report.claims],
        "curves": [asdict(curve) for curve in report.curves],
        "calibration": report.calibration,
        "pictures": pictures,
    }
    write_json(directory / "report.json", results(report) | plain(rest))
    try:
        return write_page(report, directory / "report.html")
    except MissingExtra:
        return None


def load(path: Path) -> Report:
    """Read a report that `save` wrote (see `Report.load`)."""
    file = path if path.suffix == ".json" else path / "report.json"
    try:
        return _read(json.loads(file.read_text(encoding="utf-8")), file.parent)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OptionError) as error:
        raise CheckpointError(
            f"'{file}' is not a whole report ({type(error).__name__}: {error}). Expected the folder of a finished run; "
            "run it again with --resume."
        ) from error


def _read(content: dict[str, Any], folder: Path) -> Report:
    from tutelage.report.report import Report

    report = Report(
        name=content["method"],
        title=content["title"],
        seeds=tuple(content["seeds"]),
        config=content["config"],
        versions=content["versions"],
        wall_seconds=content["wall_seconds"],
        notes=content["notes"],
    )
    report.values = values_from(content["arms"])
    for claim in content["claims"]:
        per_seed = tuple(number_from(v) for v in claim["per_seed"])
        value, interval = number_from(claim["value"]), interval_from(claim["interval"])
        report.claims.append(Claim(claim["text"], value, interval, claim["held"], claim["at_least"], per_seed))
    for curve in content["curves"]:
        lines = {arm: [number_from(v) for v in line] for arm, line in curve["y"].items()}
        report.curve(curve["title"], [number_from(v) for v in curve["x"]], lines, curve["x_label"], curve["y_label"])
    for arm, tables in content["calibration"].items():
        for seed, bins in tables.items():
            report.reliability(arm, int(seed), bins)
    for picture in content["pictures"]:
        report.picture(picture["title"], folder / picture["file"], picture["caption"])
    return report


def values_from(arms: Mapping[str, Any]) -> dict[str, dict[str, dict[int, float]]]:
    """Return arms, metrics and seeds as read from JSON, with numbers for seeds and NaN for null."""
    return {
        arm: {metric: {int(seed): number_from(value) for seed, value in seeds.items()} for metric, seeds in metrics.items()}
        for arm, metrics in arms.items()
    }


def interval_from(bounds: list[float | None] | None) -> tuple[float, float] | None:
    """Return an interval as read from JSON, with NaN for null bounds."""
    return None if bounds is None else (number_from(bounds[0]), number_from(bounds[1]))


def number_from(value: float | None) -> float:
    """Return a number as read from JSON, NaN for null."""
    return math.nan if value is None else float(value)


def plain(value: Any) -> Any:
    """Return a value that strict JSON can hold: text keys, lists, null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
