"""Fingerprints: which teacher labelled, so that a store of another one is not taken for it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from torch import nn

from tutelage import models
from tutelage.teachers import Frozen

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def bare(teacher: Any) -> Any:
    """Return the model inside a frozen teacher: the engine that runs it does not make it another one."""
    while isinstance(teacher, Frozen):
        teacher = teacher.model
    return teacher


def engine_of(teacher: Any) -> str:
    """Return the engine that answers for a teacher, or that was asked for while none is chosen; `eager` for plain modules."""
    return (teacher.chosen or teacher.engine) if isinstance(teacher, Frozen) else "eager"


def fingerprint(model: Any) -> str:
    """Identify a teacher by its weights and its structure.

    Wrappers around ONNX files and scikit-learn classifiers keep a digest of the file or the parameters among their buffers, so that they
    are told apart too. What is no module (a chat client) is known by its own attribute `fingerprint` (a text) where it has one, else by its
    class and `repr`.

    Args:
        model: the teacher, on any device; of a `Frozen` teacher the model inside it counts, whatever its engine.

    Returns:
        SHA-256 in hexadecimal.
    """
    model = bare(model)
    structure = _ADDRESS.sub("", f"{type(model).__qualname__}\n{model!r}")
    own = getattr(model, "fingerprint", None)
    if isinstance(model, nn.Module):
        state = models.fingerprint(model)
    elif isinstance(own, str):
        structure, state = type(model).__qualname__, own
    else:
        state = ""
    return hashlib.sha256(f"{structure}\n{state}".encode()).hexdigest()
