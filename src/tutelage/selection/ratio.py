"""A ratio per sample between teacher and label, read off the triangles between what student, teacher and label say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError

Edges = Literal["sq", "dist", "dist_only"]


@dataclass(frozen=True)
class Triangles:
    """Vertices and edges of the triangles (S, T, G) and (S, M, G) of each sample, side by side: the state of a `RatioNetwork`.

    S is the student's prediction, T the teacher's, G the label as a one-hot vector, M the teacher's mean prediction over
    the label's class. The edge S-G belongs to both triangles and is there once.

    Args:
        edges: `"sq"` for squared differences, C numbers per edge (default); `"dist"` for Euclidean lengths, one number
            per edge; `"dist_only"` for the lengths without any vertex.
        intra: whether the triangle of the sample itself is used: vertex T, edges S-T and T-G. Default True.
        inter: whether the triangle of its class is used: vertex M, edges S-M and M-G. Default True.
        student_teacher_edge: whether S-T is among the edges of the intra-sample triangle. Default True.

    Raises:
        OptionError: if neither triangle is used or the kind of edges is unknown.

    Source: Hu et al., 2024 (TGeo-KD), trilateral geometry; which form its edges have is not published.
    """

    edges: Edges = "sq"
    intra: bool = True
    inter: bool = True
    student_teacher_edge: bool = True

    def __post_init__(self) -> None:
        if self.edges not in ("sq", "dist", "dist_only"):
            raise OptionError(f"edges is '{self.edges}'; expected 'sq', 'dist' or 'dist_only'.")
        if not (self.intra or self.inter):
            raise OptionError("intra and inter are both False, which leaves no triangle to read: set one of them to True.")

    def __call__(self, student: Tensor, teacher: Tensor, label: Tensor, class_mean: Tensor) -> Tensor:
        """Return the state of each sample.

        Args:
            student: S, probabilities [N, C].
            teacher: T, probabilities [N, C].
            label: G, one-hot [N, C].
            class_mean: M, the row of each sample's label in the class-mean table, [N, C].

        Returns:
            [N, D]: D = 9C with every default, 4C + 5 for `"dist"`, 5 for `"dist_only"`.
        """
        corners = [student, *([teacher] if self.intra else []), label, *([class_mean] if self.inter else [])]
        sides = [(student, label)]
        if self.intra:
            sides += [(student, teacher)] if self.student_teacher_edge else []
            sides += [(teacher, label)]
        if self.inter:
            sides += [(student, class_mean), (class_mean, label)]

        if self.edges == "sq":
            return torch.cat(corners + [(a - b).square() for a, b in sides], dim=1)
        lengths = [torch.linalg.vector_norm(a - b, dim=1, keepdim=True) for a, b in sides]
        return torch.cat(lengths if self.edges == "dist_only" else corners + lengths, dim=1)

    def size(self, num_classes: int) -> int:
        """Return D, the length of one sample's state.

        Args:
            num_classes: C.
        """
        empty = torch.zeros(1, num_classes)
        return self(empty, empty, empty, empty).shape[1]


class RatioNetwork(nn.Module):
    """A small network from a state per sample to a ratio in (0, 1): linear layers with LeakyReLU between, a sigmoid at the end.

    Args:
        state_size: length of a state.
        hidden: width of each hidden layer. Default (32, 16).
    """

    def __init__(self, state_size: int, *, hidden: Sequence[int] = (32, 16)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((state_size, *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear((state_size, *hidden)[-1], 1))

    def forward(self, state: Tensor) -> Tensor:
        """Return one ratio per row of the state [N, D], [N]."""
        ratio: Tensor = torch.sigmoid(self.layers(state)).squeeze(1)
        return ratio
