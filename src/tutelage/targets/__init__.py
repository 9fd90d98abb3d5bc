"""Targets: what the teacher says, turned into what the student is asked to match.

Those of logits and probabilities work on the last axis (classes) and keep every other axis. All compute in float32 when given float16 or
bfloat16.
"""

from tutelage.targets.bag_of_words import BagOfWords, local_means, without_ring
from tutelage.targets.center import Center
from tutelage.targets.distances import squared_distances
from tutelage.targets.queue import FeatureQueue, OnlineMeans
from tutelage.targets.soften import log_soften, sharpen, soften
from tutelage.targets.top_k import TopK, top_k, truncate

__all__ = [
    "BagOfWords",
    "Center",
    "FeatureQueue",
    "OnlineMeans",
    "TopK",
    "local_means",
    "log_soften",
    "sharpen",
    "soften",
    "squared_distances",
    "top_k",
    "truncate",
    "without_ring",
]
