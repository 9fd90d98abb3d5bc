"""Formats of plain arrays: .npy, safetensors, Zarr and HDF5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kinds.base import Batch, Candidate, Reader, gathered

KINDS = {"F16": np.float16, "F32": np.float32, "U16": np.uint16}


class Npy(Candidate):
    """A `.npy` file per shard and output."""

    name = "NumPy .npy"
    modules = ("numpy",)
    layout = "one .npy per shard and output, np.load(mmap_mode='r')"
    remote = (
        "No remote reader of its own. The header is short, so a range request per row and output is possible, but is left to the user: "
        "whole shards are fetched."
    )
    pages = ("https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html",)

    def write(self, folder: Path, shards: list[Batch]) -> None:
        for number, shard in enumerate(shards):
            for name, array in shard.items():
                np.save(folder / f"{number:05d}-{name}.npy", array)

    def open(self, folder: Path) -> Reader:
        shards: dict[str, Batch] = {}
        for path in sorted(folder.glob("*.npy")):
            number, _, name = path.stem.partition("-")
            shards.setdefault(number, {})[name] = np.asarray(np.load(path, mmap_mode="r"))
        listed = list(shards.values())
        return gathered(listed, len(next(iter(listed[0].values()))))


class Safetensors(Candidate):
    """A `.safetensors` file per shard."""

    name = "safetensors"
    modules = ("safetensors",)
    layout = "one file per shard, memory-mapped by the offsets in its header"
    remote = (
        "The header is 8 bytes of length and a JSON of types, shapes and offsets, which its documentation fetches by two HTTP range "
        "requests; a row is then one range per output. A shard is one object, to be fetched whole, checked by one checksum, kept locally."
    )
    pages = ("https://huggingface.co/docs/safetensors/metadata_parsing",)

    def write(self, folder: Path, shards: list[Batch]) -> None:
        from safetensors.numpy import save_file

        for number, shard in enumerate(shards):
            save_file(shard, folder / f"{number:05d}.safetensors")

    def open(self, folder: Path) -> Reader:
        shards = []
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, Any] = json.loads(file.read(length))
            whole = np.memmap(path, np.uint8, "r", offset=8 + length)
            shards.append(
                {
                    name: np.asarray(whole[slice(*about["data_offsets"])].view(KINDS[about["dtype"]]).reshape(about["shape"]))
                    for name, about in header.items()
                    if name != "__metadata__"
                }
            )
        return gathered(shards, len(next(iter(shards[0].values()))))


class Zarr(Candidate):
    """Zarr version 3."""

    name = "Zarr 3"
    modules = ("zarr",)
    layout = "an array per output, uncompressed chunks of 1,024 rows, orthogonal selection; with shards or smaller chunks it was slower"
    remote = (
        "Made for it: a chunk is an object, or a range of one with the sharding codec, read concurrently by fsspec or obstore. A chunk "
        "is the least that is decoded for one row."
    )
    pages = ("https://zarr.readthedocs.io/en/stable/user-guide/storage/",)

    def write(self, folder: Path, shards: list[Batch]) -> None:
        import zarr

        zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
        rows = sum(len(next(iter(shard.values()))) for shard in shards)
        for name, first in shards[0].items():
            array = zarr.create_array(
                folder / name,
                shape=(rows, *first.shape[1:]),
                chunks=(min(1024, rows), *first.shape[1:]),
                dtype=first.dtype,
                compressors=None,
            )
            for number, shard in enumerate(shards):
                start = number * len(first)
                array[start : start + len(shard[name])] = shard[name]

    def open(self, folder: Path) -> Reader:
        import zarr

        zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
        arrays = {path.name: zarr.open_array(path, mode="r") for path in sorted(folder.iterdir())}
        return lambda rows: {name: np.asarray(array.oindex[rows]) for name, array in arrays.items()}


class HDF5(Candidate):
    """HDF5."""

    name = "HDF5"
    modules = ("h5py",)
    layout = "one file, a contiguous data set per output, selection of the sorted rows"
    remote = (
        "A read-only driver for S3 (ros3) in builds that have it, or any Python file object, such as one of fsspec; made for local files."
    )
    pages = ("https://docs.h5py.org/en/stable/high/file.html",)

    def write(self, folder: Path, shards: list[Batch]) -> None:
        import h5py

        rows = sum(len(next(iter(shard.values()))) for shard in shards)
        with h5py.File(folder / "all.h5", "w") as file:
            for name, first in shards[0].items():
                held = file.create_dataset(name, (rows, *first.shape[1:]), first.dtype)
                for number, shard in enumerate(shards):
                    start = number * len(first)
                    held[start : start + len(shard[name])] = shard[name]

    def open(self, folder: Path) -> Reader:
        import h5py

        file = h5py.File(folder / "all.h5", "r")

        def read(rows: np.ndarray) -> Batch:
            wanted, place = np.unique(rows, return_inverse=True)
            return {name: held[wanted][place] for name, held in file.items()}

        return read
