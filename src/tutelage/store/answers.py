"""From what a teacher answers to a batch to the tensors that are kept of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import DataError, OptionError, ShapeError, TutelageError, nearest
from tutelage.models import tap
from tutelage.store.keep import WIDEST, Keep
from tutelage.targets import top_k


@contextmanager
def answering(teacher: nn.Module) -> Iterator[None]:
    """Run a teacher in eval and inference mode, and put every part of it back into its own mode afterwards."""
    modes = [(part, part.training) for part in teacher.modules()]
    teacher.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, training in modes:
            part.training = training


def layer_name(teacher: nn.Module, layer: str) -> str:
    """Return a layer's name as the teacher knows it.

    Args:
        teacher: the teacher; wrappers (`Frozen`, `Adapted`) put `model.` before the names of what they hold.
        layer: its name in the network itself, or in a wrapper.

    Raises:
        OptionError: if there is no such layer; the nearest are offered.
    """
    names, prefix, inner = {name for name, _ in teacher.named_modules()}, "", teacher
    while True:
        if prefix + layer in names:
            return prefix + layer
        held = getattr(inner, "model", None)
        if not isinstance(held, nn.Module):
            known = [name for name, _ in inner.named_modules() if name]
            raise OptionError(f"The teacher ({type(inner).__name__}) has no layer '{layer}'.{nearest(layer, known)}")
        prefix, inner = prefix + "model.", held


class Answers:
    """Asks a teacher and keeps of its answer what a store keeps.

    Args:
        teacher: called on the inputs.
        keep: what is kept.
        dtype: the numbers it is kept in.
        temperature: at which `top-k` softens.
        classes: number of classes of the data; 0 where they have no names.
    """

    def __init__(self, teacher: nn.Module, keep: Keep, dtype: torch.dtype, *, temperature: float, classes: int) -> None:
        self.teacher, self.keep, self.dtype, self.temperature, self.classes = teacher, keep, dtype, temperature, classes
        self._layer = layer_name(teacher, keep.layer) if keep.kind == "features" else ""

    def __call__(self, inputs: Any, rows: int, where: str) -> dict[str, Tensor]:
        """Return what is kept of the answers to `rows` inputs.

        Args:
            inputs: a batch of inputs.
            rows: how many they are.
            where: which rows they are, for errors.

        Returns:
            Outputs by name, on the CPU.

        Raises:
            ShapeError: if the answer is not one entry per row of what is to be kept.
            DataError: if it is NaN or infinite.
            OptionError: if there is no such layer, it does not fit the dtype, or memory does not suffice.
        """
        try:
            answer = self._ask(inputs)
        except TutelageError:
            raise
        except torch.OutOfMemoryError as error:
            raise OptionError(
                f"The teacher ran out of memory at {where}. Lower --batch-size; what is labelled stays: add --resume."
            ) from error
        except Exception as error:
            described = list(inputs.shape) if isinstance(inputs, Tensor) else f"a {type(inputs).__name__} of {len(inputs)}"
            reason = str(error).strip().partition("\n")[0]
            raise ShapeError(
                f"The teacher ({type(self.teacher).__name__}) cannot run on the data's inputs {described} at {where}: "
                f"{type(error).__name__}: {reason}. "
                "State how the inputs become what it takes (size=, channels=, ... in its specification, or models.Adapted)."
            ) from error
        if self.keep.kind == "boxes":
            return _boxes(answer, rows, where, self.dtype)
        self._check_rows(answer, rows, where)
        if self.keep.kind != "top-k":
            name = "logits" if self.keep.kind == "logits" else "features"
            return {name: narrow(answer, self.dtype, name, where)}
        kept = top_k(answer, self.keep.k, temperature=self.temperature)
        if bool(torch.isnan(kept.log_rest).any()):  # a log-softmax over NaN or +inf
            narrow(answer, torch.float32, "logits", where)
        few = torch.uint16 if answer.shape[-1] <= 1 << 16 else torch.int32
        return {
            "log_probs": narrow(kept.log_probs, self.dtype, "log-probabilities", where),
            "indices": kept.indices.cpu().to(few),
            "log_rest": kept.log_rest.float().cpu(),
        }

    def _ask(self, inputs: Any) -> Any:
        if self.keep.kind != "features":
            return self.teacher(inputs)
        with tap(self.teacher, self._layer) as found:
            self.teacher(inputs)
        if self._layer not in found:
            raise OptionError(
                f"The teacher did not run its layer '{self.keep.layer}'. Name one that it runs, or give it the engine 'eager'."
            )
        return found[self._layer]

    def _check_rows(self, answer: Any, rows: int, where: str) -> None:
        what, least = (f"layer '{self.keep.layer}'", 1) if self.keep.kind == "features" else ("logits", 2)
        if not isinstance(answer, Tensor) or answer.ndim < least or len(answer) != rows or not answer.is_floating_point():
            got = f"{answer.dtype} {list(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
            raise ShapeError(f"The teacher answered {rows} inputs ({where}) with {got}; expected {what} as a float tensor [{rows}, ...].")
        if least == 2 and answer.ndim == 2 and self.classes and answer.shape[1] != self.classes:
            raise ShapeError(
                f"The teacher answers {answer.shape[1]} classes but the data has {self.classes}. Give --teacher-classes "
                "(models.Adapted with class_order=), or data without names of classes."
            )


def narrow(values: Tensor, dtype: torch.dtype, what: str, where: str) -> Tensor:
    """Return values in the numbers of a store, refused if they are or become NaN or infinite.

    Args:
        values: float.
        dtype: what they become.
        what: name of them, for errors.
        where: which rows they are.

    Returns:
        The values on the CPU.

    Raises:
        DataError: if a value is NaN or infinite.
        OptionError: if one is too large for the type.
    """
    narrowed = values.to(dtype)
    if not bool(torch.isfinite(narrowed).all()):
        bad = ~torch.isfinite(values).flatten(1).all(1) if values.ndim > 1 else ~torch.isfinite(values)
        if bool(bad.any()):
            raise DataError(
                f"The teacher answered NaN or infinity for {int(bad.sum())} of {len(values)} rows ({where}; the first is its row "
                f"{int(bad.int().argmax())}). Check its weights and the normalisation of its inputs (mean=, std=)."
            )
        largest = float(values.abs().max())
        raise OptionError(
            f"The teacher's {what} reach {largest:.3g} ({where}), but fp16 ends at {WIDEST}: they would become infinite. "
            "Label with --dtype bf16 (the same range as fp32, 3 digits) or --dtype fp32."
        )
    return narrowed.cpu()


def _boxes(answer: Any, rows: int, where: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Lay the boxes of all pictures after each other; corners stay float32, because fp16 rounds pixels above 2048 to whole ones."""
    if not isinstance(answer, Sequence) or len(answer) != rows:
        got = f"{len(answer)} answers" if isinstance(answer, Sequence) else f"a {type(answer).__name__}"
        raise ShapeError(f"The teacher answered {rows} inputs ({where}) with {got}; expected a list of {rows} dictionaries of boxes.")
    for place, found in enumerate(answer):
        names = [n for n in ("boxes", "scores", "labels") if not isinstance(found, dict) or not isinstance(found.get(n), Tensor)]
        if names:
            raise ShapeError(
                f"Answer {place} of the teacher ({where}) has no tensor '{names[0]}'; expected boxes, scores and labels, as torchvision's."
            )
        count = len(found["scores"])
        if found["boxes"].shape != (count, 4) or found["scores"].shape != (count,) or found["labels"].shape != (count,):
            shapes = {n: list(found[n].shape) for n in ("boxes", "scores", "labels")}
            raise ShapeError(f"Answer {place} of the teacher ({where}) has shapes {shapes}; expected [M, 4], [M] and [M].")
    boxes, scores = (torch.cat([found[n].float() for found in answer]) for n in ("boxes", "scores"))
    return {
        "boxes": narrow(boxes, torch.float32, "boxes", where),
        "scores": narrow(scores, dtype, "scores", where),
        "labels": torch.cat([found["labels"] for found in answer]).to(torch.int64).cpu(),
        "counts": torch.tensor([len(found["scores"]) for found in answer], dtype=torch.int64),
    }
