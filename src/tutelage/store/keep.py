"""What of a teacher's answer is kept, and in which numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tutelage.errors import OptionError, nearest

FORMS = ("logits", "top-k:32", "features:LAYER", "boxes", "text")
"""How `keep` is written."""

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
"""Numbers that a store keeps, by name."""

WIDEST = 65504
"""The largest number of fp16."""


@dataclass(frozen=True)
class Keep:
    """What is kept of an answer.

    Args:
        text: as it was written.
        kind: `logits`, `top-k`, `features`, `boxes` or `text`.
        k: number of classes of `top-k`.
        layer: name of the layer of `features`.
    """

    text: str
    kind: str
    k: int = 0
    layer: str = ""


def parse_keep(text: str) -> Keep:
    """Read what is to be kept.

    Args:
        text: `logits`, `top-k:K`, `features:LAYER`, `boxes` or `text`.

    Returns:
        Its parts.

    Raises:
        OptionError: if it is anything else; the nearest form is offered.
    """
    kind, colon, rest = text.partition(":")
    if text in ("logits", "boxes", "text"):
        return Keep(text, kind)
    if kind == "top-k":
        if not rest.isdecimal() or int(rest) < 1:
            raise OptionError(f"keep is '{text}': top-k takes the number of classes to keep, at least 1, such as top-k:32.")
        return Keep(f"top-k:{int(rest)}", kind, k=int(rest))
    if kind == "features":
        if not rest:
            raise OptionError(f"keep is '{text}': features takes the name of a layer of the teacher, such as features:stages.1.")
        return Keep(text, kind, layer=rest)
    cure = f" '{kind}' takes nothing after the colon." if colon and kind in ("logits", "boxes", "text") else nearest(text, FORMS)
    raise OptionError(f"keep is '{text}', which is nothing that a store keeps.{cure}")


def dtype_of(name: str) -> torch.dtype:
    """Return the torch type of a name of `DTYPES`.

    Args:
        name: `fp16`, `bf16` or `fp32`.

    Raises:
        OptionError: for any other.
    """
    if name not in DTYPES:
        raise OptionError(f"dtype is '{name}': a store keeps {', '.join(DTYPES)}.{nearest(name, DTYPES)}")
    return DTYPES[name]
