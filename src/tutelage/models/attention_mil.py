"""Models of bags: instances go through one front layer, are pooled into one embedding, and that is classified.

Every model takes a bag `[N, ...]` or a list of bags, and says on request how it ranks the instances of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError

Activation = Literal["tanh", "relu", "gelu"]
Initial = Literal["xavier", "torch"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}


class BagAnswer(NamedTuple):
    """What a model says about one bag of N instances.

    Args:
        logits: of the bag, `[C]`.
        embedding: what the classifier saw, `[S, E]`; `S` is 1, or C for a model that has one embedding per class.
        scores: how salient each instance is to each attention head, higher is more, `[H, N]`; softmax attention is ranked by its logits,
            which do not underflow. `None` where ranking costs time and was not asked for.
        attention: weight of each instance in the embedding, `[H, N]`; `None` with the scores.
        instance_logits: logits of a second stream that classifies single instances, `[C]`, or `None`.
    """

    logits: Tensor
    embedding: Tensor
    scores: Tensor | None
    attention: Tensor | None
    instance_logits: Tensor | None = None


class BagModel(nn.Module):
    """The base of models of bags: a front of Linear, ReLU and dropout on each instance.

    Args:
        num_classes: C.
        input_shape: shape of one instance; it is flattened to D numbers.
        width: E, outputs of the front. Default 512 (paper).
        dropout: share of the front's outputs that is dropped in training. Default 0.25 (paper).
        initial: weights of linear layers at the start: `"xavier"`: Xavier-normal, biases zero (paper); `"torch"`: PyTorch's own.

    Raises:
        OptionError: for options out of range.

    Source: Tang et al., Multiple Instance Learning Framework with Masked Hard Instance Mining, arXiv 2307.15254, section 4.
    """

    def __init__(
        self, *, num_classes: int, input_shape: Sequence[int], width: int = 512, dropout: float = 0.25, initial: Initial = "xavier"
    ) -> None:
        super().__init__()
        if initial not in get_args(Initial):
            raise OptionError(f"initial is '{initial}'; expected 'xavier' or 'torch'.")
        self.initial = initial
        features = math.prod(input_shape)
        if min(num_classes, features, width) < 1 or not 0 <= dropout < 1:
            raise OptionError(
                "A model of bags takes positive classes, features and width, and dropout from 0 to 1: got "
                f"num_classes={num_classes}, input_shape={tuple(input_shape)}, width={width}, dropout={dropout}."
            )
        self.features, self.width, self.num_classes = features, width, num_classes
        self.front = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Dropout(dropout))

    def _initialise(self) -> None:
        for module in self.modules() if self.initial == "xavier" else ():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, bags: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the logits of bags.

        Args:
            bags: a list of bags `[N_i, ...]`, or one bag `[N, ...]`.

        Returns:
            `[B, C]`; B is 1 for one bag.
        """
        return torch.stack([self.answer(bag, ranked=False).logits for bag in ([bags] if isinstance(bags, Tensor) else bags)])

    def answer(self, bag: Tensor, *, ranked: bool = True) -> BagAnswer:
        """Return logits, embedding and, where asked for, the ranking of the instances of one bag.

        Args:
            bag: `[N, ...]` with N of at least 1.
            ranked: whether `scores` and `attention` are needed.

        Raises:
            ShapeError: if the bag is empty or its instances have another shape.
        """
        raise TypeError(f"{type(self).__name__} must define answer(bag)")

    def instances(self, bag: Tensor) -> Tensor:
        """Return what the front makes of the instances, `[N, E]`."""
        if not len(bag) or bag.ndim < 2 or math.prod(bag.shape[1:]) != self.features:
            raise ShapeError(
                f"This model takes bags [N, {self.features}] of at least one instance, got {list(bag.shape)}. "
                "Several bags go in as a list of tensors."
            )
        front: Tensor = self.front(bag.flatten(1))
        return front


