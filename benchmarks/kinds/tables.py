"""Formats of tables: Arrow, also through datasets, Parquet and Lance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kinds.base import Batch, Candidate, Reader, gathered


def table(shards: list[Batch]) -> Any:
    """Return shards as an Arrow table with one chunk per shard and fixed-size lists as columns."""
    import pyarrow as pa

    def column(array: np.ndarray) -> Any:
        flat = pa.array(array.reshape(-1))
        return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])

    return pa.table({name: pa.chunked_array([column(shard[name]) for shard in shards]) for name in shards[0]})


def dense(column: Any) -> np.ndarray:
    """Return an Arrow column of numbers or fixed-size lists as one NumPy array."""
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    if not pa.types.is_fixed_size_list(array.type):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    return np.asarray(array.flatten().to_numpy(zero_copy_only=False)).reshape(len(array), -1)


class Arrow(Candidate):
    """The Arrow IPC file format (Feather version 2)."""

    name = "Arrow IPC, take"
    modules = ("pyarrow", "pandas")
    layout = "one IPC (Feather 2) file, a record batch per shard, memory-mapped; rows by Table.take"
    remote = (
        "Arrow's file systems (S3, GCS, any fsspec) open it; the footer lists where record batches lie, and a record batch of the chosen "
        "columns is the least that is fetched."
    )
    pages = ("https://arrow.apache.org/docs/python/ipc.html", "https://arrow.apache.org/docs/python/filesystems.html")

    def write(self, folder: Path, shards: list[Batch]) -> None:
        import pyarrow as pa

        whole = table(shards)
        with pa.OSFile(str(folder / "all.arrow"), "wb") as file, pa.ipc.new_file(file, whole.schema) as writer:
            writer.write_table(whole)

    def load(self, folder: Path) -> Any:
        """Return the memory-mapped table."""
        import pyarrow as pa

        return pa.ipc.open_file(pa.memory_map(str(folder / "all.arrow"))).read_all()

    def open(self, folder: Path) -> Reader:
        import pyarrow as pa

        whole = self.load(folder)

        def read(rows: np.ndarray) -> Batch:
            taken = whole.take(pa.array(rows))
            return {name: dense(taken[name]) for name in taken.column_names}

        return read


class ArrowViews(Arrow):
    """The same file, read around Arrow's own kernels."""

    name = "Arrow IPC, views"
    layout = "the same file, its buffers viewed as NumPy arrays without a copy and gathered as those of .npy are"

    def open(self, folder: Path) -> Reader:
        whole = self.load(folder)
        batches = [{name: dense(batch[name]) for name in batch.schema.names} for batch in whole.to_batches()]
        return gathered(batches, len(next(iter(batches[0].values()))))


class HubDataset(Arrow):
    """The same table through the library `datasets`."""

    name = "Arrow, datasets"
    modules = ("datasets", "pyarrow")
    layout = "the same table as a datasets.Dataset with format 'arrow', dataset[rows]"
    remote = "save_to_disk and load_from_disk take fsspec addresses; rows are read from the local copy, or streamed in order."
    pages = ("https://huggingface.co/docs/datasets/filesystems",)

    def open(self, folder: Path) -> Reader:
        import datasets

        held = datasets.Dataset(datasets.table.MemoryMappedTable(self.load(folder), str(folder / "all.arrow"))).with_format("arrow")

        def read(rows: np.ndarray) -> Batch:
            taken = held[rows]
            return {name: dense(taken[name]) for name in taken.column_names}

        return read


class Parquet(Candidate):
    """Parquet with rows as fixed-size binary."""

    name = "Parquet"
    modules = ("pyarrow", "pandas")
    layout = "one file, uncompressed row groups of 1,024, rows as fixed-size binary; the row groups that a batch needs are read whole"
    remote = (
        "Widely served: the footer, then the chosen columns of the chosen row groups by coalesced range requests. A row group is the least "
        "that is decoded for one row."
    )
    pages = ("https://arrow.apache.org/docs/python/parquet.html",)
    group = 1024

    def write(self, folder: Path, shards: list[Batch]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        def column(name: str, shard: Batch) -> Any:
            array = shard[name]
            return (
                pa.array(array)
                if array.ndim == 1
                else pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(array.shape[1] * array.itemsize), len(array), [None, pa.py_buffer(array)]
                )
            )

        about = {name: f"{array.dtype.str}" for name, array in shards[0].items()}
        schema = pa.schema([(name, column(name, shards[0]).type) for name in about], metadata=about)
        file = folder / "all.parquet"
        with parquet.ParquetWriter(file, schema, compression="none", use_dictionary=False, write_statistics=False) as writer:
            for shard in shards:
                writer.write_table(pa.table([column(name, shard) for name in about], schema=schema), row_group_size=self.group)

    def open(self, folder: Path) -> Reader:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        file = parquet.ParquetFile(folder / "all.parquet", memory_map=True)
        kinds = {name.decode(): kind.decode() for name, kind in file.schema_arrow.metadata.items() if not name.startswith(b"ARROW")}

        def read(rows: np.ndarray) -> Batch:
            which, local = np.divmod(rows, self.group)
            groups, place = np.unique(which, return_inverse=True)
            taken = file.read_row_groups(groups.tolist(), use_threads=False).combine_chunks()
            batch = {}
            for name, kind in kinds.items():
                column = taken[name].chunk(0)
                if pa.types.is_fixed_size_binary(column.type):
                    held = np.frombuffer(column.buffers()[1], kind).reshape(len(column), -1)
                else:
                    held = column.to_numpy()
                batch[name] = held[place * self.group + local]
            return batch

        return read


class Lance(Candidate):
    """Lance."""

    name = "Lance"
    modules = ("lance", "pyarrow", "pandas")
    layout = "one data set of fixed-size lists, LanceDataset.take of the sorted rows"
    remote = (
        "Made for random access, and opens object-store addresses (S3, GCS and Azure in its default build) itself: take becomes concurrent "
        "small range reads."
    )
    pages = ("https://lancedb.github.io/lance-python-doc/dataset.html", "https://docs.rs/crate/lance/latest/features")

    def write(self, folder: Path, shards: list[Batch]) -> None:
        import lance

        lance.write_dataset(table(shards), str(folder / "all.lance"))

    def open(self, folder: Path) -> Reader:
        import lance

        held = lance.dataset(str(folder / "all.lance"))

        def read(rows: np.ndarray) -> Batch:
            wanted, place = np.unique(rows, return_inverse=True)
            taken = held.take(wanted)
            return {name: dense(taken[name])[place] for name in taken.column_names}

        return read
