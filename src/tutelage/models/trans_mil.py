"""TransMIL: two layers of Nystrom self-attention over the instances of a bag, with a class token and convolutional positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError
from tutelage.models.attention_mil import BagAnswer, BagModel, Initial


def iterative_pinv(matrix: Tensor, iterations: int = 6) -> Tensor:
    """Return an approximate pseudo-inverse by a third-order iteration, which needs no decomposition.

    Args:
        matrix: `[..., M, M]` of non-negative entries, such as attention.
        iterations: each cubes the relative error once it is below 1. Default 6.

    Returns:
        `[..., M, M]`.

    Source: Xiong et al., Nystromformer, AAAI 2021, eq. 11.
    """
    rows, columns = matrix.abs().sum(-1).amax(-1), matrix.abs().sum(-2).amax(-1)
    inverse = matrix.transpose(-1, -2) / (rows * columns)[..., None, None]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(iterations):
        product = matrix @ inverse
        inverse = 0.25 * inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product)))
    return inverse


def segment_means(values: Tensor, segments: int) -> Tensor:
    """Return the means of contiguous segments whose lengths differ by at most one.

    Args:
        values: `[H, T, D]` with T of at least `segments`.
        segments: how many.

    Returns:
        `[H, segments, D]`.
    """
    heads, length, width = values.shape
    place = torch.arange(length, device=values.device) * segments // length
    sums = values.new_zeros(heads, segments, width).index_add(1, place, values)
    return sums / torch.bincount(place, minlength=segments).to(values.dtype)[:, None]


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Exact attention `[H, T, D]`; with a batch axis PyTorch takes its kernel that never holds the matrix of weights."""
    mixed: Tensor = F.scaled_dot_product_attention(query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)).squeeze(0)
    return mixed


