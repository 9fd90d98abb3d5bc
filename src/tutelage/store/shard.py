"""Shards of tensors: written with safetensors, read through a memory map."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tutelage import files
from tutelage.errors import StoreError
from tutelage.store.layout import Shard, index_file, seal, sweep

NUMPY: dict[str, Any] = {
    "F16": np.float16,
    "BF16": np.uint16,  # NumPy has no bfloat16: its bits are read and reinterpreted by torch
    "F32": np.float32,
    "F64": np.float64,
    "I64": np.int64,
    "I32": np.int32,
    "U16": np.uint16,
}
"""NumPy's type for each type of a safetensors header."""

NAMES = {"torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float32": "F32", "torch.float64": "F64"} | {
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.uint16": "U16",
}
"""The header's name of each type of torch."""


def outputs(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Describe the answers to some rows as the manifest does: the shape of one row and the type of each output."""
    return {name: {"shape": list(value.shape[1:]), "dtype": NAMES[str(value.dtype)]} for name, value in tensors.items()}


def write(root: Path, shard: Shard, tensors: dict[str, Tensor]) -> None:
    """Write a shard and declare it whole.

    Args:
        root: the store.
        shard: which.
        tensors: its outputs, on the CPU.

    Raises:
        OSError: if the disk is full or cannot be written.
    """
    file = shard.file(root)
    sweep(file.parent, file.stem)
    save(file, tensors)
    seal(root, shard)


def save(file: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as a safetensors file, whole or not at all.

    The library's own writer makes a temporary file of a random name beside the target, which a kill leaves behind for ever and nobody can
    tell from that of another rank; so the format, a header and the bytes, is written here.

    Args:
        file: where.
        tensors: by name, on the CPU.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # wide types first: all are aligned
    header, end = {}, 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        header[name] = {"dtype": NAMES[str(tensors[name].dtype)], "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with files.replacing(file) as temporary, temporary.open("wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            handle.write(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)


def trouble(root: Path, shard: Shard) -> str | None:
    """Say cheaply what is wrong with a shard: nothing (`None`), not labelled yet (`""`), or damaged (how).

    Only its declaration and its size are looked at.

    Args:
        root: the store.
        shard: which.
    """
    try:
        sealed = json.loads(shard.seal(root).read_text())
        rows, written = sealed["rows"], sealed["bytes"]
        size = shard.file(root).stat().st_size
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError) as error:
        return f"its {shard.seal(root).name} is damaged ({error})"
    if rows != shard.rows:
        return f"it holds {rows} rows, {shard.rows} belong there"
    if written != size:
        return f"it has {size} bytes, {written} were written: it was truncated or altered"
    return None


def altered(root: Path, shard: Shard) -> str | None:
    """Read a shard through and say what is wrong with it, as `trouble` does."""
    found = trouble(root, shard)
    if found is not None:
        return found
    if files.sha256(shard.file(root)) != json.loads(shard.seal(root).read_text()).get("sha256"):
        return "its checksum is not that of what was written: it was altered"
    return None


def damaged(root: Path, shard: Shard, how: str) -> StoreError:
    """Return the error for a shard that cannot be read."""
    if not how:
        return StoreError(f"{root}: shard {shard.name} is not labelled yet. Finish it: the same 'tutelage label ...' with --resume.")
    return StoreError(
        f"{root}: shard {shard.name} is corrupt: {how}. Delete {shard.file(root)} and run the same 'tutelage label ...' with --resume; "
        "the other shards stay as they are."
    )


def index_trouble(root: Path, about: dict[str, Any], part: str) -> str | None:
    """Say what is wrong with the original row numbers of a part, or `None`."""
    file = index_file(root, part)
    try:
        index = load_file(file)["index"].numpy()
    except FileNotFoundError:
        return "is missing: run the same 'tutelage label ...' with --resume"
    except (OSError, SafetensorError, KeyError) as error:
        return f"cannot be read ({error}): run the same 'tutelage label ...' with --resume"
    if hashlib.sha256(index.tobytes()).hexdigest() != about["parts"][part]["index"]:
        return "was altered: run the same 'tutelage label ...' with --resume"
    return None


class MappedShard:
    """The tensors of one shard, on disk.

    Args:
        root: the store.
        shard: which.
        expected: the outputs that the manifest names.

    Raises:
        StoreError: if the shard is not labelled yet, truncated or altered.
    """

    def __init__(self, root: Path, shard: Shard, expected: dict[str, Any]) -> None:
        how = trouble(root, shard)
        if how is not None:
            raise damaged(root, shard, how)
        try:
            whole = np.memmap(shard.file(root), dtype=np.uint8, mode="r")
            start, header = _header(whole)
            if set(header) != set(expected):
                raise ValueError(f"it holds {', '.join(sorted(header))}, {', '.join(sorted(expected))} belong there")
            # Plain arrays over the map: every operation of the subclass np.memmap costs microseconds more.
            self.arrays = {name: _array(name, whole, start, header[name], expected[name]) for name in expected}
            self.columns = tuple(self.arrays.values())
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise damaged(root, shard, f"its header does not fit ({error})") from error
        rows = {name: len(array) for name, array in self.arrays.items() if name not in _RAGGED or "counts" not in expected}
        if set(rows.values()) != {shard.rows}:
            raise damaged(root, shard, f"its tensors have {rows} rows, {shard.rows} belong there")
        if "counts" in expected:
            self.starts = np.concatenate([[0], np.cumsum(self.arrays["counts"])])
            if {len(self.arrays[name]) for name in _RAGGED} != {int(self.starts[-1])}:
                raise damaged(root, shard, "its boxes are not as many as its counts say")


_RAGGED = ("boxes", "scores", "labels")
"""Outputs with as many entries per row as `counts` says."""


def _header(whole: np.ndarray) -> tuple[int, dict[str, Any]]:
    if len(whole) < 8:
        raise ValueError("it is too short")
    length = struct.unpack("<Q", whole[:8].tobytes())[0]
    if length > len(whole) - 8:
        raise ValueError("it ends inside its header")
    header = json.loads(whole[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    return 8 + length, header


def _array(name: str, whole: np.ndarray, start: int, facts: dict[str, Any], expected: dict[str, Any]) -> np.ndarray:
    if facts["dtype"] != expected["dtype"] or facts["shape"][1:] != expected["shape"]:
        raise ValueError(
            f"'{name}' is {facts['dtype']} {facts['shape'][1:]} per row, {expected['dtype']} {expected['shape']} belongs there"
        )
    kind = np.dtype(NUMPY[facts["dtype"]])
    first, last = facts["data_offsets"]
    count = int(np.prod(facts["shape"], dtype=np.int64))
    if last - first != count * kind.itemsize or start + last > len(whole):
        raise ValueError(f"'{name}' does not fill the bytes that the header gives it")
    return np.ndarray(facts["shape"], kind, buffer=whole, offset=start + first)
