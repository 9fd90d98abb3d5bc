"""Fashion-MNIST and any folder of files in the same IDX format."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from tutelage.data import cache
from tutelage.data.arrays import Arrays
from tutelage.data.source import Source
from tutelage.errors import DataError

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SYSTEM = Path("/usr/share/datasets/fashion-mnist")
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def fashion_mnist(folder: Path | None = None) -> Source:
    """Read the 60,000 training and 10,000 test images of Fashion-MNIST, 28x28 pixels, 10 classes.

    Without a folder they come from the system package `dataset-fashion-mnist`, else from the cache, else from their
    official address.

    Args:
        folder: where `train-images-idx3-ubyte.gz` and its three siblings lie, packed or not.

    Returns:
        The source, with the official test part.

    Raises:
        DataError: if a file is missing or damaged, or cannot be fetched.

    Source: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms, arXiv:1708.07747.
    """
    folder = folder or (SYSTEM if SYSTEM.is_dir() else _fetched())
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", dimensions=3)
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", dimensions=1)
        if len(images) != len(labels):
            raise DataError(f"'{folder}' has {len(images)} {part} images but {len(labels)} labels: expected as many.")
        parts[part] = Arrays({"input": images[:, None], "label": labels.astype(np.int64)}, CLASSES, f"fashion-mnist {part}")
    return Source("fashion-mnist", parts)


def read_idx(path: Path, *, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes.

    Args:
        path: the file, ending in `.gz`; when it is absent the same name without that ending is read.
        dimensions: expected number of dimensions.

    Returns:
        uint8 array that cannot be written to.

    Raises:
        DataError: if the file is missing, truncated or of another format.
    """
    plain = path.with_suffix("")
    try:
        content = gzip.decompress(path.read_bytes()) if path.exists() or not plain.exists() else plain.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"'{path}' does not exist: expected the four IDX files of Fashion-MNIST beside each other.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' is truncated or not a gzip file ({error}). Fetch it again.") from error
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(
            f"'{path}' is not an IDX file of bytes with {dimensions} dimension(s): it starts with {content[:4].hex() or 'nothing'}."
        )
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, 4))
    if len(content) - start != int(np.prod(shape)):
        raise DataError(f"'{path}' holds {len(content) - start} bytes of data; its header promises {int(np.prod(shape))}. Fetch it again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _fetched() -> Path:
    folder = cache.directory() / "fashion-mnist"
    folder.mkdir(exist_ok=True)
    for name, digest in _MD5.items():
        path = folder / name
        if path.exists() and cache.checksum(path, "md5") == digest:
            continue
        try:
            cache.download(f"{ADDRESS}/{name}", path, algorithm="md5", digest=digest)
        except DataError as error:
            raise DataError(
                f"Fashion-MNIST is not on this machine and could not be fetched. {error} Install the system package with "
                "'apt-get install dataset-fashion-mnist', or name a folder of its files: fashion-mnist:PATH."
            ) from error
    return folder
