"""Checkpoints: safetensors and JSON, written whole or not at all, checked before they are believed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tutelage import files
from tutelage.errors import CheckpointError

_FORMAT = 2
_TENSOR = "tensor:"


def flatten(tree: Any, path: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Split a nested state into JSON and tensors.

    Args:
        tree: dictionaries, lists, tuples, numbers, strings, booleans, None and tensors.
        path: name of the root, the prefix of the tensors' names.

    Returns:
        A JSON value, and the tensors by name. Dictionaries become lists of pairs, so that keys keep their type.

    Raises:
        CheckpointError: if the state holds anything else.
    """
    if isinstance(tree, Tensor):
        return _TENSOR + path, {path: tree}
    if tree is None or isinstance(tree, bool | int | float):
        return tree, {}
    if isinstance(tree, str):
        return "text:" + tree, {}
    tensors: dict[str, Tensor] = {}
    if isinstance(tree, dict):
        pairs = []
        for key, value in tree.items():
            if not isinstance(key, str | int):
                raise CheckpointError(f"A checkpoint cannot hold the key {key!r} at '{path}': keys are strings or integers.")
            plain, found = flatten(value, f"{path}/{key}" if path else str(key))
            pairs.append([key, plain])
            tensors |= found
        return {"pairs": pairs}, tensors
    if isinstance(tree, list | tuple):
        items = []
        for number, value in enumerate(tree):
            plain, found = flatten(value, f"{path}/{number}")
            items.append(plain)
            tensors |= found
        return items, tensors
    raise CheckpointError(
        f"A checkpoint cannot hold '{path}' of type {type(tree).__name__}: "
        "only tensors, numbers, strings, lists and dictionaries can be saved."
    )


def unflatten(plain: Any, tensors: dict[str, Tensor]) -> Any:
    """Put a state that `flatten` split together again (tuples come back as lists)."""
    if isinstance(plain, str):
        return tensors[plain.removeprefix(_TENSOR)] if plain.startswith(_TENSOR) else plain.removeprefix("text:")
    if isinstance(plain, dict):
        return {key: unflatten(value, tensors) for key, value in plain["pairs"]}
    if isinstance(plain, list):
        return [unflatten(value, tensors) for value in plain]
    return plain


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors; those that share memory are written each on their own."""
    ready: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        if pointer in seen or tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size():
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        ready[name] = tensor
    save_file(ready, path)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint that was read and found whole."""

    path: Path
    step: int
    state: Any


class Checkpoints:
    """The checkpoints of one training: a folder `step-N` each, the last two and the best kept.

    Args:
        directory: folder that holds them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._constant_digest: str | None = None

    def paths(self) -> list[Path]:
        """Return the checkpoints that exist, oldest first."""
        return sorted(p for p in self.directory.glob("step-*") if p.is_dir())

    def save(self, step: int, state: dict[str, Any], *, constant: dict[str, Tensor] | None = None, keep: tuple[int, ...] = ()) -> Path:
        """Write a checkpoint, then remove all but the last two and those to keep.

        Args:
            step: optimizer steps done.
            state: nested state (see `flatten`).
            constant: tensors that never change in this training (frozen teachers): written once, beside the checkpoints.
            keep: further steps to keep (the best).

        Returns:
            Its folder.

        Raises:
            CheckpointError: if it cannot be written (disk full, say); earlier checkpoints stay.
        """
        path = self.directory / f"step-{step:09d}"
        try:
            if constant and self._constant_digest is None:
                self._constant_digest = self._save_constant(constant)
            with files.replacing(path) as temporary:
                temporary.mkdir(parents=True)
                plain, tensors = flatten(state)
                save_tensors(temporary / "state.safetensors", tensors)
                body = {
                    "format": _FORMAT,
                    "step": step,
                    "tensors": files.block_sha256(temporary / "state.safetensors", flush=True),
                    "constant": self._constant_digest,
                    "state": plain,
                }
                text = json.dumps(body)
                (temporary / "state.json").write_text(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": text}))
        except (OSError, SafetensorError) as error:
            kept = self.paths()
            last = f"the last good one is {kept[-1]}" if kept else "none was written before"
            raise CheckpointError(
                f"Cannot write the checkpoint of step {step} to {path}: {error}. Free some space and resume; {last}."
            ) from error
        stay = {p.name for p in self.paths()[-2:]} | {f"step-{s:09d}" for s in keep}
        for old in self.paths():
            if old.name not in stay:
                shutil.rmtree(old, ignore_errors=True)
        return path

    def _save_constant(self, constant: dict[str, Tensor]) -> str:
        path = self.directory / "constant.safetensors"
        with files.replacing(path) as temporary:
            save_tensors(temporary, constant)
        return files.block_sha256(path)

    def read(self, path: Path) -> Checkpoint:
        """Read one checkpoint and check that it is whole.

        Raises:
            CheckpointError: if it is truncated, altered, or of another format.
        """
        try:
            outer = json.loads((path / "state.json").read_text())
            if hashlib.sha256(outer["body"].encode()).hexdigest() != outer["sha256"]:
                raise CheckpointError(f"Checkpoint {path} was altered: state.json does not match its checksum.")
            body = json.loads(outer["body"])
            if body["format"] != _FORMAT:
                raise CheckpointError(f"Checkpoint {path} has format {body['format']}, this version reads {_FORMAT}.")
            if files.block_sha256(path / "state.safetensors") != body["tensors"]:
                raise CheckpointError(f"Checkpoint {path} was truncated or altered: state.safetensors does not match its checksum.")
            tensors = load_file(path / "state.safetensors")
            state = unflatten(body["state"], tensors)
            if body["constant"] is not None:
                constant_path = self.directory / "constant.safetensors"
                if files.block_sha256(constant_path) != body["constant"]:
                    raise CheckpointError(
                        f"{constant_path} (the frozen teachers) was truncated or altered: it does not match its checksum."
                    )
                state["method"] = state["method"] | load_file(constant_path)
                self._constant_digest = body["constant"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise CheckpointError(f"Checkpoint {path} cannot be read: {error}") from error
        return Checkpoint(path, int(body["step"]), state)

    def latest(self, use: Callable[[Checkpoint], object] = lambda found: None) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest checkpoint that is whole and fits, and what is wrong with the newer ones.

        Args:
            use: is called with each candidate, and raises a `CheckpointError` if it does not fit.

        Raises:
            CheckpointError: if there are checkpoints and none can be used.
        """
        problems: list[str] = []
        for path in reversed(self.paths()):
            try:
                found = self.read(path)
                use(found)
                return found, problems
            except CheckpointError as error:
                problems.append(str(error))
        if problems:
            raise CheckpointError("No checkpoint can be used. " + " ".join(problems) + " Start again with another output directory.")
        return None, problems


def load_method(method: torch.nn.Module, state: dict[str, Tensor], origin: Path) -> None:
    """Load a method's tensors and name what does not fit.

    Raises:
        CheckpointError: if the checkpoint is of another model.
    """
    own = method.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}" for k in own.keys() & state.keys() if own[k].shape != state[k].shape
    ]
    if missing or extra or shapes:
        told = [
            f"{what}: {', '.join(names[:3])}"
            for what, names in (("missing", missing), ("unknown", extra), ("other shape", shapes))
            if names
        ]
        raise CheckpointError(f"Checkpoint {origin} is of another model ({'; '.join(told)}). Use the options that it was trained with.")
    method.load_state_dict(state)
