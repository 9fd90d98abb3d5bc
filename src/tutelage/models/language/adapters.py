"""Low-rank adapters (LoRA) on causal language models, through peft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.errors import OptionError, optional


def lora(model: Any, *, rank: int = 8, alpha: float = 16, targets: str | Sequence[str] = "all-linear", dropout: float = 0.0) -> Any:
    """Freeze a causal language model and put trainable low-rank adapters beside its layers: W x + (alpha / rank) B A x.

    The adapters begin at zero (B = 0), so that the model answers as before. It trains, samples and is scored like any other; a trainer's
    checkpoints hold and restore the adapters, and the frozen weights lie once beside them.

    Args:
        model: a causal language model of transformers; it is changed in place.
        rank: r, rows of A and columns of B. Default 8.
        alpha: scale. Default 16.
        targets: names of the layers that are adapted; "all-linear" for all but the head. Default all-linear.
        dropout: share of the adapters' inputs that is dropped while training. Default 0.

    Returns:
        The adapted model.

    Raises:
        OptionError: for an option outside its range, targets that the model does not have, or a model that is adapted already.
        MissingExtra: if peft is not installed.

    Source:
        Hu et al., LoRA, ICLR 2022, section 4.1; QLoRA (Dettmers et al., 2023) for adapting all linear layers.
    """
    peft = optional("peft", "language")
    if rank < 1 or not 0.0 <= dropout < 1.0:
        raise OptionError(f"rank is {rank} and dropout {dropout}; expected a rank of at least 1 and a dropout of at least 0 and below 1")
    if hasattr(model, "get_base_model"):
        raise OptionError("The model has adapters already: merge them first.")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise OptionError(f"targets is {targets!r}: {error}") from error
    adapted.adapted = True  # a trainer keeps what is frozen in it once, beside its checkpoints
    return adapted


def merge(model: Any) -> Any:
    """Add the adapters to the weights, for shipping.

    Args:
        model: what `lora` returned; it is used up.

    Returns:
        A plain causal language model that answers the same.

    Raises:
        OptionError: if it has no adapters.
    """
    if not hasattr(model, "merge_and_unload"):
        raise OptionError(f"The {type(model).__name__} has no adapters to merge.")
    return model.merge_and_unload()
