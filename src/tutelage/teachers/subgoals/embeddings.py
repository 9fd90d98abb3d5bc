"""Embeddings of the sentences that subgoals are told in."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.environments.cells import SENTENCES
from tutelage.environments.subgoals import Vector
from tutelage.models.pretrained import minilm


def sentence_embeddings(texts: Sequence[str] = SENTENCES) -> dict[str, Vector]:
    """Embed texts with all-MiniLM-L6-v2, each a unit vector `[384]`: a tracker's `embed` is this dictionary's `__getitem__`.

    Args:
        texts: texts as subgoals bear them; underscores are read as spaces.

    Raises:
        MissingExtra: without the extra `pretrained`; `tutelage.environments.subgoals.hashed` needs none.
    """
    encoder = minilm()
    vectors = encoder.prompts([text.replace("_", " ") for text in texts])
    return {text: vector.numpy().astype("float32") for text, vector in zip(texts, vectors, strict=True)}
