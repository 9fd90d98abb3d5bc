"""Before a store is written: what is asked for, checked, and compared with what lies in its folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from tutelage import __version__, files
from tutelage import views as view_room
from tutelage.data import Arrays
from tutelage.errors import DataError, OptionError, StoreError, nearest
from tutelage.store import manifest
from tutelage.store.identity import bare, engine_of, fingerprint
from tutelage.store.keep import Keep, dtype_of, parse_keep
from tutelage.store.layout import MANIFEST, index_file, sweep
from tutelage.store.shard import index_trouble, save
from tutelage.teachers import Frozen

WAIT = 600.0
"""Seconds that a rank waits for the first one to make the store."""


@dataclass
class Job:
    """What is asked for."""

    teacher: Any
    parts: dict[str, Arrays]
    out: Path
    keep: Keep
    dtype: torch.dtype
    dtype_name: str
    temperature: float
    view: view_room.View | None
    view_name: str | None
    views: int
    view_seed: int
    batch_size: int
    shard_rows: int
    rank: int
    world: int
    names: dict[str, Any]
    device: torch.device

    @classmethod
    def make(
        cls,
        teacher: Any,
        parts: Mapping[str, Arrays],
        out: Path,
        *,
        keep: str,
        dtype: str,
        temperature: float,
        view: str | view_room.View | None,
        views: int,
        parts_wanted: Sequence[str] | None = None,
        **rest: Any,
    ) -> Self:
        """Check what is asked for; see `tutelage.store.label` for the arguments."""
        what = parse_keep(keep)
        chosen = list(parts) if parts_wanted is None else list(parts_wanted)
        for name in chosen:
            if name not in parts:
                raise OptionError(f"The data has no part '{name}' to label.{nearest(name, parts)}")
        for name, value, least in (
            ("views", views, 0),
            ("view_seed", rest["view_seed"], 0),
            ("batch_size", rest["batch_size"], 1),
            ("shard_rows", rest["shard_rows"], 1),
            ("world", rest["world"], 1),
        ):
            if value < least:
                raise OptionError(f"{name} is {value}: expected at least {least}.")
        if not 0 <= rest["rank"] < rest["world"]:
            raise OptionError(f"rank is {rest['rank']}: with world {rest['world']} expected 0 to {rest['world'] - 1}.")
        if not temperature > 0 or (temperature != 1 and what.kind != "top-k"):
            raise OptionError(
                f"temperature is {temperature:g}: expected above 0 with keep top-k:K. What else is kept is not softened here: "
                "dense logits serve every temperature in training, so leave it out."
            )
        function, view_name = named_view(view)
        if (function is not None) != (views > 0):
            raise OptionError(
                f"views is {views} and view is {view_name or 'none'}: give both, --view NAME and how many --views of each image, "
                "or neither for the plain inputs."
            )
        is_text = what.kind == "text"
        if is_text != (not isinstance(teacher, nn.Module)) or (is_text and not callable(getattr(teacher, "complete", None))):
            expected = "something with complete(prompts), such as a chat model" if is_text else "a torch.nn.Module"
            raise OptionError(f"To keep {what.text} the teacher must be {expected}; it is a {type(teacher).__name__}.")
        labelled = {name: parts[name] for name in chosen}
        if not any(len(arrays) for arrays in labelled.values()):
            raise DataError(f"There is nothing to label: the parts {', '.join(chosen) or '(none)'} have no rows.")
        if is_text:
            _only_texts(labelled)
        if is_text and views:
            raise OptionError("views are of images; texts are asked about as they are. Leave --view and --views out.")
        return cls(
            teacher=teacher,
            parts=labelled,
            out=out,
            keep=what,
            dtype=dtype_of(dtype),
            dtype_name=dtype,
            temperature=float(temperature),
            view=function,
            view_name=view_name,
            views=views,
            device=torch.device("cpu"),
            **rest,
        )

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of the store that is asked for, all but its outputs; weights and data are read through."""
        return {
            "version": manifest.VERSION,
            "keep": self.keep.text,
            "dtype": self.dtype_name,
            "temperature": self.temperature,
            "classes": list(next(iter(self.parts.values())).classes),
            "outputs": {},
            "view": self.view_name,
            "views": self.views,
            "view_seed": self.view_seed,
            "teacher": {"spec": self.names["teacher"] or type(bare(self.teacher)).__name__, "fingerprint": fingerprint(self.teacher)},
            "data": {"spec": self.names["data"], "name": self.names["data_set"], "load": self.names["load"]},
            "shard_rows": self.shard_rows,
            "parts": {name: part_facts(arrays) for name, arrays in self.parts.items()},
            "versions": {"tutelage": __version__, "torch": torch.__version__},
        }


