"""The manifest of a store: whose answers to what it holds, and how they lie there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tutelage.errors import OptionError, StoreError
from tutelage.store.keep import DTYPES, parse_keep
from tutelage.store.layout import MANIFEST
from tutelage.store.shard import NUMPY

VERSION = 1

_PART = re.compile(r"[A-Za-z0-9_-]+")  # a folder of its own inside the store

_SETTINGS = {
    "keep": "what is kept",
    "dtype": "dtype",
    "temperature": "temperature",
    "classes": "classes",
    "view": "view",
    "views": "number of views",
    "view_seed": "seed of the views",
    "shard_rows": "rows of a shard",
}


def read(path: Path) -> dict[str, Any]:
    """Read a store's manifest.

    Args:
        path: the store.

    Returns:
        The manifest.

    Raises:
        StoreError: if there is no store, its manifest is damaged or foreign, or it was written by another version.
    """
    file = path / MANIFEST
    try:
        about = json.loads(file.read_text())
    except FileNotFoundError:
        raise StoreError(f"{path} is no label store: it has no {MANIFEST}. Make one with 'tutelage label --out {path}'.") from None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{file} cannot be read ({error}). Copy it again from where the store came, or label again into a new folder."
        ) from error
    if not isinstance(about, dict) or "keep" not in about or "version" not in about:
        raise StoreError(f"{file} is not the manifest of a label store: it was written by something else. Give the folder of a store.")
    if about["version"] != VERSION:
        raise StoreError(
            f"{path} is a store of version {about['version']}, and this version of tutelage reads version {VERSION}. "
            "Read it with the tutelage that wrote it, or label again."
        )
    wrong = _wrong(about)
    if wrong:
        raise StoreError(
            f"{file} is damaged: {wrong} is missing or makes no sense. Copy it again from where the store came, or label again."
        )
    return about


def _wrong(about: dict[str, Any]) -> str | None:
    """Return the first entry of a manifest that cannot be; a store may come from anywhere."""

    def is_count(value: Any, least: int) -> bool:
        return isinstance(value, int) and value >= least

    def is_output(value: Any) -> bool:
        shape = isinstance(value, dict) and isinstance(value.get("shape"), list) and all(is_count(n, 0) for n in value["shape"])
        return shape and value.get("dtype") in NUMPY

    def is_part(name: str, value: Any) -> bool:
        facts = isinstance(value, dict) and is_count(value.get("rows"), 0)
        return bool(_PART.fullmatch(name)) and facts and all(isinstance(value.get(n), str) for n in ("fingerprint", "index"))

    def is_dict(name: str) -> bool:
        return isinstance(about.get(name), dict)

    try:
        kind = parse_keep(about["keep"]).kind
    except (OptionError, AttributeError):
        return "keep"
    good = {
        "dtype": about.get("dtype") in DTYPES,
        "temperature": isinstance(about.get("temperature"), int | float) and about["temperature"] > 0,
        "classes": isinstance(about.get("classes"), list),
        "outputs": is_dict("outputs") and (kind == "text" or (bool(about["outputs"]) and all(map(is_output, about["outputs"].values())))),
        "view": about.get("view") is None or isinstance(about["view"], str),
        "views": is_count(about.get("views"), 0),
        "view_seed": is_count(about.get("view_seed"), 0),
        "teacher": is_dict("teacher") and isinstance(about["teacher"].get("fingerprint"), str),
        "data": is_dict("data") and isinstance(about["data"].get("load"), dict),
        "shard_rows": is_count(about.get("shard_rows"), 1),
        "parts": is_dict("parts") and bool(about["parts"]) and all(is_part(n, v) for n, v in about["parts"].items()),
    }
    return next((f"'{name}'" for name, fine in good.items() if not fine), None)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Name everything in which two manifests differ that makes their answers differ.

    How the teacher and the data were written does not count, their fingerprints do.

    Args:
        old: manifest of a store.
        new: manifest of what is asked for.

    Returns:
        One `what: old, here new` for each difference; empty if they belong together.
    """
    found = [
        f"{words}: {_short(old.get(name))}, here {_short(new.get(name))}"
        for name, words in _SETTINGS.items()
        if old.get(name) != new.get(name)
    ]
    theirs, ours = old["teacher"], new["teacher"]
    if theirs["fingerprint"] != ours["fingerprint"]:
        found.append(f"teacher: {describe(theirs)}, here {describe(ours)} (its weights or structure differ)")
    if list(old["parts"]) != list(new["parts"]):
        return [*found, f"parts: {', '.join(old['parts'])}, here {', '.join(new['parts'])}"]
    return found + [line for part in old["parts"] for line in part_differences(part, old["parts"][part], new["parts"][part])]


def part_differences(part: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Name how a part of the data differs from the one that was labelled: rows, contents, or their original row numbers."""
    if old["rows"] != new["rows"]:
        return [f"{part} data: {old['rows']} rows, here {new['rows']}"]
    if old["fingerprint"] != new["fingerprint"]:
        return [f"{part} data: {old['fingerprint'][:12]}, here {new['fingerprint'][:12]} (contents or order differ)"]
    if old["index"] != new["index"]:
        return [f"{part} data: original rows {old['index'][:12]}, here {new['index'][:12]} (the same contents, numbered otherwise)"]
    return []


def describe(teacher: dict[str, Any]) -> str:
    """Write a teacher's name and the head of its fingerprint."""
    return f"{teacher.get('spec')} {teacher['fingerprint'][:12]}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