class NystromAttention(nn.Module):
    """Self-attention in linear time: every token attends to the means of `landmarks` segments, and those to every token.

    `softmax(Q K_l') pinv(softmax(Q_l K_l')) softmax(Q_l K') V`, plus a depth-wise convolution of V along the tokens. Sequences of at most
    `landmarks` tokens get exact attention, to which the formula is then equal.

    Args:
        width: features of a token.
        heads: attention heads; divides `width`.
        landmarks: segments. Default 256.
        iterations: of the pseudo-inverse. Default 6.
        kernel: length of the convolution, odd. Default 33.
        dropout: of the output. Default 0.1.

    Source: Xiong et al., Nystromformer, AAAI 2021, eq. 13; sizes of Shao et al., TransMIL, NeurIPS 2021.
    """

    def __init__(
        self, width: int, *, heads: int = 8, landmarks: int = 256, iterations: int = 6, kernel: int = 33, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if width < 1 or heads < 1 or width % heads or landmarks < 1 or kernel % 2 == 0:
            raise OptionError(
                f"Nystrom attention got width={width}, heads={heads}, landmarks={landmarks}, kernel={kernel}; "
                "expected heads that divide width, at least one landmark and an odd kernel."
            )
        self.heads, self.landmarks, self.iterations = heads, landmarks, iterations
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.near = nn.Conv2d(heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False)

    def forward(self, tokens: Tensor, *, ranked: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return mixed tokens and, where asked for, how much the first token attends to each.

        Args:
            tokens: `[T, width]`.
            ranked: whether the first token's attention is needed, which takes memory for `[heads, landmarks, T]`.

        Returns:
            Tokens `[T, width]`, and attention `[heads, T]` or `None`. Approximated attention sums to about 1 and may be slightly negative.
        """
        length, width = tokens.shape
        query, key, value = self.qkv(tokens).view(length, 3, self.heads, width // self.heads).permute(1, 2, 0, 3).unbind(0)
        scale = 1 / math.sqrt(query.shape[-1])
        row: Tensor | None = None
        if length <= self.landmarks:
            mixed = _attend(query, key, value)
            if ranked:
                row = (scale * query[:, :1] @ key.transpose(1, 2)).softmax(-1).squeeze(1)
        else:
            few_queries, few_keys = segment_means(query, self.landmarks), segment_means(key, self.landmarks)
            inverse = iterative_pinv((scale * few_queries @ few_keys.transpose(1, 2)).softmax(-1), self.iterations)
            # Both products are plain attention, so neither [landmarks, T] nor [T, landmarks] is ever held.
            gathered = inverse @ _attend(few_queries, key, value)
            mixed = _attend(query, few_keys, gathered)
            if ranked:
                first = (scale * query[:, :1] @ few_keys.transpose(1, 2)).softmax(-1) @ inverse
                row = (first @ (scale * few_queries @ key.transpose(1, 2)).softmax(-1)).squeeze(1)
        mixed = mixed + self.near(value.unsqueeze(0)).squeeze(0)
        return self.out(mixed.transpose(0, 1).reshape(length, width)), row


class PPEG(nn.Module):
    """Positions from convolutions: tokens are laid out in a square, to which depth-wise convolutions of sizes 7, 5 and 3 are added.

    The square is filled up with the first tokens, which are dropped again.

    Args:
        width: features of a token.

    Source: Shao et al., TransMIL, NeurIPS 2021, algorithm 3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in (7, 5, 3))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens `[T, width]` of tokens `[T, width]`, the first of which is the class token and stays as it is."""
        cls, patches = tokens[:1], tokens[1:]
        length = len(patches)
        side = math.ceil(math.sqrt(length))
        square = patches[torch.arange(side * side, device=tokens.device) % length] if side * side > length else patches
        grid = square.transpose(0, 1).reshape(1, -1, side, side)
        placed = grid
        for convolution in self.convolutions:
            placed = placed + convolution(grid)
        return torch.cat([cls, placed.flatten(2).squeeze(0).transpose(0, 1)[:length]])


class TransMIL(BagModel):
    """TransMIL: front, class token, Nystrom layer, PPEG, Nystrom layer, norm; the class token is classified.

    Instances are ranked by the class token's attention in the first layer, head by head.

    Args:
        num_classes: C.
        input_shape: shape of one instance.
        width: E. Default 512 (paper).
        heads: attention heads. Default 8 (paper).
        landmarks: segments of the Nystrom attention; half of `width` when `None`.
        dropout: of the front. Default 0.25 (paper).
        initial: see `BagModel`.

    Raises:
        OptionError: for options out of range.

    Source: Shao et al., TransMIL: Transformer based Correlated Multiple Instance Learning, NeurIPS 2021.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int],
        width: int = 512,
        heads: int = 8,
        landmarks: int | None = None,
        dropout: float = 0.25,
        initial: Initial = "xavier",
    ) -> None:
        super().__init__(num_classes=num_classes, input_shape=input_shape, width=width, dropout=dropout, initial=initial)
        segments = max(width // 2, 1) if landmarks is None else landmarks
        self.class_token = nn.Parameter(torch.randn(1, width))
        self.norm1, self.norm2, self.norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.layer1, self.layer2 = (NystromAttention(width, heads=heads, landmarks=segments) for _ in range(2))
        self.positions = PPEG(width)
        self.head = nn.Linear(width, num_classes)
        self._initialise()

    def answer(self, bag: Tensor, *, ranked: bool = True) -> BagAnswer:
        """Return what `BagModel.answer` says; scores and attention are the class token's in the first layer, `[heads, N]`."""
        tokens = torch.cat([self.class_token, self.instances(bag)])
        mixed, row = self.layer1(self.norm1(tokens), ranked=ranked)
        tokens = self.positions(tokens + mixed)
        tokens = tokens + self.layer2(self.norm2(tokens))[0]
        embedding = self.norm(tokens[:1])
        attention = None if row is None else row[:, 1:]
        return BagAnswer(self.head(embedding).squeeze(0), embedding, attention, attention)
