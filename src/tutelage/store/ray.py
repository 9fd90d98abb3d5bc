"""Labelling on a Ray cluster: every worker holds the teacher and writes whole shards, the same bytes as without Ray."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from tutelage import errors, files
from tutelage import views as view_room
from tutelage.data import Arrays, DataSet
from tutelage.errors import OptionError, StoreError, TutelageError
from tutelage.store import manifest
from tutelage.store.answers import answering
from tutelage.store.labelling import probe
from tutelage.store.layout import Shard, seal, shards, sweep
from tutelage.store.opened import Store
from tutelage.store.prepare import prepare
from tutelage.store.progress import Bar
from tutelage.store.shard import trouble
from tutelage.store.worker import Order, Worker


def label(
    teacher: str | nn.Module | Callable[[], nn.Module],
    data: str | DataSet | Arrays,
    out: str | Path,
    *,
    workers: int = 2,
    cpus: float = 1.0,
    gpus: float = 0.0,
    weights: str | Path | None = None,
    shared: bool | None = None,
    keep: str = "logits",
    dtype: str = "fp16",
    temperature: float = 1.0,
    view: str | view_room.View | None = None,
    views: int = 0,
    view_seed: int = 0,
    parts: Sequence[str] | None = None,
    batch_size: int = 256,
    shard_rows: int = 16384,
    resume: bool = False,
    device: str | None = None,
    teacher_name: str | None = None,
    data_name: str | None = None,
    load: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Store:
    """Run a teacher over a data set on a Ray cluster and keep what it says; otherwise as `tutelage.store.label`.

    The cluster is the one that this process is connected to, or that the variable `RAY_ADDRESS` names; without either, Ray is started
    on this machine and stopped again. Shards are given out one by one, so a slow worker holds none up, and one that dies is replaced.
    Workers on the same kind of processor with as many threads as a serial labelling write the same bytes as it.

    Args:
        teacher: a specification, which every worker builds for itself; a function without arguments that builds the teacher; or a
            module, which Ray ships. Of the first two prefer those with weights of their own: every worker must arrive at the same teacher.
        data: a specification, which every worker loads for itself from a path that it can see; or a data set, which Ray ships.
        out: folder of the store.
        workers: processes that label at the same time.
        cpus: processors, and threads, of each.
        gpus: graphics processors of each; above 0 the teacher answers on `cuda`.
        weights: safetensors file of a built teacher, in a place that every worker can see.
        shared: whether the workers see `out`, on a file system that all share, and write into it; else this process does, with what
            they send. By default each worker looks.
        keep: see `tutelage.store.label`; texts are refused, because a chat client asks many at once by itself and counts what they cost.
        dtype: see `tutelage.store.label`.
        temperature: see `tutelage.store.label`.
        view: see `tutelage.store.label`.
        views: see `tutelage.store.label`.
        view_seed: see `tutelage.store.label`.
        parts: see `tutelage.store.label`.
        batch_size: see `tutelage.store.label`.
        shard_rows: see `tutelage.store.label`; the unit of work, so there should be several for each worker.
        resume: see `tutelage.store.label`; a store may be begun with Ray and finished without, or the other way round.
        device: where the teachers of the workers answer; `cuda` gives each a GPU of its own.
        teacher_name: see `tutelage.store.label`; the specification by default, where there is one.
        data_name: see `tutelage.store.label`; the specification by default, where there is one.
        load: `validation`, `test` and `seed` with which a specification of data is loaded.
        console: where progress goes; standard error by default.

    Returns:
        The store, complete.

    Raises:
        OptionError: for options that cannot work.
        StoreError: as `tutelage.store.label`, and if a worker has another teacher or other data than this process.
        ShapeError: if the teacher does not answer one entry per row, all of one shape.
        DataError: if it answers NaN or infinity.
        MissingExtra: if Ray is not installed.
    """
    ray = errors.optional("ray", "ray")
    errors.optional("ray.data", "ray")
    if workers < 1 or cpus < 0 or gpus < 0:
        raise OptionError(f"workers is {workers}, cpus {cpus:g} and gpus {gpus:g}: expected at least 1, 0 and 0.")
    if keep == "text":
        raise OptionError("Texts are not labelled with Ray: one process asks many at once (concurrency=) and keeps to limits and budget.")
    if not isinstance(teacher, str | nn.Module) and not callable(teacher):
        raise OptionError(
            f"teacher is a {type(teacher).__name__}: expected a specification, a function that builds it, or a torch.nn.Module."
        )
    if weights is not None and (isinstance(teacher, str | nn.Module)):
        raise OptionError("weights= belong to a function that builds the teacher. In a specification write ?weights=FILE.safetensors.")
    if device is not None and device.startswith("cuda"):
        device, gpus = "cuda", gpus or 1.0  # Ray shows each worker its own GPU, as the first
    order = Order(
        teacher,
        None if weights is None else str(Path(weights).absolute()),
        data,
        load=dict(load or {}),
        device=device or ("cuda" if gpus else None),
        threads=max(1, int(cpus)),
        shared=shared,
        settings={
            "keep": keep,
            "dtype": dtype,
            "temperature": temperature,
            "view": view,
            "views": views,
            "view_seed": view_seed,
            "parts_wanted": parts,
            "batch_size": batch_size,
            "shard_rows": shard_rows,
        },
        names={
            "teacher": teacher_name or (teacher if isinstance(teacher, str) else None),
            "data": data_name or (data if isinstance(data, str) else None),
        },
    )
    job = order.job(Path(out).absolute())
    with answering(job.teacher):
        prepare(job, resume=resume, probe=lambda: probe(job))
    about = manifest.read(job.out)
    todo = [s for s in shards(about) if trouble(job.out, s) is not None]
    if todo:
        resources = {"num_cpus": cpus, **({"num_gpus": gpus} if gpus else {})}
        with _connected(ray, workers, cpus, gpus), Bar(console or Console(stderr=True), sum(s.rows for s in todo)) as bar:
            _run(ray, order.portable(), job.out, about, todo, min(workers, len(todo)), resources, bar)
    return Store.open(job.out)


def _run(
    ray: Any,
    order: Order,
    out: Path,
    about: dict[str, Any],
    todo: list[Shard],
    workers: int,
    resources: dict[str, float],
    bar: Bar,
) -> None:
    """Give the shards out, and take in what comes back."""
    data = ray.data
    # The objects are stored once in the cluster; a worker fetches them, and not every task carries them.
    box = [ray.put((order, str(out), about, todo))]
    rows = data.from_items(list(range(len(todo))), override_num_blocks=len(todo)).map_batches(
        _Actor, batch_size=1, compute=data.ActorPoolStrategy(size=workers), fn_constructor_kwargs={"box": box}, **resources
    )
    for row in rows.iter_rows():
        if row["error"]:
            raise getattr(errors, row["kind"])(row["error"])
        shard = todo[row["item"]]
        if row["file"]:
            sweep(shard.file(out).parent, shard.file(out).stem)
            try:
                files.write_bytes(shard.file(out), row["file"])
                seal(out, shard)
            except OSError as error:
                cure = "Free disk space and run the same command with --resume; the shards before stay."
                raise StoreError(f"Shard {shard.name} of {out} could not be written ({error}). {cure}") from error
        bar.add(shard.rows, f"{shard.part}, view {shard.view}")


class _Actor:
    """One process of the cluster: it makes its worker when it gets its first shard."""

    def __init__(self, box: list[Any]) -> None:
        self.box = box
        self.worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Label the shards of a batch. What is wrong goes back as words: an error that Ray carries loses its class."""
        import ray

        order, out, about, todo = ray.get(self.box[0])
        rows: dict[str, list[Any]] = {"item": [], "file": [], "error": [], "kind": []}
        for item in batch["item"]:
            row = {"item": int(item), "file": b"", "error": "", "kind": ""}
            try:
                self.worker = self.worker or Worker(order, Path(out), about)
                row["file"] = self.worker.label(todo[int(item)])
            except TutelageError as problem:
                row |= {"error": str(problem), "kind": type(problem).__name__}
            for name, value in row.items():
                rows[name].append(value)
        return rows


