"""What a worker of a cluster needs to label like the process that sent it: the order, and the job made from it."""

from __future__ import annotations

import copy
import dataclasses
import json
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from tutelage import models
from tutelage.data import Arrays
from tutelage.data import load as load_data
from tutelage.errors import StoreError, TutelageError
from tutelage.store import manifest
from tutelage.store.answers import answering
from tutelage.store.labelling import TensorWriter, label_shards
from tutelage.store.layout import MANIFEST, Shard
from tutelage.store.prepare import Job

LOOK = 30.0
"""Seconds for which a store that all share is looked for: network file systems are late."""


@dataclass(frozen=True)
class Order:
    """Everything from which a process makes its job.

    Args:
        teacher: a specification, a function that builds the teacher, or the teacher.
        weights: safetensors file for what the function builds.
        data: a specification, a data set or arrays.
        load: how a specification of data is loaded.
        device: where workers answer; by default where the teacher is.
        threads: threads of a worker.
        shared: whether workers write into the store; by default they look whether they see it.
        settings: the other arguments of `Job.make`.
        names: what the manifest calls the teacher and the data.
    """

    teacher: Any
    weights: str | None
    data: Any
    load: Mapping[str, Any]
    device: str | None
    threads: int
    shared: bool | None
    settings: Mapping[str, Any]
    names: Mapping[str, Any]

    def job(self, out: Path, device: str | None = None) -> Job:
        """Build the teacher, load the data and check what is asked for.

        Args:
            out: folder of the store.
            device: where the teacher goes.
        """
        data = load_data(self.data, **self.load) if isinstance(self.data, str) else self.data
        parts = {"train": data} if isinstance(data, Arrays) else dict(data.parts)
        teacher, first = self.teacher, next(iter(parts.values()))
        if isinstance(teacher, str):
            teacher = models.build(
                teacher, num_classes=first.num_classes, input_shape=first.shape, role="teacher", classes=first.classes or None
            )
        elif not isinstance(teacher, nn.Module):
            teacher = teacher()
        if self.weights is not None:
            models.load_weights(teacher, self.weights)
        names = {**self.names, "data": self.names["data"] or data.name, "load": dict(self.load), "data_set": data.name}
        job = Job.make(teacher, parts, out, **self.settings, rank=0, world=1, names=names)
        job.device = next((t.device for t in teacher.parameters()), torch.device("cpu")) if device is None else torch.device(device)
        teacher.to(job.device)
        return job

    def portable(self) -> Order:
        """Return the order with a live teacher on the CPU, because a worker may have no other device."""
        if not isinstance(self.teacher, nn.Module):
            return self
        here = all(t.device.type == "cpu" for t in (*self.teacher.parameters(), *self.teacher.buffers()))
        return self if here else dataclasses.replace(self, teacher=copy.deepcopy(self.teacher).cpu())


class Worker:
    """Labels shards in a process of its own.

    Args:
        order: from which it makes its job.
        out: folder of the store.
        about: the manifest.

    Raises:
        StoreError: if it does not see a store that it should see, or comes to another teacher or other data.
    """

    def __init__(self, order: Order, out: Path, about: dict[str, Any]) -> None:
        torch.set_num_threads(order.threads)
        self.about = about
        self.here = sees(out, about, LOOK if order.shared else 0.0) if order.shared is not False else False
        if order.shared and not self.here:
            raise StoreError(
                f"The worker on {socket.gethostname()} does not see the store {out}. Put it where all workers see it, or leave shared= out."
            )
        self.job = order.job(out, order.device)
        self.write = TensorWriter(self.job, about)
        found = manifest.differences(about, json.loads(json.dumps(self.job.manifest())))
        if found:
            raise StoreError(
                f"The worker on {socket.gethostname()} would label otherwise than was begun: {'; '.join(found)}. Every worker must come to "
                "the same teacher and data: give specifications with files that all workers see (weights=), or the objects themselves."
            )

    def label(self, shard: Shard) -> bytes:
        """Label a shard.

        Args:
            shard: which.

        Returns:
            Nothing if it lies in the store now, else its contents.

        Raises:
            TutelageError: as `tutelage.store.label`.
        """
        if self.here:
            self._label(shard)
            return b""
        with tempfile.TemporaryDirectory(prefix="label-") as folder:
            self.job.out = Path(folder)
            self._label(shard)
            return shard.file(self.job.out).read_bytes()

    def _label(self, shard: Shard) -> None:
        with answering(self.job.teacher):
            label_shards(self.job, self.about, Console(stderr=True), self.write, own=[shard])


def sees(out: Path, about: dict[str, Any], seconds: float) -> bool:
    """Whether a store with this manifest lies here, or appears within some seconds.

    Args:
        out: folder of the store.
        about: its manifest.
        seconds: how long to look.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            if (out / MANIFEST).exists() and manifest.read(out) == about:
                return True
        except TutelageError:
            pass
        if time.monotonic() >= until:
            return False
        time.sleep(0.2)
