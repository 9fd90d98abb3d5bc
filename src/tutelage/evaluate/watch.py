"""Watching features while they are learned without labels: have they collapsed, and what would a probe make of them?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tutelage.errors import DataError, OptionError
from tutelage.evaluate.collapse import effective_rank, feature_std, rank_me
from tutelage.evaluate.probe import features, linear_probe, nearest_neighbours

if TYPE_CHECKING:
    from tutelage.data import Arrays

Find = Callable[[Any], nn.Module]
"""From a method to the module whose answers are watched."""


class Watch:
    """Measures a method's features; given to a trainer as its validation, once per `validate_every` epochs.

    Always measured, on the features of up to `limit` of the images: `feature_std` (mean standard deviation; 0 is collapse),
    `effective_rank` (of centred features) and `rank_me` (of features as they are). With labels also `knn`, and `probe` if asked for, both
    in percent: the classifiers are fitted on features of `images` and judged on those of `held`.

    Args:
        images: samples with the column `input`, and `label` if classifiers are to watch.
        held: labelled samples to judge them on, or `None` for none.
        knn: neighbours of the k-nearest-neighbour classifier; 0 for none. Default 20.
        probe: whether a linear probe is fitted too. Default no: it takes longer.
        backbone: finds the module that makes the features. Default `method.student`.
        embedding: finds the module in whose space the loss works (backbone and projector, say), whose spread is reported as
            `embedding_std` and `embedding_rank`; `None` for none.
        limit: samples of each part at most, evenly spaced. Default 2048.
        batch_size: samples at once. Default 512.

    Raises:
        OptionError: for a number out of range.
        DataError: if there are fewer than two images, or `held` has no labels.
    """

    def __init__(
        self,
        images: Arrays,
        held: Arrays | None = None,
        *,
        knn: int = 20,
        probe: bool = False,
        backbone: Find = lambda method: method.student,
        embedding: Find | None = None,
        limit: int = 2048,
        batch_size: int = 512,
    ) -> None:
        if knn < 0 or limit < 2 or batch_size < 1:
            raise OptionError(f"Watch got knn={knn}, limit={limit}, batch_size={batch_size}: expected at least 0, 2 and 1.")
        if len(images) < 2:
            raise DataError(f"'{images.name}' has {len(images)} samples: whether features collapse shows on two or more.")
        if held is not None:
            for part in (images, held):
                if "label" not in part.columns:
                    raise DataError(f"'{part.name}' has no labels, which classifiers need: leave held out, or give labels.")
        self.images, self.labels = _sample(images, limit)
        self.held = None if held is None else _sample(held, limit)
        self.knn, self.probe, self.batch_size = knn, probe, batch_size
        self.backbone, self.embedding = backbone, embedding

    def __call__(self, method: Any) -> dict[str, float]:
        """Return what is measured of a method, by name."""
        found = features(self.backbone(method), self.images, batch_size=self.batch_size)
        values = {"feature_std": feature_std(found), "effective_rank": effective_rank(found), "rank_me": rank_me(found)}
        if self.embedding is not None:
            embedded = features(self.embedding(method), self.images, batch_size=self.batch_size)
            values |= {"embedding_std": feature_std(embedded), "embedding_rank": effective_rank(embedded)}
        if self.held is not None:
            images, labels = self.held
            assert self.labels is not None
            assert labels is not None
            other = features(self.backbone(method), images, batch_size=self.batch_size)
            four = (found, self.labels.to(found.device), other, labels.to(found.device))
            if self.knn:
                values["knn"] = nearest_neighbours(*four, k=self.knn)
            if self.probe:
                values["probe"] = linear_probe(*four, weight_decay=1e-3, steps=100)
        return values


def _sample(arrays: Arrays, limit: int) -> tuple[Tensor, Tensor | None]:
    """Return inputs and labels of evenly spaced rows."""
    number = min(limit, len(arrays))
    batch = arrays.gather(torch.arange(number) * len(arrays) // number)
    label = batch.get("label")
    return batch["input"], label
