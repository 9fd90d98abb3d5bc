"""A small cross-encoder, trained from nothing: query and passage go through one transformer together."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.models.ranking.kernels import KernelPooling
from tutelage.models.ranking.scorer import PassageScorer

Head = Literal["kernels", "cls"]


class CrossEncoder(PassageScorer):
    """Transformer over `[CLS] query passage`, and a score from its CLS vector or from kernels on its contextual tokens.

    Args:
        vocabulary: number of tokens, padding (0) included.
        width: d of embeddings and layers. Default 128.
        layers: transformer layers. Default 2.
        heads: attention heads; divides `width`. Default 4.
        hidden: width of the feed-forward layers; 2 d if `None`.
        dropout: inside the layers. Default 0.1.
        head: `"cls"`: CLS vector -> linear(1), as a pretrained cross-encoder has it; `"kernels"` (default): kernel pooling of the cosines
            between query and passage tokens, each a mix of its embedding and its context, with a learned weight of each query token (ours):
            it learns exact matches from few pairs.
        query_length: most tokens of a query. Default 30.
        passage_length: most tokens of a passage. Default 64.

    Raises:
        OptionError: for sizes out of range or an unknown head.

    Source: head "kernels": Hofstaetter et al., Interpretable & Time-Budget-Constrained Contextualization for Re-Ranking (TK), ECAI 2020;
        unlike there, query and passage see each other.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        hidden: int | None = None,
        dropout: float = 0.1,
        head: Head = "kernels",
        query_length: int = 30,
        passage_length: int = 64,
    ) -> None:
        super().__init__()
        if min(vocabulary - 1, width, layers, heads, query_length, passage_length) < 1 or width % heads or not 0 <= dropout < 1:
            raise OptionError(
                "A cross-encoder takes at least 2 tokens, positive sizes, heads that divide the width and dropout from 0 to 1: got "
                f"vocabulary={vocabulary}, width={width}, layers={layers}, heads={heads}, dropout={dropout}, "
                f"query_length={query_length}, passage_length={passage_length}."
            )
        if head not in get_args(Head):
            raise OptionError(f"head is '{head}'; expected 'kernels' or 'cls'.")
        hidden = 2 * width if hidden is None else hidden
        self.options: dict[str, Any] = {"vocabulary": vocabulary, "width": width, "layers": layers, "heads": heads, "hidden": hidden}
        self.options |= {"dropout": dropout, "head": head, "query_length": query_length, "passage_length": passage_length}
        self.head, self.query_length, self.passage_length = head, query_length, passage_length
        self.table = nn.Embedding(vocabulary, width, padding_idx=0)
        self.cls = nn.Parameter(torch.randn(width))
        self.places = nn.Parameter(torch.randn(query_length + passage_length, width) * 0.1)
        self.parts = nn.Parameter(torch.randn(2, width) * 0.1)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        if head == "cls":
            self.score: nn.Module = nn.Linear(width, 1)
            return
        self.score = KernelPooling()
        # Mostly the word itself at the start, and all words of a query count the same, 1.
        self.mix = nn.Parameter(torch.tensor(2.0))
        self.salience = nn.Linear(width, 1)
        nn.init.zeros_(self.salience.weight)
        nn.init.constant_(self.salience.bias, math.log(math.e - 1))

    def pairs(self, query: Tensor, passage: Tensor) -> Tensor:
        """Return the score of each pair `[M]`, of tokens `[M, Q]` and `[M, W]`; longer ones than the stated lengths are cut."""
        query, passage = query[:, : self.query_length], passage[:, : self.passage_length]
        length = query.shape[1]
        tokens = torch.cat([query, passage], 1)
        words = self.table(tokens)
        place = torch.cat([self.places[:length], self.places[self.query_length : self.query_length + passage.shape[1]]])
        part = torch.cat([self.parts[:1].expand(length, -1), self.parts[1:].expand(passage.shape[1], -1)])
        seen = torch.cat([self.cls.expand(len(tokens), 1, -1), words + place + part], 1)
        padding = F.pad(tokens == 0, (1, 0))
        context = self.encoder(seen, src_key_padding_mask=padding)
        if self.head == "cls":
            found: Tensor = self.score(context[:, 0]).squeeze(-1)
            return found
        share = self.mix.sigmoid()
        mixed = F.normalize(share * words + (1 - share) * context[:, 1:], dim=-1)
        cosines = mixed[:, :length] @ mixed[:, length:].transpose(1, 2)
        salience = F.softplus(self.salience(context[:, 1 : 1 + length]).squeeze(-1)) * (query != 0)
        found = self.score(cosines, salience, passage != 0)
        return found
