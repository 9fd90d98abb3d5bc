"""Chat models as teachers: rows become prompts, replies are kept in a store, and replies that name a class become pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from tutelage.data import Arrays, DataSet
from tutelage.errors import ChatError, DataError, OptionError, ShapeError, nearest
from tutelage.models.chat.protocol import Chat, Conversation, Message, Reply, all_messages, digest
from tutelage.store.labelling import label
from tutelage.store.opened import Store
from tutelage.store.prompting import Row, different, fill, match, names_in
from tutelage.store.prompts import prompts

__all__ = ["Instructed", "label_texts", "prompts", "pseudo_labelled", "pseudo_labels"]


class Instructed:
    """A chat model that is asked through a template, and whose replies are matched to classes.

    Args:
        chat: the model.
        system: system prompt before every conversation that has none; `None` adds none.
        template: the user's message, with `{input}` and other columns; `None` is the input itself.
        choices: names of classes; each reply then has an entry `choice`, the name it was matched to or `None` (see `match`).

    Raises:
        OptionError: for a template that does not read, or choices that are empty, fewer than two, or equal but for their case.
    """

    def __init__(self, chat: Chat, *, system: str | None = None, template: str | None = None, choices: Sequence[str] | None = None) -> None:
        self.chat, self.system, self.template = chat, system, template
        self.choices = None if choices is None else tuple(str(choice).strip() for choice in choices)
        if template is not None:
            names_in(template)
        if self.choices is not None and not different(self.choices):
            raise OptionError(f"The choices are {list(self.choices)}: expected two or more different names.")

    def __repr__(self) -> str:
        return f"Instructed({self.chat!r}, system={self.system!r}, template={self.template!r}, choices={self.choices})"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the answers: the model's own fingerprint, the prompts and the choices."""
        own = getattr(self.chat, "fingerprint", None)
        return digest([own if isinstance(own, str) else repr(self.chat), self.system, self.template, self.choices])

    def conversation(self, row: Conversation) -> list[Message]:
        """Return what is asked about one row.

        Args:
            row: its input: a text (a `Row` where the template names other columns), or messages.

        Returns:
            The messages.

        Raises:
            OptionError: if the template does not fit the row.
        """
        if isinstance(row, str):
            columns = row.columns if isinstance(row, Row) else {}
            text = str(row) if self.template is None else fill(self.template, {**columns, "input": str(row)})
            said = [Message("user", text)]
        elif self.template is not None:
            raise OptionError("A prompt template takes texts, but the data hold conversations. Leave the template out.")
        else:
            said = list(all_messages([row])[0])
        head = [] if self.system is None or said[0].role in {"system", "developer"} else [Message("system", self.system)]
        return [*head, *said]

    def complete(self, prompts: Sequence[Conversation]) -> list[dict[str, Any]]:
        """Ask about every row.

        Args:
            prompts: inputs of rows.

        Returns:
            Per row the reply's entries (see `Reply.to_json`), and its `choice` where there are choices.

        Raises:
            ChatError: if some got no usable reply; the others, in the same form, are in its `replies`.
        """
        try:
            return [self._entry(reply) for reply in self.chat.complete([self.conversation(row) for row in prompts])]
        except ChatError as error:
            replies = [None if reply is None else self._entry(reply) for reply in error.replies]
            raise type(error)(str(error), replies=replies, failures=error.failures) from error

    def _entry(self, reply: Reply) -> dict[str, Any]:
        entry = reply.to_json()
        if self.choices is not None:
            found = match(reply.text, self.choices)
            entry["choice"] = None if found is None else self.choices[found]
        return entry