def _only_texts(parts: Mapping[str, Arrays]) -> None:
    for name, arrays in parts.items():
        if not isinstance(arrays.column("input"), list):
            raise DataError(f"To keep text the inputs must be texts; those of {name} are {arrays!r}. Give data with a column of texts.")


def named_view(view: str | view_room.View | None) -> tuple[view_room.View | None, str | None]:
    """Return a view and the name that a manifest knows it by.

    Args:
        view: a name of `tutelage.views`, a function, or `None`; `"none"` is `None`.
    """
    if view is None or view == "none":
        return None, None
    if isinstance(view, str):
        return view_room.from_name(view), view
    return view, str(getattr(view, "__qualname__", type(view).__qualname__))


def part_facts(arrays: Arrays) -> dict[str, Any]:
    """Return what a manifest says of a part: its rows, and fingerprints of its contents and of its original row numbers."""
    index = hashlib.sha256(arrays.index.contiguous().numpy().tobytes()).hexdigest()
    return {"rows": len(arrays), "fingerprint": arrays.fingerprint(), "index": index}


def prepare(job: Job, *, resume: bool, probe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Make the store's folder and manifest, or take up those that are there.

    Args:
        job: what is asked for.
        resume: whether an existing store is gone on with.
        probe: describes what the teacher's answers look like.

    Returns:
        The manifest.

    Raises:
        StoreError: if the folder holds a store (without `resume`), another one, or something else, or cannot be written.
    """
    here = (job.out / MANIFEST).exists()
    if job.rank == 0 and here and not resume:
        raise StoreError(f"{job.out} is a label store already. Go on with it by --resume (resume=True), or choose another folder.")
    if job.rank == 0 and not here and not _only_started(job.out):
        raise StoreError(f"{job.out} exists and is not a label store. Nothing is overwritten: choose another folder.")
    if not here and job.rank > 0:
        _wait(job)
        here = True
    asked = job.manifest()
    if here:
        about = manifest.read(job.out)
        found = manifest.differences(about, asked)
        if found:
            raise StoreError(
                f"{job.out} was labelled otherwise: {'; '.join(found)}. "
                "Give the same teacher, data and settings, or label into another folder."
            )
        if job.rank > 0:
            return about
        asked = about
    else:
        asked["outputs"] = probe()
        asked["teacher"]["engine"] = engine_of(job.teacher)  # which the probe has settled
    try:
        _sweep(job)
        for part, arrays in job.parts.items():
            if index_trouble(job.out, asked, part):
                save(index_file(job.out, part), {"index": arrays.index})
        if not here:
            files.write_json(job.out / MANIFEST, asked)
    except OSError as error:
        raise StoreError(f"{job.out} cannot be written ({error}). Choose another folder, or free disk space, and start again.") from error
    return asked


def same_engine(job: Job, about: dict[str, Any]) -> None:
    """Let a teacher that may choose its engine answer with the one that a store was begun with, for engines round differently.

    Args:
        job: what is asked for.
        about: the manifest.

    Raises:
        StoreError: if another engine was asked for.
    """
    begun, asked = about["teacher"].get("engine", "eager"), engine_of(job.teacher)
    if asked == begun:
        return
    if not isinstance(job.teacher, Frozen) or job.teacher.engine != "auto":
        raise StoreError(
            f"{job.out} was begun with the teacher's engine {begun}, here {asked}: they round differently. Give the same engine "
            f"(--teacher-engine {begun}), or label into another folder."
        )
    job.teacher.use(begun, batch=job.batch_size, reason=f"{begun}: the store was begun with it.")


def _sweep(job: Job) -> None:
    for folder in (job.out, *(job.out / part for part in job.parts)):
        sweep(folder)


def _only_started(out: Path) -> bool:
    """Whether a folder is absent, empty, or holds no more than what is written before the manifest."""
    if not out.exists():
        return True
    if not out.is_dir():
        return False
    return all(p.is_dir() or p.name == "index.safetensors" or p.name.startswith(".") for p in out.rglob("*"))


def _wait(job: Job) -> None:
    until = time.monotonic() + WAIT
    while not (job.out / MANIFEST).exists():
        if time.monotonic() > until:
            raise StoreError(
                f"Rank {job.rank} of {job.world} waited {WAIT:.0f} seconds for rank 0 to make {job.out}. "
                "Start all ranks together, on one file system."
            )
        time.sleep(0.05)