class AttentionMIL(BagModel):
    """AB-MIL: one learned weight per instance, `softmax_i(w' act(V z_i))`; gated: `softmax_i(w' (tanh(V z_i) * sigmoid(U z_i)))`.

    Args:
        num_classes: C.
        input_shape: shape of one instance.
        width: E. Default 512 (paper).
        attention: hidden units of the attention. Default 128 (paper).
        gated: multiply the hidden units by a learned gate. Default False.
        activation: of the hidden units. Default `"tanh"`.
        dropout: of the front. Default 0.25 (paper).
        initial: see `BagModel`.

    Raises:
        OptionError: for options out of range.

    Source: Ilse, Tomczak and Welling, Attention-based Deep Multiple Instance Learning, ICML 2018, eq. 8 and 9.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int],
        width: int = 512,
        attention: int = 128,
        gated: bool = False,
        activation: Activation = "tanh",
        dropout: float = 0.25,
        initial: Initial = "xavier",
    ) -> None:
        super().__init__(num_classes=num_classes, input_shape=input_shape, width=width, dropout=dropout, initial=initial)
        if attention < 1 or activation not in _ACTIVATIONS:
            raise OptionError(f"attention={attention}, activation='{activation}'; expected at least 1, and 'tanh', 'relu' or 'gelu'.")
        self.hidden = nn.Sequential(nn.Linear(width, attention), _ACTIVATIONS[activation]())
        self.gate = nn.Sequential(nn.Linear(width, attention), nn.Sigmoid()) if gated else None
        self.score = nn.Linear(attention, 1)
        self.head = nn.Linear(width, num_classes)
        self._initialise()

    def answer(self, bag: Tensor, *, ranked: bool = True) -> BagAnswer:
        """Return what `BagModel.answer` says; the ranking costs nothing here."""
        instances = self.instances(bag)
        hidden = self.hidden(instances)
        if self.gate is not None:
            hidden = hidden * self.gate(instances)
        scores = self.score(hidden).transpose(0, 1)
        attention = scores.softmax(1)
        embedding = attention @ instances
        return BagAnswer(self.head(embedding).squeeze(0), embedding, scores, attention)


class DSMIL(BagModel):
    """DSMIL: the most salient instance of each class attends to all others, beside the stream that found it.

    Stream one classifies instances; its highest logit of each class is the bag's. Stream two compares every instance's query with that of
    each class's highest instance, `softmax_i(q_i' q_max / sqrt(Q))`, and classifies the C weighted sums together.

    Args:
        num_classes: C.
        input_shape: shape of one instance.
        width: E. Default 512 (paper).
        attention: Q, length of a query. Default 128.
        dropout: of the front. Default 0.25 (paper).
        initial: see `BagModel`.

    Raises:
        OptionError: for options out of range.

    Source: Li, Li and Eliceiri, Dual-stream Multiple Instance Learning Network, CVPR 2021, eq. 4 to 8.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int],
        width: int = 512,
        attention: int = 128,
        dropout: float = 0.25,
        initial: Initial = "xavier",
    ) -> None:
        super().__init__(num_classes=num_classes, input_shape=input_shape, width=width, dropout=dropout, initial=initial)
        if attention < 1:
            raise OptionError(f"attention={attention}; expected at least 1.")
        self.instance_head = nn.Linear(width, num_classes)
        self.query = nn.Linear(width, attention)
        self.head = nn.Linear(num_classes * width, num_classes)
        self._initialise()

    def answer(self, bag: Tensor, *, ranked: bool = True) -> BagAnswer:
        """Return what `BagModel.answer` says; one head and one embedding per class, and the logits of the instance stream."""
        instances = self.instances(bag)
        classes = self.instance_head(instances)
        found, critical = classes.max(0)
        queries = self.query(instances)
        scores = queries[critical] @ queries.transpose(0, 1) / math.sqrt(queries.shape[1])
        attention = scores.softmax(1)
        embedding = attention @ instances
        return BagAnswer(self.head(embedding.flatten()), embedding, scores, attention, found)


class PooledMIL(BagModel):
    """Mean or max pooling: instances are classified, and their logits averaged, or the highest of each class taken.

    Args:
        num_classes: C.
        input_shape: shape of one instance.
        pooling: `"mean"` or `"max"`.
        width: E. Default 512 (paper).
        dropout: of the front. Default 0.25 (paper).
        initial: see `BagModel`.

    Raises:
        OptionError: for options out of range.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int],
        pooling: Literal["mean", "max"] = "mean",
        width: int = 512,
        dropout: float = 0.25,
        initial: Initial = "xavier",
    ) -> None:
        super().__init__(num_classes=num_classes, input_shape=input_shape, width=width, dropout=dropout, initial=initial)
        if pooling not in ("mean", "max"):
            raise OptionError(f"pooling is '{pooling}'; expected 'mean' or 'max'.")
        self.pooling = pooling
        self.head = nn.Linear(width, num_classes)
        self._initialise()

    def answer(self, bag: Tensor, *, ranked: bool = True) -> BagAnswer:
        """Return what `BagModel.answer` says; instances are ranked by their logit of the bag's class, margin over the mean class."""
        instances = self.instances(bag)
        classes = self.head(instances)
        logits = classes.mean(0) if self.pooling == "mean" else classes.max(0).values
        margin = classes - classes.mean(1, keepdim=True)
        scores = margin.index_select(1, logits.argmax().unsqueeze(0)).transpose(0, 1)
        if self.pooling == "mean":
            attention = torch.full_like(scores, 1 / len(bag))
        else:
            attention = torch.zeros_like(scores).scatter(1, scores.argmax(1, keepdim=True), 1.0)
        return BagAnswer(logits, attention @ instances, scores, attention)