def label_texts(
    chat: Chat,
    data: DataSet | Arrays,
    out: str | Path,
    *,
    system: str | None = None,
    template: str | None = None,
    choices: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    batch_size: int = 256,
    shard_rows: int = 16384,
    resume: bool = False,
    rank: int = 0,
    world: int = 1,
    teacher_name: str | None = None,
    data_name: str | None = None,
    load: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Store:
    """Ask a chat model about every row of a data set once, and keep what it says.

    Args:
        chat: the model, such as `models.chat.from_spec("chat:MODEL?...")`.
        data: texts (the column `input` is a list of texts), or conversations (see `prompts`).
        out: folder of the store.
        system: system prompt.
        template: the user's message, with `{input}` and the names of other columns; `{label}` is the name of the class.
        choices: names of classes to match the replies to, for `pseudo_labelled`.
        parts: parts to label; all by default.
        batch_size: rows asked about at once.
        shard_rows: rows of a file.
        resume: go on with the store in `out`.
        rank: this process labels the shards whose number leaves this remainder modulo `world`.
        world: number of processes that label together.
        teacher_name: what the manifest calls the teacher.
        data_name: what it calls the data.
        load: how the data were loaded, to be told to who must load them again.
        console: where progress goes.

    Returns:
        The store; its fingerprint of the data is that of `data`, whatever the template.

    Raises:
        DataError: if the inputs are no texts.
        OptionError: for a template that names no column, or choices that are no choice.
        ChatError: if some rows got no usable reply; the others are kept, and `resume` asks the rest.
        StoreError: see `store.label`.
    """
    teacher = Instructed(chat, system=system, template=template, choices=choices)
    with_columns = {name: _with_columns(arrays, template) for name, arrays in _parts(data).items()}
    shown: DataSet | Arrays = (
        with_columns["train"] if isinstance(data, Arrays) else DataSet(data.name, **with_columns, skipped_names=data.skipped_names)
    )
    return label(
        teacher,
        shown,
        out,
        keep="text",
        parts=parts,
        batch_size=batch_size,
        shard_rows=shard_rows,
        resume=resume,
        rank=rank,
        world=world,
        teacher_name=teacher_name,
        data_name=data_name,
        load=load,
        console=console,
    )


def _parts(data: DataSet | Arrays) -> dict[str, Arrays]:
    return {"train": data} if isinstance(data, Arrays) else dict(data.parts)


def _with_columns(arrays: Arrays, template: str | None) -> Arrays:
    """Return the same samples whose texts know the columns that the template names."""
    texts = arrays.column("input")
    if not isinstance(texts, list):
        raise DataError(f"The inputs of '{arrays.name}' are no texts: a chat model answers texts or conversations, one per sample.")
    wanted = [name for name in dict.fromkeys(names_in(template or "")) if name != "input"]
    if not wanted:
        return arrays
    columns = {name: arrays.column(name) for name in wanted}
    values = {name: [_shown(arrays, name, value) for value in column[:]] for name, column in columns.items()}
    rows = [Row.of(text, {n: values[n][i] for n in wanted}) if isinstance(text, str) else text for i, text in enumerate(texts)]
    return arrays.replace(input=rows)


def _shown(arrays: Arrays, name: str, value: Any) -> Any:
    value = value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
    known = name == "label" and isinstance(value, int) and 0 <= value < len(arrays.classes)
    return arrays.classes[value] if known else value


def pseudo_labels(store: Store, arrays: Arrays, part: str = "train") -> Tensor:
    """Return the classes that a chat teacher named.

    Args:
        store: made by `label_texts` with choices.
        arrays: the samples.
        part: which part of the store they are of.

    Returns:
        int64 [N], numbers of the classes of `arrays`, or of the sorted choices where it has none; -1 where the reply named none.

    Raises:
        OptionError: if the store was made without choices.
        ShapeError: if a choice is no class of `arrays`.
    """
    texts = store.texts(part, arrays.index)
    if any("choice" not in entry for entry in texts):
        raise OptionError(
            f"{store.path} was made without choices, so its texts name no classes. Label again with choices=[...] (--choices a,b)."
        )
    named = {entry["choice"] for entry in texts} - {None}
    classes = arrays.classes or tuple(sorted(named))
    unknown = sorted(named - set(classes))
    if unknown:
        raise ShapeError(f"{store.path} names the class '{unknown[0]}', which '{arrays.name}' does not have.{nearest(unknown[0], classes)}")
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([-1 if entry["choice"] is None else number[entry["choice"]] for entry in texts], dtype=torch.int64)


def pseudo_labelled(data: DataSet, store: Store) -> DataSet:
    """Return a data set whose training labels are those that a chat teacher named; samples for which it named none are left out.

    Args:
        data: the data set that was labelled.
        store: made by `label_texts` with choices.

    Returns:
        The data set; validation and test keep their labels, and `skipped_names` tells what was left out.

    Raises:
        StoreError: if the store belongs to other data.
        DataError: if the teacher named no class for any sample.
    """
    store.check(data)
    labels = pseudo_labels(store, data.train)
    kept = labels >= 0
    if not bool(kept.any()):
        raise DataError(
            f"None of the {len(labels)} replies in {store.path} names a class of '{data.name}'. Read some with store.texts(...)."
        )
    train = data.train.replace(label=labels).subset(kept)
    lost = tuple(f"training row {int(row)}: the reply names no class" for row in data.train.index[~kept])
    return DataSet(data.name, train, data.validation, data.test, (*data.skipped_names, *lost))
