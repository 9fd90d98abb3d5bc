"""File formats that a label store could be kept in, each written and read in the way that serves random rows best."""

from benchmarks.kinds.arrays import HDF5, Npy, Safetensors, Zarr
from benchmarks.kinds.base import Batch, Candidate, Reader
from benchmarks.kinds.tables import Arrow, ArrowViews, HubDataset, Lance, Parquet

CANDIDATES: tuple[Candidate, ...] = (Safetensors(), Npy(), ArrowViews(), Arrow(), HubDataset(), Parquet(), Zarr(), Lance(), HDF5())

__all__ = ["CANDIDATES", "Batch", "Candidate", "Reader"]
