"""A store that is read: answers by sample, memory-mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tutelage.data import Arrays, DataSet
from tutelage.errors import OptionError, StoreError, nearest
from tutelage.store import manifest
from tutelage.store.identity import fingerprint
from tutelage.store.keep import parse_keep
from tutelage.store.layout import Shard, shards, views_of
from tutelage.store.prepare import part_facts
from tutelage.store.rows import Places, as_tensor, empty
from tutelage.store.shard import NUMPY, MappedShard, trouble
from tutelage.store.texts import TextShard
from tutelage.targets import TopK


class Store:
    """What a teacher said about the samples of a data set, read by their original rows.

    Nothing is loaded when a store is opened: shards are mapped when one of their rows is first asked for. Copies and
    pickles of a store hold its path and open it again.

    Args:
        path: folder of the store.
        part_check: look at the size of every shard that should be there, so that truncated ones are known at once.

    Attributes:
        path: folder of the store.
        about: its manifest.
        keep: what is kept: `logits`, `top-k:K`, `features:LAYER`, `boxes` or `text`.
        classes: names of the classes.
        views: number of augmented views of each training sample; 0 for plain inputs.
        view: name of the augmentation, or `None`.
        view_seed: seed of the views.
        temperature: at which `top-k` was softened.
        parts: number of rows of each part.
        problems: what is wrong with shards that are there, by their name.

    Raises:
        StoreError: if there is no store, or its manifest is damaged, foreign or of another version.
    """

    def __init__(self, path: str | Path, *, part_check: bool = True) -> None:
        self.path = Path(path)
        self.about = manifest.read(self.path)
        self.keep: str = self.about["keep"]
        self.classes: tuple[str, ...] = tuple(self.about["classes"])
        self.views: int = self.about["views"]
        self.view: str | None = self.about.get("view")
        self.view_seed: int = self.about["view_seed"]
        self.temperature: float = self.about["temperature"]
        self.parts: dict[str, int] = {part: facts["rows"] for part, facts in self.about["parts"].items()}
        self._kind = parse_keep(self.keep).kind
        self._shards = {(s.part, s.view, s.number): s for s in shards(self.about)}
        self._open: dict[tuple[str, int, int], Any] = {}
        self._places: dict[str, Places] = {}
        self._check = part_check
        found = {s.name: trouble(self.path, s) for s in self._shards.values()} if part_check else {}
        self.problems: dict[str, str] = {name: how for name, how in found.items() if how}

    @classmethod
    def open(cls, path: str | Path, *, part_check: bool = True) -> Self:
        """Open a store; see the class."""
        return cls(path, part_check=part_check)

    def __repr__(self) -> str:
        rows = ", ".join(f"{part} {count:,}" for part, count in self.parts.items())
        return f"Store({str(self.path)!r}, {self.keep}, {rows}, {self.views or 'no'} views)"

    def __getstate__(self) -> dict[str, Any]:
        """Keep only where the store is."""
        return {"path": self.path, "part_check": self._check}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open it again."""
        Store.__init__(self, **state)

    def missing(self) -> list[str]:
        """Return the names of the shards that are not labelled yet, or truncated; looked up anew."""
        return [s.name for s in self._shards.values() if trouble(self.path, s) is not None]

    @property
    def complete(self) -> bool:
        """Whether every shard is there."""
        return not self.missing()

    def gather(self, part: str, index: Tensor, view: int = 0) -> dict[str, Tensor]:
        """Return what is kept of the answers to some samples, as it is stored.

        Args:
            part: part of the data set.
            index: int64 [B], original rows (`batch["index"]`), in any order, repeated or not.
            view: number of the view.

        Returns:
            Outputs by name on the CPU: `logits` [B, C]; `log_probs` [B, k], `indices` int32 [B, k] and `log_rest` float32 [B];
            `features` [B, ...]; or of all samples after each other `boxes` [M, 4], `scores` [M], `labels` [M], with `counts` [B].

        Raises:
            OptionError: for an unknown part or view, or a sample that is not in the store.
            StoreError: if a shard is not labelled yet or corrupt.
        """
        if self._kind == "text":
            raise OptionError(f"{self.path} keeps texts: read them with texts(part, index).")
        rows = self._positions(part, index, view)
        if self._kind == "boxes":
            return self._ragged(part, view, rows)
        # Rows are read in ascending order, shard by shard, and put into the order asked for at the end.
        order = rows.argsort()
        ascending = rows[order]
        numbers, local = np.divmod(ascending, self.about["shard_rows"])
        ends = [*(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(rows)] if len(rows) else []
        facts = self.about["outputs"].items()
        found = [np.empty((len(rows), *fact["shape"]), NUMPY[fact["dtype"]]) for _, fact in facts]
        first = 0
        for number, end in zip(numbers[[0, *ends[:-1]]].tolist() if ends else (), ends, strict=True):
            chosen = local[first:end]
            for array, out in zip(self._shard(part, view, number).columns, found, strict=True):
                array.take(chosen, 0, out[first:end], "clip")  # positions were checked; "raise" would copy once more
            first = end
        back = torch.from_numpy(order.argsort())
        return {name: as_tensor(values, fact["dtype"]).index_select(0, back) for (name, fact), values in zip(facts, found, strict=True)}

    def read(self, part: str, index: Tensor, view: int = 0) -> Any:
        """Return the answers to some samples as the teacher would have given them.

        Args:
            part: part of the data set.
            index: int64 [B], original rows.
            view: number of the view.

        Returns:
            Logits or features in float32; for `top-k` a `tutelage.targets.TopK`; for `boxes` one dictionary per sample;
            for `text` one dictionary per sample.

        Raises:
            OptionError: for an unknown part or view, or a sample that is not in the store.
            StoreError: if a shard is not labelled yet or corrupt.
        """
        if self._kind == "text":
            return self.texts(part, index)
        found = self.gather(part, index, view)
        if self._kind == "top-k":
            return TopK(found["log_probs"].float(), found["indices"].long(), found["log_rest"], self.temperature)
        if self._kind == "boxes":
            counts = found.pop("counts").tolist()
            split = {name: torch.split(values, counts) for name, values in found.items()}
            return [{name: parts[row] for name, parts in split.items()} for row in range(len(counts))]
        return found["logits" if self._kind == "logits" else "features"].float()

    def texts(self, part: str, index: Tensor) -> list[dict[str, Any]]:
        """Return what the teacher said about some samples, of a store that keeps texts.

        Args:
            part: part of the data set.
            index: int64 [B], original rows.

        Returns:
            One dictionary per sample, with `text` and what came with it.

        Raises:
            OptionError: for an unknown part or sample, or a store that keeps something else.
            StoreError: if a shard is not labelled yet or corrupt.
        """
        if self._kind != "text":
            raise OptionError(f"{self.path} keeps {self.keep}, not texts: read it with gather(part, index).")
        numbers, local = np.divmod(self._positions(part, index, 0), self.about["shard_rows"])
        return [self._shard(part, 0, n)[row] for n, row in zip(numbers.tolist(), local.tolist(), strict=True)]

    def check(
        self,
        data: DataSet | Arrays | None = None,
        *,
        teacher: Any = None,
        view: str | None = "any",
        keep: tuple[str, ...] = (),
        classes: tuple[str, ...] | None = None,
        complete: bool = True,
    ) -> None:
        """Refuse a store that does not belong to what it is to be used with.

        Args:
            data: the data set: its rows, contents, order and original row numbers must be those that were labelled.
            teacher: the teacher that should have labelled.
            view: name of the augmentation of training, `None` without one; `"any"` leaves it unchecked.
            keep: kinds that can be used (`"logits"`, `"top-k"`, ...); any if empty.
            classes: names of the classes that the answers should be about.
            complete: whether every shard must be there.

        Raises:
            StoreError: naming everything that differs, what was got, what was expected, and the cure.
        """
        found: list[str] = []
        if data is not None:
            given = {"train": data} if isinstance(data, Arrays) else data.parts
            for part in given:
                if part in self.parts:
                    found += manifest.part_differences(part, self.about["parts"][part], part_facts(given[part]))
        if classes is not None and tuple(classes) != self.classes:
            found.append(f"classes: {', '.join(self.classes[:5])}, here {', '.join(classes[:5])}")
        if keep and self._kind not in keep:
            found.append(f"what is kept: {self.keep}, here {' or '.join(keep)} is needed")
        if view != "any" and (None if view == "none" else view) != self.view:
            found.append(f"view: {self.view or 'none'}, here {view or 'none'}")
        if teacher is not None and fingerprint(teacher) != self.about["teacher"]["fingerprint"]:
            found.append(f"teacher: {manifest.describe(self.about['teacher'])}, here one whose weights or structure differ")
        if found:
            source = self.about["data"]
            cut = "".join(f" --{name} {value}" for name, value in source["load"].items())
            raise StoreError(
                f"{self.path} belongs to something else: {'; '.join(found)}. It holds the answers of {self.about['teacher']['spec']} to "
                f"{source['spec']}{cut}{f' --view {self.view}' if self.view else ''}: use it with these, or label again."
            )
        missing = self.missing() if complete else []
        if missing:
            raise StoreError(
                f"{self.path} is not whole: {len(missing)} of {len(self._shards)} shards are missing or truncated, first {missing[0]}. "
                "Finish it: the same 'tutelage label ...' with --resume. What is there can be read by samples."
            )

    def _shard(self, part: str, view: int, number: int) -> Any:
        key = (part, view, number)
        if key not in self._open:
            shard: Shard = self._shards[key]
            self._open[key] = TextShard(self.path, shard) if self._kind == "text" else MappedShard(self.path, shard, self.about["outputs"])
        return self._open[key]

    def _positions(self, part: str, index: Tensor, view: int) -> np.ndarray:
        if part not in self.parts:
            raise OptionError(f"{self.path} has no part '{part}'.{nearest(part, self.parts)}")
        if not 0 <= view < views_of(self.about, part):
            raise OptionError(
                f"{self.path} has {views_of(self.about, part)} view(s) of {part}, counted from 0; number {view} was asked for."
            )
        if part not in self._places:
            self._places[part] = Places(self.path, part, self.about)
        return self._places[part](index)

    def _ragged(self, part: str, view: int, rows: np.ndarray) -> dict[str, Tensor]:
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in self.about["outputs"]}
        for number, row in zip(*(v.tolist() for v in np.divmod(rows, self.about["shard_rows"])), strict=True):
            shard = self._shard(part, view, number)
            first, last = int(shard.starts[row]), int(shard.starts[row + 1])
            for name, array in shard.arrays.items():
                pieces[name].append(array[row : row + 1] if name == "counts" else array[first:last])
        return {
            name: as_tensor(np.concatenate([empty(facts), *pieces[name]]), facts["dtype"]) for name, facts in self.about["outputs"].items()
        }
