"""Divergences over large vocabularies, from hidden states, without logits of all tokens."""

from tutelage.losses.linear.divergence import linear_divergence
from tutelage.losses.linear.plan import Chunk, linear_chunk

__all__ = ["Chunk", "linear_chunk", "linear_divergence"]
