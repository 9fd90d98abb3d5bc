"""Labelling: a teacher is run once over a data set, and what it says is kept."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from tutelage import views as view_room
from tutelage.data import Arrays, DataSet
from tutelage.errors import ShapeError, StoreError
from tutelage.store import shard as shards_on_disk
from tutelage.store.answers import Answers, answering
from tutelage.store.layout import Shard, shards, sweep
from tutelage.store.opened import Store
from tutelage.store.prepare import Job, prepare, same_engine
from tutelage.store.progress import Bar
from tutelage.store.texts import TextWriter


def label(
    teacher: Any,
    data: DataSet | Arrays,
    out: str | Path,
    *,
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
    device: torch.device | str | None = None,
    rank: int = 0,
    world: int = 1,
    teacher_name: str | None = None,
    data_name: str | None = None,
    load: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Store:
    """Run a teacher over a data set once and keep what it says.

    Shards are written whole or not at all, each with a checksum; texts are on disk as soon as they arrive. So a labelling that was
    stopped, at whatever instant, goes on with `resume` and ends with the same bytes.

    Args:
        teacher: a module, called on `batch["input"]` in eval and inference mode; or, to keep `text`, anything with
            `complete(prompts) -> replies` (see `tutelage.models.chat`).
        data: the data set; bare `Arrays` become its part `train`.
        out: folder of the store.
        keep: `logits`, `top-k:K` (log-probabilities, classes and the log of the remaining mass), `features:LAYER`, `boxes` (the teacher
            returns torchvision's dictionaries) or `text`.
        dtype: `fp16` (refused where it overflows), `bf16` or `fp32`.
        temperature: at which `top-k` softens; dense logits are softened in training.
        view: augmentation of training images: a name of `tutelage.views` or a function, known by its name only.
        views: number of augmented views of each training image to answer; 0 answers the plain inputs.
        view_seed: seed of the views.
        parts: parts to label; all by default.
        batch_size: rows asked about at once.
        shard_rows: rows of a file.
        resume: go on with the store in `out`.
        device: where the teacher answers; it is moved there. By default where it is.
        rank: this process labels the shards whose number leaves this remainder modulo `world`.
        world: number of processes that label together; the first of them makes the store.
        teacher_name: what the manifest calls the teacher.
        data_name: what it calls the data.
        load: how the data were loaded (`validation`, `test`, `seed`), to be told to who must load them again.
        console: where progress goes; standard error by default.

    Returns:
        The store. It is complete when all ranks are done.

    Raises:
        OptionError: for options that cannot work.
        StoreError: if the store exists (without `resume`), belongs to another teacher, data or settings, or cannot be written.
        ShapeError: if the teacher does not answer one entry per row, all of one shape.
        DataError: if it answers NaN or infinity.
    """
    console = console or Console(stderr=True)
    job = Job.make(
        teacher,
        {"train": data} if isinstance(data, Arrays) else dict(data.parts),
        Path(out),
        keep=keep,
        dtype=dtype,
        temperature=temperature,
        view=view,
        views=views,
        view_seed=view_seed,
        parts_wanted=parts,
        batch_size=batch_size,
        shard_rows=shard_rows,
        rank=rank,
        world=world,
        names={"teacher": teacher_name, "data": data_name or data.name, "load": dict(load or {}), "data_set": data.name},
    )
    if isinstance(teacher, nn.Module):
        place = next((t.device for t in teacher.parameters()), torch.device("cpu")) if device is None else torch.device(device)
        job.device = place
        teacher.to(place)
        with answering(teacher):
            about = prepare(job, resume=resume, probe=lambda: probe(job))
            label_shards(job, about, console, TensorWriter(job, about))
    else:
        about = prepare(job, resume=resume, probe=lambda: {"text": {}})
        label_shards(job, about, console, TextWriter(job))
    return Store.open(job.out)


def label_shards(
    job: Job, about: dict[str, Any], console: Console, write: Callable[[Shard, Bar], None], own: Sequence[Shard] | None = None
) -> None:
    """Write every shard of this process that is not whole yet.

    Args:
        job: what is asked for.
        about: the manifest.
        console: where progress goes.
        write: writes one shard.
        own: the shards of this process; by default those of its rank.

    Raises:
        StoreError: if a shard cannot be written.
    """
    same_engine(job, about)
    if own is None:
        own = [s for s in shards(about) if s.number % job.world == job.rank]
    found = {s: shards_on_disk.trouble(job.out, s) for s in own}
    todo = [s for s in own if found[s] is not None]
    for shard in own:
        if found[shard]:
            console.print(f"[yellow]Labelling {shard.name} again:[/] {found[shard]}", highlight=False)
        elif found[shard] is None:
            sweep(shard.file(job.out).parent, shard.file(job.out).stem)
            shard.journal(job.out).unlink(missing_ok=True)
    if len(todo) < len(own):
        rows = sum(s.rows for s in own if found[s] is None)
        console.print(f"{len(own) - len(todo)} of {len(own)} shards ({rows:,} rows) are labelled already.", highlight=False)
    whole = len(own) - len(todo)
    with Bar(console, sum(s.rows for s in todo)) as bar:
        for shard in todo:
            shard.seal(job.out).unlink(missing_ok=True)
            try:
                write(shard, bar)
            except OSError as error:
                raise _unwritten(job, shard, whole, len(own), error) from error
            except KeyboardInterrupt as error:
                raise KeyboardInterrupt(f"Stopped at {shard.name}; {whole} of {len(own)} shards of {job.out} are whole.") from error
            whole += 1


def _unwritten(job: Job, shard: Shard, whole: int, of: int, error: OSError) -> StoreError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    cure = "Free disk space" if full else "See to it that the folder can be written"
    return StoreError(
        f"Shard {shard.name} of {job.out} could not be written ({error}). {whole} of {of} shards are whole and stay. "
        f"{cure} and run the same command with --resume (resume=True)."
    )


def _batches(job: Job, shard: Shard) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yield the batches of a shard as its view shows them, with their first row in the shard and their name for errors."""
    arrays = job.parts[shard.part]
    for start in range(0, shard.rows, job.batch_size):
        first, count = shard.first + start, min(job.batch_size, shard.rows - start)
        where = f"{shard.part} rows {first} to {first + count - 1}"
        yield start, _seen(job, shard, arrays.gather(torch.arange(first, first + count))), where


def _seen(job: Job, shard: Shard, batch: dict[str, Any]) -> dict[str, Any]:
    """Move a batch to the teacher, and change its images as its view does."""
    if isinstance(batch["input"], Tensor):
        batch["input"] = batch["input"].to(job.device)
        if job.view is not None and job.views and shard.part == "train":
            seeds = view_room.row_seeds(job.view_seed, batch["index"].cpu(), shard.view)
            batch["input"] = view_room.per_row(job.view, batch["input"], seeds)
    return batch


def probe(job: Job) -> dict[str, Any]:
    """Ask about two rows, so that what cannot work is known before anything is written."""
    part = next(part for part in job.parts if len(job.parts[part]))
    count = min(2, len(job.parts[part]))
    batch = _seen(job, Shard(part, 0, 0, 0, count, ""), job.parts[part].gather(torch.arange(count)))
    return shards_on_disk.outputs(_answers(job)(batch["input"], count, f"the first {part} rows"))


def _answers(job: Job) -> Answers:
    classes = len(next(iter(job.parts.values())).classes)
    return Answers(job.teacher, job.keep, job.dtype, temperature=job.temperature, classes=classes)


class TensorWriter:
    """Writes shards of tensors."""

    def __init__(self, job: Job, about: dict[str, Any]) -> None:
        self.job, self.expected, self.answers = job, about["outputs"], _answers(job)

    def __call__(self, shard: Shard, bar: Bar) -> None:
        """Ask about every row of a shard and write it."""
        whole: dict[str, Tensor] = {}
        pieces: list[dict[str, Tensor]] = []
        for start, batch, where in _batches(self.job, shard):
            count = min(self.job.batch_size, shard.rows - start)
            kept = self.answers(batch["input"], count, where)
            got = shards_on_disk.outputs(kept)
            if got != self.expected:
                name = next(n for n in self.expected if got.get(n) != self.expected[n])
                raise ShapeError(
                    f"The teacher's {name} became {got.get(name)} per row at {where}; so far they were {self.expected[name]}. "
                    "A store keeps answers of one shape: pad the inputs to one size. The shards before stay as they are."
                )
            if self.job.keep.kind == "boxes":
                pieces.append(kept)
            for name, value in kept.items() if self.job.keep.kind != "boxes" else ():
                if name not in whole:
                    whole[name] = value.new_empty((shard.rows, *value.shape[1:]))
                whole[name][start : start + count] = value
            bar.add(count, f"{shard.part}, view {shard.view}")
        if pieces:
            whole = {name: torch.cat([piece[name] for piece in pieces]) for name in self.expected}
        shards_on_disk.write(self.job.out, shard, whole)
