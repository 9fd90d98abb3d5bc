"""Where a student's convolution weights lie in memory: chosen once for a training, and kept when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from tutelage import files
from tutelage.data import Batches
from tutelage.errors import CheckpointError, OptionError
from tutelage.models.memory import channels_last, overrun, time_formats
from tutelage.train.method import Method
from tutelage.train.options import TrainOptions

CHOICES = ("no", "yes", "auto")


def lay_out(method: Method, batches: Batches, options: TrainOptions, device: torch.device, path: Path | None) -> str | None:
    """Store a convolutional student channels-last if the options, or a measurement on the first batch, say so.

    Args:
        method: the method, whose student is laid out in place.
        batches: training batches.
        options: `channels_last`.
        device: where the training runs.
        path: JSON file that remembers what was measured, so that a resumed training rounds alike; `None` keeps nothing.

    Returns:
        A sentence on what was measured; `None` if nothing was.

    Raises:
        OptionError: for an unknown choice, or channels-last for a student that cannot learn so on a CPU.
        CheckpointError: if the file is damaged.
    """
    if options.channels_last not in CHOICES:
        raise OptionError(f"channels_last is '{options.channels_last}'; expected {', '.join(CHOICES)}.")
    if options.channels_last != "auto":
        if options.channels_last == "yes":
            layer = overrun(method.student) if device.type == "cpu" else None
            if layer is not None:
                raise OptionError(
                    f"channels_last is 'yes', but on a CPU the gradient of the student's layer '{layer}', a strided 1x1 convolution of "
                    "fewer than 16 channels, would be wrong (oneDNN issue 6035). Choose 'auto' or 'no'."
                )
            channels_last(method.student)
        return None
    if path is not None and path.exists():
        try:
            found = bool(json.loads(path.read_text())["channels_last"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged ({error}). Remove it: the layout is then measured again.") from error
        if found:
            channels_last(method.student)
        return None
    images = batches.batch(0, 0).get("input")
    four = any(p.ndim == 4 for p in method.student.parameters())
    if not four or not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        return None
    method.student.to(device)
    formats = time_formats(method.student, images.to(device))
    if formats.channels_last:
        channels_last(method.student)
    if path is not None:
        files.write_json(path, {"channels_last": formats.channels_last, "seconds": [formats.contiguous, formats.last]})
    name = "last" if formats.channels_last else "first"
    return f"Student: channels {name} ({1000 * formats.contiguous:.1f} ms a batch with channels first, {1000 * formats.last:.1f} ms last)"
