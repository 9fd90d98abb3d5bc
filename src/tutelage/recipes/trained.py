"""The models that a run trained, in its directory: written with what is needed to build them again, and built again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from tutelage import files, models
from tutelage.data import DataSet
from tutelage.errors import CheckpointError, OptionError, SpecError
from tutelage.train.checkpoint import save_tensors

SCHEMES = {"run:": "student", "teacher-of:": "teacher"}
"""Specifications of models of an earlier run, and which of its models they name."""


def save(directory: Path, role: str, model: nn.Module, spec: Any, data: DataSet, *, class_order: bool = False) -> None:
    """Write a trained model: `ROLE.safetensors`, and `ROLE.json` with what is needed to build it again.

    Args:
        directory: the run's directory.
        role: "student" or "teacher".
        model: the model.
        spec: the specification it was built from; a live model is noted as such and can be loaded by hand only.
        data: the data set it was trained for.
        class_order: whether the model is `Adapted`, around that of the specification, to put its classes into the data's order.
    """
    weights = directory / f"{role}.safetensors"
    with files.replacing(weights) as temporary:
        save_tensors(temporary, model.state_dict())
    about = {
        "spec": _origin(spec),
        "model": type(model).__name__,
        "num_classes": data.num_classes,
        "classes": list(data.classes),
        "input_shape": list(data.shape),
        "weights": files.sha256(weights),
    }
    if class_order and isinstance(model, models.Adapted) and model.class_order is not None:
        about["class_order"] = model.class_order.tolist()
    files.write_json(directory / f"{role}.json", about)


def _origin(spec: Any) -> str | None:
    """Return the specification of the architecture: of a model of an earlier run, that which it was built from."""
    if not isinstance(spec, str):
        return None
    for scheme, role in SCHEMES.items():
        if spec.startswith(scheme):
            origin: str | None = read(Path(spec.removeprefix(scheme)), role)["spec"]
            return origin
    return spec


def load(directory: Path, role: str, data: DataSet | None = None) -> nn.Module:
    """Build a model of a run of `tutelage distill` with its trained weights.

    Args:
        directory: the run.
        role: "student" or "teacher".
        data: if given, a data set whose classes and inputs it must fit.

    Raises:
        SpecError: if the run has none, or one that was a live model.
        CheckpointError: if its weights are damaged.
        OptionError: if it was trained for other data.
    """
    about = read(directory, role)
    weights = directory / f"{role}.safetensors"
    if about["spec"] is None:
        raise SpecError(f"The {role} of {directory} was a live {about['model']}: build it yourself and load {weights}.")
    if data is not None and (list(data.classes) != about["classes"] or list(data.shape) != about["input_shape"]):
        raise OptionError(
            f"The {role} of {directory} takes inputs of shape {tuple(about['input_shape'])} in {about['num_classes']} classes; "
            f"'{data.name}' has shape {data.shape} in {data.num_classes} classes {', '.join(data.classes[:5])}..."
        )
    if not weights.is_file() or files.sha256(weights) != about["weights"]:
        raise CheckpointError(f"{weights} is missing, truncated or altered. Run the distillation again with --resume.")
    spec, _, query = about["spec"].partition("?")
    kept = "&".join(part for part in query.split("&") if part and not part.startswith(("pretrained=", "weights=")))
    model = models.build(
        f"{spec}?{kept}" if kept else spec, num_classes=about["num_classes"], input_shape=tuple(about["input_shape"]), role="student"
    )
    if "class_order" in about:
        model = models.Adapted(model, class_order=about["class_order"])
    model.load_state_dict(load_file(weights))
    return model.eval()


def read(directory: Path, role: str) -> dict[str, Any]:
    """Read what a run says about a model that it trained.

    Args:
        directory: the run.
        role: "student" or "teacher".

    Raises:
        SpecError: if the directory is not a run with such a model.
    """
    path = directory / f"{role}.json"
    if role == "teacher" and not path.exists() and (directory / "student.json").exists():
        raise SpecError(f"The run {directory} did not train its teacher, so it holds none: give that teacher's own specification.")
    try:
        about: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"{directory} is not a finished run of 'tutelage distill': {path.name} cannot be read ({error}).") from error
    return about
