"""Fitting a model to the data: input size, channels, normalisation and class order; and the check that it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, ShapeError, SpecError

LUMINANCE = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey (ITU-R BT.601)."""


class Adapted(nn.Module):
    """A model that takes canonical inputs and answers in the data's classes, whatever it takes and answers itself.

    Inputs are converted in this order: channels, size (bilinear, with antialiasing), normalisation `(x - mean) / std`. What is
    `None` stays as it is. Inputs that are not tensors (texts) pass unchanged.

    Args:
        model: any network.
        size: side of the square images that the model takes, or (height, width), in pixels.
        mean: what to subtract: one number, or one per channel (per column for tables).
        std: what to divide by afterwards: one number, or one per channel (per column for tables).
        channels: 1 or 3; colour becomes grey by luminance, grey becomes colour by repetition.
        class_order: for each of the data's classes its position among the model's outputs; may leave outputs out.

    Raises:
        OptionError: for options out of their range.
    """

    mean: Tensor | None
    std: Tensor | None
    class_order: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        *,
        size: int | Sequence[int] | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        channels: int | None = None,
        class_order: Sequence[int] | Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.size = _sides(size)
        if channels not in (None, 1, 3):
            raise OptionError(f"channels={channels}: images are converted to 1 (grey) or 3 (colour) channels.")
        self.channels = channels
        self.register_buffer("mean", None if mean is None else torch.as_tensor(mean, dtype=torch.float32).flatten())
        self.register_buffer("std", None if std is None else torch.as_tensor(std, dtype=torch.float32).flatten())
        if self.std is not None and not bool((self.std > 0).all()):
            raise OptionError(f"std={std}: inputs are divided by it, so every number must be positive.")
        order = None if class_order is None else torch.as_tensor(class_order, dtype=torch.int64).flatten()
        if order is not None and (not len(order) or int(order.min()) < 0 or len(set(order.tolist())) != len(order)):
            raise OptionError(f"class_order={order.tolist()} must name distinct outputs of the model, counted from 0, one for each class.")
        self.register_buffer("class_order", order)

    def forward(self, inputs: Any) -> Tensor:
        """Return logits [N, C] in the data's class order.

        Args:
            inputs: images [N, C, H, W], tables [N, D], or a list of texts.

        Returns:
            The model's logits, re-ordered.

        Raises:
            ShapeError: if inputs or outputs cannot be brought into shape.
        """
        logits: Tensor = self.model(self.prepare(inputs) if isinstance(inputs, Tensor) else inputs)
        if self.class_order is None:
            return logits
        if int(logits.shape[-1]) < len(self.class_order):
            raise ShapeError(f"class_order names {len(self.class_order)} classes but the model answers only {logits.shape[-1]}.")
        return logits.index_select(-1, self.class_order)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Return the inputs as the model takes them.

        Args:
            inputs: images [N, C, H, W] in [0, 1], or tables [N, D].

        Returns:
            Images [N, channels, *size], or tables [N, D], normalised.

        Raises:
            ShapeError: if the channels cannot be converted, or mean and std do not fit them.
        """
        if (self.channels is not None or self.size is not None) and inputs.dim() != 4:
            raise ShapeError(f"This model takes images [N, C, H, W], got inputs {list(inputs.shape)}.")
        if self.channels is not None and inputs.shape[1] != self.channels:
            inputs = _convert_channels(inputs, self.channels)
        if self.size is not None and tuple(inputs.shape[-2:]) != self.size:
            inputs = F.interpolate(inputs, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        if self.mean is not None:
            inputs = inputs - _along_channels(self.mean, inputs, "mean")
        if self.std is not None:
            inputs = inputs / _along_channels(self.std, inputs, "std")
        return inputs


def _sides(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(int(s) for s in size)
    if len(sides) == 1:
        sides = (sides[0], sides[0])
    if len(sides) != 2 or min(sides) < 1:
        raise OptionError(f"size={size}: give the side of a square image or (height, width), in pixels.")
    return (sides[0], sides[1])


def _convert_channels(images: Tensor, channels: int) -> Tensor:
    got = images.shape[1]
    if got == 1:
        return images.expand(-1, channels, -1, -1)
    if got == 3 and channels == 1:
        return (images * images.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    raise ShapeError(f"Images of {got} channels cannot become images of {channels}: only grey (1) and colour (3) are converted.")


def _along_channels(values: Tensor, inputs: Tensor, name: str) -> Tensor:
    if len(values) not in (1, inputs.shape[1]):
        raise ShapeError(
            f"{name} has {len(values)} numbers but the model's inputs have {inputs.shape[1]} channels (shape {list(inputs.shape)})."
        )
    return values.to(inputs.dtype).reshape(1, -1, *[1] * (inputs.dim() - 2))


def check_fits(model: nn.Module, sample_input: Any, num_classes: int, who: str = "model") -> None:
    """Run a model once, in eval mode and without a graph, and refuse it if its answer does not fit the data.

    Args:
        model: the network to try; it is left in the mode it was in.
        sample_input: a batch of inputs as the data gives them: a tensor [N, ...] or a list of N texts; one or two samples are enough.
        num_classes: classes of the data.
        who: how the error calls the model: `"teacher"`, `"student"`.

    Raises:
        ShapeError: if the model cannot run on the input, or answers anything but [N, num_classes].
        SpecError: if it answers NaN or infinity.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            answer = model(sample_input)
    except (ShapeError, SpecError) as error:
        raise type(error)(f"The {who} does not fit the data: {error}") from error
    except Exception as error:
        raise ShapeError(
            f"The {who} ({type(model).__name__}) cannot run on the data's inputs {_describe(sample_input)}: {_first_line(error)} "
            "State how the inputs become what it takes: size=, channels=, mean= and std= in its specification, or models.Adapted(...)."
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    _check_answer(answer, len(sample_input), num_classes, who)


def _check_answer(answer: Any, samples: int, num_classes: int, who: str) -> None:
    if not isinstance(answer, Tensor):
        raise ShapeError(
            f"The {who} answers a {type(answer).__name__}; expected one tensor of logits [N, {num_classes}]. Wrap it to return it."
        )
    if answer.dim() != 2 or len(answer) != samples or not answer.is_floating_point():
        raise ShapeError(
            f"The {who} answers {answer.dtype} {list(answer.shape)} for {samples} inputs; expected float logits [{samples}, {num_classes}]."
        )
    if answer.shape[1] != num_classes:
        raise ShapeError(
            f"The {who} answers {answer.shape[1]} classes but the data has {num_classes}. Give class_order= (for each of the data's "
            "classes its position among the model's outputs), num_classes= where the specification takes it, or another model."
        )
    if not bool(answer.isfinite().all()):
        raise SpecError(
            f"The {who} answers NaN or infinity on the data's first inputs. Check its weights and its normalisation (mean=, std=)."
        )


def _describe(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else f"({type(value).__name__} of {len(value)})"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}."
