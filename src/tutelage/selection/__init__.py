"""Selectors: which targets are believed, and how much.

A selector returns weights, not a filtered tensor: float32 of the shape that the loss has, without a graph, to be given to `losses.mean` or
multiplied. Shapes stay static, and what was refused can be counted.
"""

from tutelage.selection.adaptive_regulation import adaptive_regulation
from tutelage.selection.agreement import agreement
from tutelage.selection.class_threshold import ClassThreshold
from tutelage.selection.confidence import MovingThreshold, confidence
from tutelage.selection.core_set import CoreSet, greedy_k_centre, nearest_distance
from tutelage.selection.entropy import entropy_percentile, uncertainty
from tutelage.selection.usage import UseCounter

__all__ = [
    "ClassThreshold",
    "CoreSet",
    "MovingThreshold",
    "UseCounter",
    "adaptive_regulation",
    "agreement",
    "confidence",
    "entropy_percentile",
    "greedy_k_centre",
    "nearest_distance",
    "uncertainty",
]
