"""Losses: how far the student is from its target.

Every loss keeps the batch dimension and reduces nothing, so that a selector's weights multiply it; `mean` reduces. The student comes
first and the teacher second. Losses differentiate with respect to whatever carries a graph: teachers never do, so a co-trained peer is
detached by the method that trains it. No loss contains a factor `temperature ** 2`; methods that want it write it.
Half types are computed, and returned, in float32.
"""

from tutelage.losses.contrast import Contrastive, contrastive
from tutelage.losses.cross_entropy import cross_entropy, sigmoid_cross_entropy, soft_cross_entropy, soft_kl
from tutelage.losses.divergence import entropy, forward_and_reverse_kl, forward_kl, jeffreys, jensen_shannon, reverse_kl
from tutelage.losses.features import Projected, attention_transfer, cosine, mse
from tutelage.losses.linear import Chunk, linear_chunk, linear_divergence
from tutelage.losses.normality import epps_pulley
from tutelage.losses.reduce import mean
from tutelage.losses.relations import relational, relational_angle, relational_distance, similarity_preserving
from tutelage.losses.sigreg import random_directions, sigreg

__all__ = [
    "Chunk",
    "Contrastive",
    "Projected",
    "attention_transfer",
    "contrastive",
    "cosine",
    "cross_entropy",
    "entropy",
    "epps_pulley",
    "forward_and_reverse_kl",
    "forward_kl",
    "jeffreys",
    "jensen_shannon",
    "linear_chunk",
    "linear_divergence",
    "mean",
    "mse",
    "random_directions",
    "relational",
    "relational_angle",
    "relational_distance",
    "reverse_kl",
    "sigmoid_cross_entropy",
    "sigreg",
    "similarity_preserving",
    "soft_cross_entropy",
    "soft_kl",
]
