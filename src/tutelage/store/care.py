"""Looking after stores: what is in them, whether it is whole, and several parts of one put together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage import files
from tutelage.errors import OptionError, StoreError
from tutelage.store import manifest
from tutelage.store.layout import MANIFEST, Shard, index_file, shards
from tutelage.store.opened import Store
from tutelage.store.shard import MappedShard, altered, damaged, index_trouble, trouble
from tutelage.store.texts import TextShard


def verify(path: str | Path) -> list[str]:
    """Read a store through and say everything that is wrong with it.

    Args:
        path: the store.

    Returns:
        One sentence for each index or shard that is damaged or not labelled yet; empty if the store is whole.

    Raises:
        StoreError: if it is no store, or its manifest is damaged.
    """
    root = Path(path)
    about = manifest.read(root)
    problems = [f"{part}/index.safetensors {how}" for part in about["parts"] if (how := index_trouble(root, about, part))]
    return problems + [line for s in shards(about) if (line := _shard_problem(root, about, s))]


def _shard_problem(root: Path, about: dict[str, Any], shard: Shard) -> str | None:
    how = altered(root, shard)
    if how == "":
        return f"{shard.name} is not labelled yet ({shard.rows} rows): finish with --resume"
    if how is None:
        try:
            TextShard(root, shard) if about["keep"] == "text" else MappedShard(root, shard, about["outputs"])
            return None
        except StoreError as error:
            return str(error)
    return str(damaged(root, shard, how))


def info(path: str | Path) -> dict[str, Any]:
    """Return what a store holds and how much of it is there.

    Args:
        path: the store.

    Returns:
        What the manifest says, with `path`, `rows` (labelled, over all views), `bytes`, `shards`, `whole`, and `missing` by part.

    Raises:
        StoreError: if it is no store, or its manifest is damaged.
    """
    root = Path(path)
    about = manifest.read(root)
    rows = size = total = whole = 0
    missing = dict.fromkeys(about["parts"], 0)
    for shard in shards(about):
        total += 1
        if trouble(root, shard) is None:
            whole, rows, size = whole + 1, rows + shard.rows, size + shard.file(root).stat().st_size
        else:
            missing[shard.part] += shard.rows
    return {"path": str(root), **about, "rows": rows, "bytes": size, "shards": total, "whole": whole, "missing": missing}


def merge(paths: Sequence[str | Path], out: str | Path) -> Store:
    """Put stores together that were labelled with the same settings and hold different shards of one whole.

    Every shard is checked against its checksum while it is copied. The new store appears whole or not at all.

    Args:
        paths: the stores, at least one.
        out: folder of the new store, which must not exist.

    Returns:
        The new store. It may lack shards that none of them has.

    Raises:
        OptionError: if none is given.
        StoreError: if they do not belong together, a shard is damaged or in two of them with different contents, or `out` exists.
    """
    roots, target = [Path(p) for p in paths], Path(out)
    if not roots:
        raise OptionError("There is nothing to merge: name the stores.")
    if target.exists():
        raise StoreError(f"{target} exists. Nothing is overwritten: merge into a new folder.")
    abouts = [manifest.read(root) for root in roots]
    for root, about in zip(roots[1:], abouts[1:], strict=True):
        found = manifest.differences(abouts[0], about)
        if about["outputs"] != abouts[0]["outputs"]:
            found.append(f"outputs: {abouts[0]['outputs']}, here {about['outputs']}")
        if found:
            raise StoreError(f"{root} does not belong to {roots[0]}: {'; '.join(found)}. Only stores of the same settings are merged.")
    source = {shard: _source(roots, shard) for shard in shards(abouts[0])}
    try:
        with files.replacing(target) as folder:
            folder.mkdir()
            for part in abouts[0]["parts"]:
                _copy_index(roots, abouts[0], part, folder)
            for shard, origin in source.items():
                if origin is not None:
                    _copy(origin, shard, folder)
            shutil.copyfile(roots[0] / MANIFEST, folder / MANIFEST)
    except OSError as error:
        raise StoreError(
            f"{target} could not be written ({error}). The stores are as they were. Free disk space and merge again."
        ) from error
    return Store.open(target)


def _source(roots: Sequence[Path], shard: Shard) -> Path | None:
    """Return the store that has a shard, or `None`; refuse two that say different things."""
    having: list[tuple[Path, str]] = []
    for root in roots:
        how = trouble(root, shard)
        if how:
            raise damaged(root, shard, how)
        if how is None:
            having.append((root, json.loads(shard.seal(root).read_text()).get("sha256")))
    if len({checksum for _, checksum in having}) > 1:
        raise StoreError(
            f"Shard {shard.name} is in {having[0][0]} and in {having[1][0]} with different contents: "
            f"they were not labelled by one teacher on one kind of machine. Delete it from the one that you do not want."
        )
    return having[0][0] if having else None


def _copy(root: Path, shard: Shard, folder: Path) -> None:
    shard.file(folder).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shard.file(root), shard.file(folder))
    shutil.copyfile(shard.seal(root), shard.seal(folder))
    how = altered(folder, shard)
    if how is not None:
        raise damaged(root, shard, how or "it went away while it was copied")


def _copy_index(roots: Sequence[Path], about: dict[str, Any], part: str, folder: Path) -> None:
    for origin in roots:
        if index_trouble(origin, about, part) is None:
            index_file(folder, part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(index_file(origin, part), index_file(folder, part))
            return
    raise StoreError(f"{roots[0] / part / 'index.safetensors'} {index_trouble(roots[0], about, part)}.")
