"""A reference classifier of texts: the mean of learned word vectors, then a perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tutelage.data.words import PADDING, Encoder, HashedWords
from tutelage.errors import OptionError


class WordBag(nn.Module):
    """Averages the vectors of a text's words; it knows no order, and is very fast.

    Tap points: `embedding` (the mean vector), `hidden` (after its ReLU), `head`.

    Args:
        num_classes: outputs.
        vocabulary: ids, padding among them; where `words` is given, as many as it has.
        dim: length of a word's vector.
        hidden: units of the hidden layer; 0 puts the output layer on the mean vector.
        dropout: share of the mean vector and of the hidden layer dropped in training, 0 to 1.
        length: words of a text that count, where it takes texts.
        words: turns texts into ids; hashed words by default.

    Raises:
        OptionError: for sizes or dropout out of range.

    Source: Joulin et al., Bag of Tricks for Efficient Text Classification, EACL 2017, with a hidden layer and without n-grams.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        vocabulary: int = 20_000,
        dim: int = 64,
        hidden: int = 64,
        dropout: float = 0.0,
        length: int = 256,
        words: Encoder | None = None,
    ) -> None:
        super().__init__()
        self.words: Encoder = HashedWords(vocabulary) if words is None else words
        ids = len(words) if words is not None else vocabulary
        if min(ids, dim, length) < 1 or hidden < 0 or not 0 <= dropout < 1:
            raise OptionError(
                f"WordBag got vocabulary={ids}, dim={dim}, hidden={hidden}, dropout={dropout}, length={length}; expected sizes above 0 and "
                "dropout from 0 to 1."
            )
        self.length = length
        self.embedding = nn.EmbeddingBag(ids, dim, mode="mean")
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout)) if hidden else nn.Identity()
        self.head = nn.Linear(hidden or dim, num_classes)

    def forward(self, inputs: Tensor | Sequence[str]) -> Tensor:
        """Return logits `[N, C]` of N texts, or of ids int64 `[N, L]` padded with 0."""
        if not isinstance(inputs, Tensor):
            inputs = self.words.encode(inputs, self.length).to(self.head.weight.device)
        # Without the padding: a bag of its own words alone is a third faster to differentiate than a padded row.
        words = inputs != PADDING
        counts = words.sum(1)
        mean = self.embedding(inputs[words], counts.cumsum(0) - counts)
        logits: Tensor = self.head(self.hidden(self.dropout(mean)))
        return logits
