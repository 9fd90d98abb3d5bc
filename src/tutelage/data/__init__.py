"""Data: arrays in memory or on disk, batches in a reproducible order, and loaders that turn a spec into a data set."""

from __future__ import annotations

from tutelage.data import noise
from tutelage.data.arrays import Arrays, DataSet
from tutelage.data.bags import Bags
from tutelage.data.batches import Batches
from tutelage.data.loading import load
from tutelage.data.rows import Mapped
from tutelage.data.splitting import few_labels, folds, join, split
from tutelage.data.unlabelled import Images, images

__all__ = ["Arrays", "Bags", "Batches", "DataSet", "Images", "Mapped", "few_labels", "folds", "images", "join", "load", "noise", "split"]
