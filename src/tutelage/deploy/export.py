"""From a PyTorch model to an ONNX file that was seen to answer the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.deploy.runtime import OnnxModel
from tutelage.errors import ShapeError, TutelageError, optional
from tutelage.files import replacing
from tutelage.models.onnx_graph import traced
from tutelage.models.quiet import quiet


class ExportError(TutelageError):
    """A model that cannot be shipped: it does not export, or what was exported answers otherwise."""


def export_onnx(
    model: nn.Module,
    sample_input: Tensor | list[str],
    path: str | Path,
    *,
    classes: Sequence[str] = (),
    input_range: tuple[float, float] | None = None,
    bound: float = 1e-4,
) -> float:
    """Write a model as ONNX with a free batch size, and check that onnxruntime answers as PyTorch does.

    Args:
        model: takes float32 `[N, ...]` and returns logits `[N, C]`. It is not changed.
        sample_input: real inputs `[N, ...]`, on all of which the answers are compared.
        path: file to write; it appears only when the check has passed.
        classes: names of the classes, kept in the file.
        input_range: lowest and highest value of an input ((0, 1) for images), kept in the file; `None` where any number is allowed.
        bound: largest difference of a logit that is accepted, as a share of the largest logit (or absolute below a largest logit of 1).

    Returns:
        The largest absolute difference between the two answers.

    Raises:
        ShapeError: if the inputs are no batch of numbers.
        ExportError: if the model takes text, does not export, or the answers differ by more than the bound.
        MissingExtra: if the extra `export` is not installed.
    """
    if isinstance(sample_input, list):
        raise ExportError(
            "This student reads text: its tokenizer is a program and has no ONNX form. Ship it with save_pretrained, or export its inner "
            "network, which reads token numbers, with torch.onnx."
        )
    if not isinstance(sample_input, Tensor) or sample_input.ndim < 2 or not len(sample_input):
        got = tuple(sample_input.shape) if isinstance(sample_input, Tensor) else type(sample_input).__name__
        raise ShapeError(f"sample_input: got {got}; expected a tensor of real inputs, [N, ...] with N of at least 1.")
    optional("onnxscript", "export")
    onnx = optional("onnx", "export")
    plain = copy.deepcopy(model).cpu().eval()
    inputs = sample_input.detach().cpu().float()
    # A batch of one would be compiled into the graph as a constant.
    example = inputs[:2] if len(inputs) > 1 else inputs.expand(2, *inputs.shape[1:]).contiguous()
    with torch.no_grad():
        expected = plain(inputs)
    try:
        with quiet(), torch.no_grad():
            proto = traced(plain, example)
    except Exception as error:  # the exporter raises many classes, some of them private
        cause = str(error).strip().splitlines()
        raise ExportError(
            f"{type(model).__name__} does not export to ONNX: {type(error).__name__}: {cause[0] if cause else ''}. "
            "Its forward must be traceable by torch.export: no Python branches on values, no batch size written in the code."
        ) from error
    describe(proto, {"classes": list(classes), "input_shape": list(inputs.shape[1:]), "input_range": input_range})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        onnx.save_model(proto, str(temporary))
        exported = OnnxModel(temporary)
        answer, single = exported(inputs), exported(inputs[:1])
        if answer.shape != expected.shape:
            raise ExportError(
                f"The exported model answers {tuple(answer.shape)} where PyTorch answers {tuple(expected.shape)}; '{path}' was not written."
            )
        difference = max(largest_difference(answer, expected), largest_difference(single, expected[:1]))
        allowed = bound * max(1.0, float(expected.abs().max()))
        if not difference <= allowed:
            raise ExportError(
                f"The exported model differs from PyTorch by {difference:.3g} in a logit on {len(inputs)} real inputs; "
                f"at most {allowed:.3g} is accepted (bound {bound:g} of the largest logit), so '{path}' was not written. "
                "Give a larger bound if that is small enough."
            )
    return difference


def largest_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference between two tensors of one shape."""
    return float((a.double() - b.double()).abs().max())


def describe(proto: Any, entries: dict[str, Any]) -> None:
    """Write entries into an ONNX model's own metadata, as JSON; those that are empty are left out.

    Args:
        proto: the `onnx.ModelProto`, changed in place.
        entries: values by name.
    """
    kept = {item.key: item.value for item in proto.metadata_props}
    kept |= {key: json.dumps(value) for key, value in entries.items() if value not in (None, [])}
    del proto.metadata_props[:]
    for key, text in kept.items():
        proto.metadata_props.add(key=key, value=text)
