"""What a number was measured with: versions read from installed metadata, so that nothing heavy is imported."""

from __future__ import annotations

import os
import platform

_PACKAGES = ("tutelage", "torch", "numpy", "lightning-fabric", "torchvision", "timm", "transformers", "scikit-learn", "onnxruntime")


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries that change numbers, and the kind of machine."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return found
