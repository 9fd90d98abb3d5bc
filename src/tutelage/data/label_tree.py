"""Label trees: multi-label images whose labels have ancestors and belong to verticals, and loaders of such sets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.errors import DataError, nearest


def read_rows(path: str | Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the named columns of a CSV file with a header line.

    Args:
        path: the file.
        columns: names that its header must have; further columns are passed over.

    Yields:
        One tuple of stripped values per line, in the order of `columns`.

    Raises:
        DataError: if the file is missing, is not text, or lacks a column or a value.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file '{path}'; expected a CSV file with the columns {', '.join(columns)}.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        try:
            missing = [c for c in columns if c not in (reader.fieldnames or [])]
            if missing:
                raise DataError(f"'{path}' lacks the column(s) {', '.join(missing)}; its header is {reader.fieldnames}.")
            for row in reader:
                values = tuple(row[c] for c in columns)
                if any(v is None for v in values):
                    raise DataError(f"'{path}', line {reader.line_num}: expected values for {', '.join(columns)}, got {values}.")
                yield tuple(v.strip() for v in values)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"'{path}' could not be read as a CSV file in UTF-8: {error}.") from error


@dataclass(frozen=True)
class LabelTree:
    """Labels and their parents: a forest, in which a label may have several parents.

    Args:
        labels: names, each once; a label's place is its column in a multi-hot target.
        parents: parents of each label that has any.

    Raises:
        DataError: if a label occurs twice, a parent is not a label, or a label is its own ancestor.
    """

    labels: tuple[str, ...]
    parents: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if len(self.position) != len(self.labels):
            twice = next(label for i, label in enumerate(self.labels) if label in self.labels[:i])
            raise DataError(f"The label '{twice}' occurs twice in the label tree.")
        for child, parents in self.parents.items():
            for label in (child, *parents):
                if label not in self.position:
                    raise DataError(f"'{label}' is named as a child or parent but is no label of the tree.{nearest(label, self.labels)}")
        cycle = [label for label in self.labels if label not in self.depth]
        if cycle:
            raise DataError(f"The label tree has a cycle: {', '.join(cycle[:5])} are their own ancestors or lie below such a label.")

    @classmethod
    def from_edges(cls, edges: Iterable[tuple[str, str]]) -> Self:
        """Build a tree of `(child, parent)` pairs; an empty parent marks a root.

        Args:
            edges: the pairs. Labels are numbered in order of appearance.

        Returns:
            The tree.
        """
        labels: dict[str, None] = {}
        parents: dict[str, dict[str, None]] = {}
        for child, parent in edges:
            labels.setdefault(child)
            if parent:
                labels.setdefault(parent)
                parents.setdefault(child, {}).setdefault(parent)
        return cls(tuple(labels), {child: tuple(of) for child, of in parents.items()})

    @classmethod
    def from_csv(cls, path: str | Path) -> Self:
        """Read a tree from a CSV file with the columns `child` and `parent`; a root may have a line with an empty parent."""
        return cls.from_edges((child, parent) for child, parent in read_rows(path, ("child", "parent")))

    @classmethod
    def from_open_images(cls, path: str | Path) -> Self:
        """Read the hierarchy file of Open Images (nested `LabelName` and `Subcategory`).

        Its top node, which stands for anything at all, is left out, so that the roots are its children. `Part` relations are left out
        too: a part of a thing is not a kind of it.

        Args:
            path: the JSON file.

        Returns:
            The tree.

        Raises:
            DataError: if the file is missing or not of this form.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"There is no file '{path}'; expected the hierarchy of Open Images as JSON.")

        def edges(node: dict[str, Any], parent: str) -> Iterator[tuple[str, str]]:
            yield node["LabelName"], parent
            for child in node.get("Subcategory", []):
                yield from edges(child, node["LabelName"])

        try:
            top = json.loads(path.read_text(encoding="utf-8"))
            return cls.from_edges(edge for child in top["Subcategory"] for edge in edges(child, ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"'{path}' is not a hierarchy of Open Images: {type(error).__name__} {error}.") from error

    @cached_property
    def position(self) -> dict[str, int]:
        """Column of each label."""
        return {label: i for i, label in enumerate(self.labels)}

    @cached_property
    def depth(self) -> dict[str, int]:
        """Length of the longest way from each label up to a root; labels in or below a cycle are absent."""
        children: dict[str, list[str]] = {}
        waiting = {label: len(self.parents.get(label, ())) for label in self.labels}
        for child, parents in self.parents.items():
            for parent in parents:
                children.setdefault(parent, []).append(child)
        level, depth = 0, {}
        front = [label for label, count in waiting.items() if count == 0]
        while front:
            depth.update(dict.fromkeys(front, level))
            below = []
            for label in front:
                for child in children.get(label, []):
                    waiting[child] -= 1
                    if waiting[child] == 0:
                        below.append(child)
            front, level = below, level + 1
        return depth

    @cached_property
    def _levels(self) -> list[tuple[Tensor, Tensor]]:
        """Columns of children and of their parents, from the deepest children up."""
        edges: dict[int, list[tuple[int, int]]] = {}
        for child, parents in self.parents.items():
            edges.setdefault(self.depth[child], []).extend((self.position[child], self.position[p]) for p in parents)
        pairs = [torch.tensor(edges[d]) for d in sorted(edges, reverse=True)]
        return [(pair[:, 0], pair[:, 1]) for pair in pairs]

    def ancestors(self, label: str) -> set[str]:
        """Return all labels above one.

        Args:
            label: which.

        Returns:
            Its parents, their parents and so on, without itself.

        Raises:
            DataError: if there is no such label.
        """
        if label not in self.position:
            raise DataError(f"The tree has no label '{label}'.{nearest(label, self.labels)}")
        above: set[str] = set()
        front = list(self.parents.get(label, ()))
        while front:
            parent = front.pop()
            if parent not in above:
                above.add(parent)
                front.extend(self.parents.get(parent, ()))
        return above

    def close(self, targets: Tensor) -> Tensor:
        """Switch on every ancestor of the labels that are on.

        Args:
            targets: multi-hot, bool, integers or float `[N, L]`; with soft targets a parent gets at least its largest child.

        Returns:
            The closed targets, same shape and dtype.
        """
        closed = targets.to(torch.uint8) if targets.dtype == torch.bool else targets.clone()
        for children, parents in self._levels:
            index = parents.to(closed.device).expand(len(closed), -1)
            closed.scatter_reduce_(1, index, closed[:, children.to(closed.device)], "amax")
        return closed.to(targets.dtype)


@dataclass(frozen=True)
class Verticals:
    """A map from labels to verticals, semantic subsets of the labels.

    Args:
        names: names of the verticals, M of them.
        index: vertical of each label, int64 `[L]`.
    """

    names: tuple[str, ...]
    index: Tensor

    @classmethod
    def by_root(cls, tree: LabelTree) -> Self:
        """Make every root of a tree a vertical of all labels below it; of several roots, the first in the tree's order."""
        return cls.from_map(tree, {label: label for label in tree.labels if not tree.parents.get(label)})

    @classmethod
    def from_map(cls, tree: LabelTree, of_label: Mapping[str, str]) -> Self:
        """Build the map of a tree's labels.

        Args:
            tree: the labels.
            of_label: vertical of labels. A label that is not named takes that of its first parent.

        Returns:
            The verticals, numbered in order of their first label in the tree.

        Raises:
            DataError: if a named label is not in the tree, or a label has no vertical.
        """
        unknown = next((label for label in of_label if label not in tree.position), None)
        if unknown is not None:
            raise DataError(f"The map to verticals names '{unknown}', which the label tree has not.{nearest(unknown, tree.labels)}")
        found: dict[str, str] = {}
        for label in sorted(tree.labels, key=tree.depth.__getitem__):
            parents = sorted(tree.parents.get(label, ()), key=tree.position.__getitem__)
            vertical = of_label.get(label) or next((found[p] for p in parents if p in found), None)
            if vertical is None:
                raise DataError(f"The label '{label}' has no vertical, and neither have its ancestors; add it to the map.")
            found[label] = vertical
        names = tuple(dict.fromkeys(found[label] for label in tree.labels))
        return cls(names, torch.tensor([names.index(found[label]) for label in tree.labels]))

    @classmethod
    def from_csv(cls, tree: LabelTree, path: str | Path) -> Self:
        """Read the map from a CSV file with the columns `label` and `vertical`; see `from_map`."""
        return cls.from_map(tree, dict(read_rows(path, ("label", "vertical"))))  # type: ignore[arg-type]

    def of_images(self, targets: Tensor) -> Tensor:
        """Return which verticals the labels of each image belong to.

        Args:
            targets: multi-hot `[N, L]`.

        Returns:
            bool `[N, M]`.
        """
        counts = torch.zeros(len(targets), len(self.names), device=targets.device)
        return counts.index_add_(1, self.index.to(targets.device), targets.float()) > 0
