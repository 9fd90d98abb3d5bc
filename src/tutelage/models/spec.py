"""Reading a model's specification: `scheme:name?option=value&option=value`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.errors import SpecError, nearest

ADAPTER = ("size", "mean", "std", "channels", "class_order")
"""Options of `Adapted`, which every specification takes."""

CLASSIFIER_PICKLES = frozenset({".pkl", ".pickle", ".joblib"})
PICKLES = CLASSIFIER_PICKLES | {".pt", ".pth", ".bin", ".ckpt"}
"""Endings of files that can only be read by running code in them."""

CONVERT = (
    "Convert it once, where you trust it: "
    "python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('model.pth', weights_only=True), 'model.safetensors')\""
)


@dataclass
class Spec:
    """A specification taken apart.

    Args:
        text: as it was written.
        scheme: what kind of model.
        name: which one; a name, a path, or a factory.
        options: the options not yet taken, as written.
    """

    text: str
    scheme: str
    name: str
    options: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, like: Any) -> Any:
        """Take an option out and convert it.

        Args:
            name: the option.
            like: a value of the wanted type, returned if the option is absent: bool, int, float, str, a tuple of one
                type; with `None` the type is guessed.

        Returns:
            The option's value.

        Raises:
            SpecError: if it is of another type.
        """
        if name not in self.options:
            return like
        text = self.options.pop(name)
        value = guess(text)
        if isinstance(like, tuple) and not isinstance(value, tuple):
            value = (value,)
        if isinstance(like, float) and type(value) is int:
            value = float(value)
        if isinstance(like, str):
            value = text
        same = like is None or type(value) is type(like)
        if isinstance(like, tuple) and like:
            same = all(type(v) is type(like[0]) for v in value)
        if not same:
            raise SpecError(f"'{self.text}': option {name}={text} should be like {name}={written(like)}.")
        return value

    def numbers(self, name: str) -> Any:
        """Take an option out that is a number or several.

        Args:
            name: the option, which is there.

        Returns:
            The number, or a tuple of them.

        Raises:
            SpecError: if it is anything else.
        """
        text = self.options.pop(name)
        value = guess(text)
        parts = value if isinstance(value, tuple) else (value,)
        whole = name in {"size", "channels", "class_order"}
        if not parts or not all(type(p) is int or (type(p) is float and not whole) for p in parts):
            raise SpecError(
                f"'{self.text}': option {name}={text} should be {'whole ' if whole else ''}numbers, such as {name}=3 or {name}=3,1."
            )
        return value

    def finish(self, known: Iterable[str]) -> None:
        """Refuse options that nobody took.

        Args:
            known: names of the options that exist.

        Raises:
            SpecError: for the first unknown one.
        """
        for name in self.options:
            raise SpecError(f"'{self.text}': {self.scheme} models have no option '{name}'.{nearest(name, known)}")


def parse(text: str, schemes: Sequence[str]) -> Spec:
    """Take a specification apart.

    Args:
        text: such as `timm:resnet18?pretrained=true`.
        schemes: the schemes that exist.

    Returns:
        Its parts.

    Raises:
        SpecError: if it is no specification of a known scheme.
    """
    head, question, tail = text.partition("?")
    scheme, colon, name = head.partition(":")
    suffix = Path(head).suffix.lower()
    if suffix in PICKLES:
        refuse_pickle(head)
    if not colon or scheme not in schemes:
        raise SpecError(f"'{text}' is not a model. A model is written SCHEME:NAME?option=value.{_guess_scheme(head, schemes)}")
    if not name:
        raise SpecError(f"'{text}' names no model after '{scheme}:'.")
    options: dict[str, str] = {}
    for part in filter(None, tail.split("&")) if question else ():
        key, equals, value = part.partition("=")
        if not equals or not value or key in options:
            raise SpecError(f"'{text}': '{part}' should be one option=value, each option once, joined by '&'.")
        options[key] = value
    return Spec(text, scheme, name, options)


def refuse_pickle(path: str) -> None:
    """Refuse a file that can only be read by running code in it.

    Args:
        path: the file.

    Raises:
        SpecError: always, with how to convert it.
    """
    suffix = Path(path).suffix.lower()
    if suffix in CLASSIFIER_PICKLES:
        raise SpecError(
            f"'{path}' is a pickle, which runs whatever code it holds when it is read, so it is refused. Save the classifier again, "
            "where you trust it, with skops.io.dump(classifier, 'model.skops'), and give sklearn:model.skops."
        )
    raise SpecError(
        f"'{path}' is a {suffix} file, which is a pickle and is never read here. {CONVERT} and give the "
        "architecture with weights=model.safetensors."
    )


def guess(text: str) -> Any:
    """Convert an option's text: true/false, whole numbers, numbers, comma-separated tuples of these, else the text itself.

    Args:
        text: as written.

    Returns:
        The value.
    """
    if "," in text:
        return tuple(guess(part.strip()) for part in text.split(",") if part.strip())
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def written(value: Any) -> str:
    """Write a value as it would stand in a specification.

    Args:
        value: a bool, number, text, or tuple of these.

    Returns:
        Its text.
    """
    if isinstance(value, tuple):
        return ",".join(written(v) for v in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _guess_scheme(head: str, schemes: Sequence[str]) -> str:
    suffix = Path(head).suffix.lower()
    by_suffix = {".onnx": "onnx", ".skops": "sklearn"}
    if ":" not in head and suffix in by_suffix:
        return f" Did you mean '{by_suffix[suffix]}:{head}'?"
    if suffix == ".safetensors":
        return f" Weights alone are no model: name the architecture too, such as tutelage:small-cnn?weights={head}."
    return nearest(head.partition(":")[0], schemes)
