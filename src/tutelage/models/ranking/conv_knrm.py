"""CK: a convolution over a teacher's embeddings and kernel pooling, cheap enough to read every passage."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.models.ranking.kernels import MEANS, KernelPooling
from tutelage.models.ranking.scorer import PassageScorer


class ConvKernels(PassageScorer):
    """CK, a light Conv-KNRM: one shared convolution of width 3, ReLU, cosines of all token pairs, Gaussian kernels, linear(1).

    The embeddings belong to the teacher: no gradient reaches them, and they are not among this model's parameters or saved weights.

    Args:
        table: the teacher's embeddings, rows of D; moved and saved with the teacher.
        width: outputs of the convolution; D if `None` (paper). The small variant has 128.
        projection: width of a linear layer between embeddings and convolution; `None` for none (paper). The small variant has 384.
        kernel: tokens that the convolution sees: this one and those after it, with zeros behind the last. Default 3 (paper).
        initial: `"identity"`: the convolution starts as the token itself (and a tenth of random weights), so that equal tokens match from
            the start, which matters where training is short (default, ours); `"torch"`: PyTorch's random weights.
        means: centres of the kernels. Default 11 from 1.0 to -0.9 (paper); those below 0 are nearly idle after the ReLU.
        sigma: their width. Default 0.1 (paper).

    Raises:
        OptionError: for sizes below 1.

    Source: Hofstaetter et al., Intra-Document Cascading, SIGIR 2021, section 3.2, and its released model.
    """

    def __init__(
        self,
        table: nn.Embedding,
        *,
        width: int | None = None,
        projection: int | None = None,
        kernel: int = 3,
        initial: Literal["identity", "torch"] = "identity",
        means: tuple[float, ...] = MEANS,
        sigma: float = 0.1,
    ) -> None:
        super().__init__()
        embedded = table.embedding_dim
        width = embedded if width is None else width
        if min(width, kernel, 1 if projection is None else projection) < 1:
            raise OptionError(f"CK takes sizes of at least 1: got width={width}, projection={projection}, kernel={kernel}.")
        if initial not in ("identity", "torch"):
            raise OptionError(f"initial is '{initial}'; expected 'identity' or 'torch'.")
        self.options: dict[str, Any] = {"width": width, "projection": projection, "kernel": kernel, "initial": initial}
        self.options |= {"means": tuple(means), "sigma": sigma}
        # In a tuple, so that the embeddings are not registered as parameters of this model.
        self._table = (table,)
        self.projection = None if projection is None else nn.Linear(embedded, projection)
        self.convolution = nn.Conv1d(embedded if projection is None else projection, width, kernel)
        if initial == "identity":
            weight = self.convolution.weight.data.mul_(0.1)
            weight[:, :, 0] += torch.eye(*weight.shape[:2])
            assert self.convolution.bias is not None
            nn.init.zeros_(self.convolution.bias)
        self.pooling = KernelPooling(means=means, sigma=sigma)

    @property
    def table(self) -> nn.Embedding:  # type: ignore[override]
        """The teacher's embeddings."""
        return self._table[0]

    def tokens(self, ids: Tensor) -> Tensor:
        """Return the normalised features of tokens int64 `[M, T]`, float `[M, T, width]`."""
        embedded = F.embedding(ids, self.table.weight.detach())
        if self.projection is not None:
            embedded = self.projection(embedded)
        # Zeros stand for padding behind the last token, whatever the table or the projection's bias say.
        embedded = embedded.masked_fill((ids == 0).unsqueeze(-1), 0.0)
        kernel = self.convolution.kernel_size[0]
        found = F.relu(self.convolution(F.pad(embedded.transpose(1, 2), (0, kernel - 1)))).transpose(1, 2)
        return F.normalize(found, dim=-1)

    def pairs(self, query: Tensor, passage: Tensor) -> Tensor:
        """Return the score of each pair `[M]`, of tokens `[M, Q]` and `[M, W]`."""
        return self._match(self.tokens(query), query, passage)

    def forward(self, query: Tensor, passages: Tensor, mask: Tensor) -> Tensor:
        """Return the score of each passage, as every passage scorer does; each query goes through the convolution once.

        Args:
            query: tokens int64 `[N, Q]`, or `[1, Q]`.
            passages: tokens int64 `[N, P, W]`.
            mask: bool `[N, P]`.

        Returns:
            float `[N, P]`, 0 where there is no passage.
        """
        chosen, features = passages[mask], self.tokens(query)
        row = mask.nonzero()[:, 0] if len(query) > 1 else mask.new_zeros(len(chosen), dtype=torch.int64)
        size = self._size
        blocks = [slice(start, start + size) for start in range(0, len(chosen), size)]
        scores = [self._match(features[row[block]], query[row[block]], chosen[block]) for block in blocks]
        found = torch.cat(scores) if scores else features.new_zeros(0)
        return found.new_zeros(mask.shape).masked_scatter(mask, found)

    def _match(self, features: Tensor, query: Tensor, passage: Tensor) -> Tensor:
        cosines = features @ self.tokens(passage).transpose(1, 2)
        found: Tensor = self.pooling(cosines, query != 0, passage != 0)
        return found
