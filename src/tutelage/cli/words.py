"""Arguments: dataclasses parsed by tyro, whose nested options may be given by their own name alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, cast

from tutelage.errors import OptionError, nearest

T = TypeVar("T")


def _leaves(kind: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of all options of a dataclass instance."""
    found: list[str] = []
    for field in dataclasses.fields(kind):
        value = getattr(kind, field.name, None)
        if dataclasses.is_dataclass(value):
            found += _leaves(value, f"{prefix}{field.name}.")
        else:
            found.append(f"{prefix}{field.name}")
    return found


def value_of(words: Sequence[str], name: str, default: str) -> str:
    """Return the value of an option `--name value` or `--name=value` before the words are parsed, or the default."""
    for number, word in enumerate(words):
        if word == f"--{name}" and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return default


def shorten(words: Sequence[str], groups: Sequence[Any]) -> list[str]:
    """Write out options that were given by their own name: `--epochs` becomes `--train.epochs`.

    Where several groups have an option of that name the one of the nearest group is meant: the shortest dotted name,
    then `train` and `options` before others.

    Args:
        words: the words of the command line.
        groups: dataclass instances whose fields the command takes.

    Returns:
        The words with full names.

    Raises:
        OptionError: for an option that no group has; the nearest are offered.
    """
    full: dict[str, str] = {}
    for name in sorted((leaf for group in groups for leaf in _leaves(group)), key=_order):
        full.setdefault(name.rpartition(".")[2], name)
    out: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("--") and "." not in name:
            negative = name.startswith("--no-")
            key = name.removeprefix("--no-" if negative else "--").replace("-", "_")
            if key in full:
                head, dot, leaf = full[key].rpartition(".")
                name = "--" + (head + dot).replace("_", "-") + ("no-" if negative else "") + leaf.replace("_", "-")
            elif name != "--help":
                raise OptionError(f"No option is called '{name}'.{nearest(name, ['--' + leaf.replace('_', '-') for leaf in full])}")
        out.append(name + equals + value)
    return out


def _order(name: str) -> tuple[int, int, str]:
    return name.count("."), 0 if name.startswith(("train.", "options.")) else 1, name


def parse(command: str, kind: type[T], words: Sequence[str], *, default: T | None = None, description: str = "") -> T:
    """Parse words into a dataclass; a mistake ends the program with exit code 2 and the nearest option.

    Args:
        command: how the command is called, for its help.
        kind: a dataclass.
        words: the words after the command.
        default: values of what is not given.
        description: shown at the top of the help.

    Returns:
        The filled dataclass.
    """
    import tyro

    given: dict[str, Any] = {} if default is None else {"default": default}
    filled: T = cast(Any, tyro.cli)(kind, prog=command, args=list(words), description=description, **given)
    return filled


def fill(command: str, words: Sequence[str], own: Any, *, description: str, **groups: Any) -> Any:
    """Parse the words of a command that has options of its own and nested groups of options.

    Args:
        command: how the command is called, for its help.
        words: the words after the command; an option of a group may be given by its own name.
        own: dataclass instance with the command's options and their defaults.
        description: shown at the top of the help.
        **groups: dataclass instances by name, such as `train=TrainOptions()`.

    Returns:
        An object with the filled `own` and every group by its name.

    Raises:
        OptionError: for an option that does not exist; the nearest are offered.
    """
    import tyro

    fields: list[Any] = [("own", Annotated[type(own), tyro.conf.arg(name="")], dataclasses.field(default=own))]
    fields += [(name, type(group), dataclasses.field(default=group)) for name, group in groups.items()]
    kind: Any = dataclasses.make_dataclass("Arguments", fields, frozen=True)
    nested = dataclasses.make_dataclass("Groups", [(name, Any) for name in groups])(**groups)
    return parse(command, kind, shorten(words, (own, nested)), description=description)
