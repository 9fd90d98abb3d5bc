"""The published results: one JSON file per method, and the tables that README and documentation show of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import DataError
from tutelage.files import write_bytes, write_json
from tutelage.report.parts import Claim
from tutelage.report.report import Report
from tutelage.report.storage import interval_from, number_from, values_from
from tutelage.report.tables import bounds, cells, heading, number, verdict

_CLAIM = {"text", "value", "interval", "held"}
_KEYS: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "title": str,
    "seeds": list,
    "arms": dict,
    "claims": list,
    "versions": dict,
    "wall_seconds": (int, float),
    "config": dict,
}


def write_result(result: Mapping[str, Any], folder: str | Path) -> Path:
    """Write what `Report.results` returns to `METHOD.json` in a folder, whole or not at all.

    Args:
        result: the result.
        folder: folder of the results, made if missing.

    Returns:
        The file's path.
    """
    path = Path(folder) / f"{result['method']}.json"
    write_json(path, result)
    return path


def read_results(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Read every result of a folder.

    Args:
        folder: folder of `METHOD.json` files; one that does not exist has no results.

    Returns:
        The results by method, in the order of their names.

    Raises:
        DataError: if a file is damaged or lacks a part.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(Path(folder).glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            wrong = [key for key, kind in _KEYS.items() if not isinstance(result.get(key), kind)]
            wrong += [f"claims[{i}]" for i, claim in enumerate(result.get("claims") or []) if not claim.keys() >= _CLAIM]
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"Result '{path}' cannot be read ({error}). Write it again by running its method.") from error
        if wrong:
            raise DataError(f"Result '{path}' has no proper {', '.join(wrong)}. Write it again by running its method.")
        found[result["method"]] = result
    return found


def _claim(plain: Mapping[str, Any]) -> Claim:
    return Claim(plain["text"], number_from(plain["value"]), interval_from(plain["interval"]), bool(plain["held"]))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def main_effect(result: Mapping[str, Any]) -> str:
    """Return the first claim of a result with its measured value, interval and verdict, or a dash where it has none."""
    if not result["claims"]:
        return "—"
    claim = _claim(result["claims"][0])
    interval = "" if claim.interval is None else f" {bounds(claim.interval)}"
    return f"{claim.text.rstrip('.')}: {number(claim.value, signed=True)}{interval}, {verdict(claim)}"


def markdown_table(results: Mapping[str, Mapping[str, Any]], *, families: Mapping[str, str] | None = None) -> str:
    """Return the table of methods for the README.

    Args:
        results: results by method, as `read_results` returns them.
        families: family of every method; those without a result appear as not yet measured.

    Returns:
        Markdown: method, family, status, main effect measured, claims held of all.
    """
    families = families or {}
    lines = [_row("method", "family", "status", "main effect measured", "claims held"), _row("---", "---", "---", "---", "---:")]
    for method in sorted(families.keys() | results.keys(), key=lambda name: (families.get(name, "~"), name)):
        family = families.get(method, "—").replace("_", " ")
        if method not in results:
            lines.append(_row(f"`{method}`", family, "not measured yet", "—", "—"))
            continue
        result = results[method]
        count = len(result["seeds"])
        held = sum(bool(claim["held"]) for claim in result["claims"])
        status = f"measured, {count} seed{'s' if count != 1 else ''}"
        lines.append(_row(f"`{method}`", family, status, main_effect(result), f"{held}/{len(result['claims'])}"))
    return "\n".join(lines)


def as_report(result: Mapping[str, Any]) -> Report:
    """Return the arms and claims of a result as a report, for its tables.

    Args:
        result: one result, as `read_results` returns it.
    """
    report = Report(result["method"], result["title"], tuple(result["seeds"]), versions=dict(result["versions"]))
    report.values = values_from(result["arms"])
    report.claims = [_claim(plain) for plain in result["claims"]]
    return report


def markdown_page(result: Mapping[str, Any]) -> str:
    """Return the section of results for a method's page in the documentation.

    Args:
        result: one result, as `read_results` returns it.

    Returns:
        Markdown: claims, arms, notes, and what it was measured with. It has no heading of its own.
    """
    report = as_report(result)
    lines = [_row("claim", "measured", "95% interval", "verdict"), _row("---", "---:", "---:", "---")]
    for claim in report.claims:
        lines.append(_row(claim.text, number(claim.value, signed=True), bounds(claim.interval), f"**{verdict(claim)}**"))
    metrics, rows = cells(report)
    lines += ["", _row("arm", *(heading(m) for m in metrics)), _row("---", *("---:" for _ in metrics))]
    lines += [_row(arm, *(f"**{text}**" if best else text for text, best in line)) for arm, line in rows]
    lines += ["", *(f"- {note}" for note in result.get("notes", []))]
    used = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    seeds = ", ".join(str(seed) for seed in result["seeds"])
    lines += ["", f"Mean ± standard deviation; seeds {seeds}; {result['wall_seconds'] / 60:.1f} minutes; {used}."]
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def write_between_markers(path: str | Path, text: str, name: str = "results") -> bool:
    """Put text between the markers `<!-- NAME:begin -->` and `<!-- NAME:end -->` of a file.

    Args:
        path: the file, which holds each marker once.
        text: what stands between them afterwards.
        name: name of the markers.

    Returns:
        Whether the file changed.

    Raises:
        DataError: if the file is missing or does not hold both markers in order.
    """
    path = Path(path)
    try:
        before = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"'{path}' cannot be read ({error}).") from error
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, begin, rest = before.partition(first)
    _, end, tail = rest.partition(last)
    if not begin or not end:
        raise DataError(f"'{path}' lacks the lines {first} and {last}, in this order; add them where the text belongs.")
    after = f"{head}{first}\n{text.strip()}\n{last}{tail}"
    if after == before:
        return False
    write_bytes(path, after.encode())
    return True
