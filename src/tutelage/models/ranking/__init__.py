"""Rankers: models that score passages for a query, and what makes a document's score of them."""

from tutelage.models.ranking.aggregate import TopScores
from tutelage.models.ranking.conv_knrm import ConvKernels
from tutelage.models.ranking.cross_encoder import CrossEncoder
from tutelage.models.ranking.kernels import KernelPooling
from tutelage.models.ranking.pretrained import PretrainedTokens, TransformersCrossEncoder, cross_encoder
from tutelage.models.ranking.scorer import PassageScorer

__all__ = [
    "ConvKernels",
    "CrossEncoder",
    "KernelPooling",
    "PassageScorer",
    "PretrainedTokens",
    "TopScores",
    "TransformersCrossEncoder",
    "cross_encoder",
]
