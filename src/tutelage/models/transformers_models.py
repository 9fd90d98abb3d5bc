"""Image and text classifiers of Hugging Face transformers, by specification."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from tutelage.errors import SpecError, optional
from tutelage.models.spec import Spec


class ImageClassifier(nn.Module):
    """A transformers image classifier that takes images and answers logits.

    Args:
        model: a network of the `ForImageClassification` kind.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, C] of normalised images [N, C, H, W]."""
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


class TextClassifier(nn.Module):
    """A transformers text classifier with its tokenizer, which takes texts and answers logits.

    Args:
        model: a network of the `ForSequenceClassification` kind.
        tokenizer: its tokenizer.
        max_length: longer texts are cut to so many tokens.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length

    def forward(self, texts: list[str] | Tensor) -> Tensor:
        """Return logits [N, C] of N texts, tokenised in one batch on the model's device, or of token ids int64 [N, L] with its padding."""
        if isinstance(texts, Tensor):
            tokens = {"input_ids": texts, "attention_mask": (texts != self.tokenizer.pad_token_id).long()}
        else:
            tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        device = next(self.model.parameters()).device
        logits: Tensor = self.model(**{name: value.to(device) for name, value in tokens.items()}).logits
        return logits


class LinearHead(nn.Module):
    """A transformers encoder with one linear layer on the state of its first token.

    Args:
        encoder: a network that answers with `last_hidden_state`, such as RoBERTa's.
        num_classes: outputs.
        dropout: share of the state dropped in training.
    """

    def __init__(self, encoder: Any, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, num_classes)

    def forward(self, **tokens: Tensor) -> SimpleNamespace:
        """Return what transformers' classifiers do: an object with `logits` [N, C]."""
        return SimpleNamespace(logits=self.head(self.dropout(self.encoder(**tokens).last_hidden_state[:, 0])))


def from_hub(spec: Spec, num_classes: int, role: str) -> tuple[nn.Module, dict[str, Any]]:
    """Load an image or text classifier from a directory or the hub, from safetensors only and without remote code.

    A teacher keeps its own classes unless `num_classes` is stated; a student gets the data's, with a new last layer where
    they differ.

    Args:
        spec: `hf:NAME-OR-PATH`, with `num_classes` as an option, and for texts `max_length` (tokens), and `head`: `own` (what transformers
            puts on this network), or `linear`, one new layer on the first token's state of any encoder.
        num_classes: classes of the data.
        role: `"student"` or `"teacher"`.

    Returns:
        The classifier, and the options of `Adapted` that its image processor's configuration states.

    Raises:
        SpecError: if it cannot be found, is no classifier, or has no safetensors weights.
    """
    transformers = optional("transformers", "text")
    classes: int | None = spec.take("num_classes", 0) or None
    if classes is None and role == "student":
        classes = num_classes
    try:
        config = transformers.AutoConfig.from_pretrained(spec.name, trust_remote_code=False)
    except Exception as error:
        raise SpecError(
            f"'{spec.text}': '{spec.name}' is neither a directory with a model's config.json nor a model that the hub gives "
            f"({type(error).__name__}: {_first(error)})"
        ) from error
    head: str = spec.take("head", "own")
    if head not in ("own", "linear"):
        raise SpecError(f"'{spec.text}': head={head} should be own or linear.")
    kind = "text" if head == "linear" else _kind(transformers, config)
    options: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
    if classes is not None and classes != config.num_labels:
        options.update(num_labels=classes, ignore_mismatched_sizes=True)
    if kind == "text":
        max_length: int = spec.take("max_length", 0)
        if head == "linear":
            encoder = _load(spec, transformers.AutoModel, {"use_safetensors": True, "trust_remote_code": False})
            network: Any = LinearHead(encoder, classes or num_classes)
        else:
            network = _load(spec, transformers.AutoModelForSequenceClassification, options)
        tokenizer = _load(spec, transformers.AutoTokenizer, {"trust_remote_code": False})
        limit = min(int(tokenizer.model_max_length), int(getattr(config, "max_position_embeddings", 512)), 512)
        return TextClassifier(network, tokenizer, max_length or limit), {}
    if kind == "image":
        network = _load(spec, transformers.AutoModelForImageClassification, options)
        return ImageClassifier(network), _stated(transformers, spec.name, config)
    raise SpecError(f"'{spec.text}' is a {type(config).__name__} model; only image and text classifiers are read here.")


def _kind(transformers: Any, config: Any) -> str:
    """What the model classifies: its own statement first, then what transformers knows of its kind."""
    declared = " ".join(config.architectures or ())
    if "ForImageClassification" in declared:
        return "image"
    if "ForSequenceClassification" in declared:
        return "text"
    if type(config) in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return "image"
    return "text" if type(config) in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING else "other"


def _load(spec: Spec, kind: Any, options: dict[str, Any]) -> Any:
    try:
        return kind.from_pretrained(spec.name, **options)
    except Exception as error:
        raise SpecError(
            f"'{spec.text}': {kind.__name__} could not load it ({type(error).__name__}: {_first(error)}) Weights are read from "
            "model.safetensors only; save a model that has none again, where you trust it, with save_pretrained(directory)."
        ) from error


def _stated(transformers: Any, name: str, config: Any) -> dict[str, Any]:
    """What the image processor's configuration says, or the model's own where there is none."""
    processor = _processor_config(transformers, name)
    stated: dict[str, Any] = {"channels": getattr(config, "num_channels", 3)}
    size = _side(processor.get("crop_size") if processor.get("do_center_crop") else processor.get("size"))
    stated["size"] = size if size is not None else _side(getattr(config, "image_size", None))
    if processor.get("do_normalize", False):
        stated["mean"], stated["std"] = processor.get("image_mean"), processor.get("image_std")
    return {key: value for key, value in stated.items() if value is not None}


def _processor_config(transformers: Any, name: str) -> dict[str, Any]:
    """Read preprocessor_config.json alone, which needs no vision library."""
    path = transformers.utils.cached_file(name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        return {}
    config: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return config


def _side(size: Any) -> Any:
    if isinstance(size, dict):
        if "height" in size and "width" in size:
            return (size["height"], size["width"])
        return size.get("shortest_edge")
    return size


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"