def _join(ray: Any, address: str) -> None:
    """Connect to the cluster that the user names."""
    try:
        ray.init(logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise OptionError(
            f"No connection to the Ray cluster of RAY_ADDRESS, {address} ({reason}). Is it running, with the same Ray version? If it was "
            "started with a token, set RAY_AUTH_MODE=token here too. What is labelled stays: --resume."
        ) from error


@contextlib.contextmanager
def _connected(ray: Any, workers: int, cpus: float, gpus: float) -> Iterator[None]:
    """Use the cluster there is, or start one here and leave nothing of it behind."""
    data = ray.data
    context = data.DataContext.get_current()
    bars, level = context.enable_progress_bars, logging.getLogger("ray.data").level
    started, folder = not ray.is_initialized(), None
    try:
        if started and (address := os.environ.get("RAY_ADDRESS")):
            _join(ray, address)
        elif started:
            # Ray makes sockets in it, whose paths must be short: not a long temporary folder of the user's.
            folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
            ray.init(
                address="local",
                num_cpus=max(math.ceil(workers * cpus), 1),
                num_gpus=math.ceil(workers * gpus) or None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
            )
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield
    finally:
        context.enable_progress_bars = bars
        logging.getLogger("ray.data").setLevel(level)
        if started:
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
