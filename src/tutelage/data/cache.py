"""The cache of decoded data: files written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np

from tutelage.errors import DataError
from tutelage.files import replacing


def directory() -> Path:
    """Return the folder of the cache, made when absent: `$TUTELAGE_CACHE`, or else `~/.cache/tutelage`."""
    named = os.environ.get("TUTELAGE_CACHE")
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "tutelage"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The cache folder '{folder}' cannot be made ({error}). Set TUTELAGE_CACHE to a folder that can be written."
        ) from error
    return folder


def save_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays to a compressed `.npz` that exists only when complete."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_npz(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a cached `.npz`, or `None` when it is absent or damaged and has to be made again."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def checksum(path: Path, algorithm: str) -> str:
    """Return the checksum of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def download(url: str, path: Path, *, algorithm: str, digest: str, timeout: float = 30.0) -> None:
    """Fetch a file, check it, and only then give it its name.

    Args:
        url: where it is.
        path: where it goes.
        algorithm: name of the checksum, as `hashlib` knows it.
        digest: the expected checksum, hexadecimal.
        timeout: seconds without an answer after which it fails.

    Raises:
        DataError: if the address does not answer or the file has another checksum.
    """
    with replacing(path) as temporary:
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer, temporary.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
        except (OSError, urllib.error.URLError) as error:
            raise DataError(f"'{url}' could not be fetched: {error}.") from error
        got = checksum(temporary, algorithm)
        if got != digest:
            raise DataError(f"'{url}' has the {algorithm} checksum {got}; expected {digest}. It was not kept.")
