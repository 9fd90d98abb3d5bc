"""Data specifications: `kind:path?option=value&option=value`, taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import OptionError, SpecError, nearest

TEXTS = ("20newsgroups", "reuters-r8", "reuters-r52")
EMBEDDED = ("digits", "mnist-5k", "mnist-10k", "fashion-mnist", "musk1", "musk2", "ucsb", *TEXTS)
PIXELS = ("gta5", "synthia", "cityscapes", "voc")
PUBLISHED_TEXTS = ("pubmed-rct", "yahoo-answers", "emotions", "arxiv10", "bias-in-bios")
KINDS = ("fashion-mnist", "folder", "places205", "bags", *PIXELS, *PUBLISHED_TEXTS, "hf", "python")
SUFFIXES = {".npz": "npz", ".csv": "table", ".jsonl": "table", ".parquet": "table"}


@dataclass(frozen=True)
class Spec:
    """A data specification.

    Args:
        text: as it was written.
        kind: which loader reads it.
        target: the path, name or factory; empty for embedded sets.
        options: what stands after `?`.
    """

    text: str
    kind: str
    target: str
    options: dict[str, str]

    @property
    def path(self) -> Path:
        """The target as a path, `~` expanded."""
        return Path(self.target).expanduser()

    def allow(self, *known: str) -> None:
        """Refuse options that the loader does not have.

        Args:
            *known: names of those it has.

        Raises:
            OptionError: naming the first unknown option.
        """
        for name in self.options:
            if name not in known:
                offered = nearest(name, known) if known else " It takes none."
                raise OptionError(f"'{self.text}': data of kind '{self.kind}' has no option '{name}'.{offered}")

    def flag(self, name: str, default: bool) -> bool:
        """Return an option that is true or false."""
        value = self.options.get(name, str(default)).lower()
        if value not in {"true", "false", "1", "0", "yes", "no"}:
            raise OptionError(f"'{self.text}': option '{name}' is '{value}'; expected true or false.")
        return value in {"true", "1", "yes"}

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        """Return an option that takes one of `values`, the first by default."""
        value = self.options.get(name, values[0])
        if value not in values:
            raise OptionError(f"'{self.text}': option '{name}' is '{value}'; expected {' or '.join(values)}.")
        return value

    def number(self, name: str) -> float | None:
        """Return an option that is a positive number, or `None` when it is not given."""
        if name not in self.options:
            return None
        try:
            value = float(self.options[name])
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise OptionError(f"'{self.text}': option '{name}' is '{self.options[name]}'; expected a positive number.")
        return value

    def size(self) -> tuple[int, int] | None:
        """Return the option `size`, `32` or `HEIGHTxWIDTH`, as (height, width) in pixels, or `None`."""
        if "size" not in self.options:
            return None
        parts = self.options["size"].lower().split("x")
        if not 1 <= len(parts) <= 2 or not all(p.isdecimal() and int(p) > 0 for p in parts):
            raise OptionError(
                f"'{self.text}': option 'size' is '{self.options['size']}'; expected pixels such as 32 or 32x48 (height x width)."
            )
        return int(parts[0]), int(parts[-1])


def parse(text: str) -> Spec:
    """Take a data specification apart.

    Args:
        text: an embedded name, `KIND:TARGET`, an existing folder (of bags where the option `labels` is given), or a file ending in
            .npz, .csv, .jsonl or .parquet; then optionally `?option=value&option=value`.

    Returns:
        The specification. Nothing is read yet.

    Raises:
        SpecError: if it names no kind of data.
        OptionError: if an option has no value or comes twice.
    """
    head, mark, tail = text.partition("?")
    options: dict[str, str] = {}
    for item in tail.split("&") if mark else ():
        name, equals, value = item.partition("=")
        if not (name and equals) or name in options:
            raise OptionError(f"'{text}': '{item}' after '?' must read option=value, once per option and joined by '&'.")
        options[name] = value
    kind, colon, target = head.partition(":")
    if colon and kind in KINDS and target:
        return Spec(text, kind, target, options)
    if head in EMBEDDED:
        return Spec(text, head, "", options)
    path = Path(head).expanduser()
    if head and path.is_dir():
        return Spec(text, "bags" if "labels" in options else "folder", head, options)
    if path.suffix.lower() in SUFFIXES:
        return Spec(text, SUFFIXES[path.suffix.lower()], head, options)
    raise SpecError(
        f"'{text}' names no data: expected {', '.join(EMBEDDED)}, an existing folder, a file ending in "
        f"{', '.join(SUFFIXES)}, folder:PATH, places205:PATH, bags:PATH, "
        f"{', '.join(f'{kind}:PATH' for kind in (*PIXELS, *PUBLISHED_TEXTS))}, hf:NAME or python:package.module:factory."
        f"{nearest(head, [*EMBEDDED, *KINDS])}"
    )
