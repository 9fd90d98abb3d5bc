"""What recipes on bags share: models by name, features brought to one scale, and measures of bags and of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from tutelage.data import Arrays
    from tutelage.models.attention_mil import BagModel
    from tutelage.train import Method

Aggregator = Literal["ab-mil", "gated", "dsmil", "trans-mil", "mean", "max"]


def aggregator(
    name: Aggregator, *, num_classes: int, input_shape: Sequence[int], width: int, attention: int, initial: Literal["xavier", "torch"]
) -> BagModel:
    """Return a model of bags by name.

    Args:
        name: which.
        num_classes: C.
        input_shape: shape of one instance.
        width: units of the front layer.
        attention: hidden units of the attention, where it has such.
        initial: weights at the start.
    """
    from tutelage.models.attention_mil import DSMIL, AttentionMIL, PooledMIL
    from tutelage.models.trans_mil import TransMIL

    shared: dict[str, Any] = {"num_classes": num_classes, "input_shape": input_shape, "width": width, "initial": initial}
    match name:
        case "ab-mil" | "gated":
            return AttentionMIL(attention=attention, gated=name == "gated", **shared)
        case "dsmil":
            return DSMIL(attention=attention, **shared)
        case "trans-mil":
            return TransMIL(landmarks=256, **shared)
        case _:
            return PooledMIL(pooling=name, **shared)


def standardised(train: Arrays, *others: Arrays) -> tuple[Arrays, ...]:
    """Return the parts with features shifted and scaled by mean and standard deviation of the instances of the first."""
    mean, std = train.column("input").moments()
    return tuple(part.replace(input=part.column("input").standardised(mean, std)) for part in (train, *others))


def answers(method: Method, part: Arrays) -> tuple[Tensor, Tensor]:
    """Return logits `[B, C]` and labels `[B]` of all bags of a part, one bag at a time."""
    from tutelage import evaluate

    return evaluate.predictions(method.predict, part, batch_size=1)


def threshold(method: Method, validation: Arrays) -> float | None:
    """Return the threshold that validation bags choose; `None` for more than two classes, or where they are all of one kind."""
    import torch

    from tutelage.evaluate.bags import best_threshold, margin

    logits, label = answers(method, validation)
    return best_threshold(margin(logits), label) if logits.shape[1] == 2 and len(torch.unique(label)) == 2 else None


def attention_shares(model: nn.Module, part: Arrays, ranks: int = 20) -> tuple[dict[str, float], list[float]]:
    """Return where attention lies in the positive bags of made data.

    Args:
        model: an attention model of bags.
        part: bags with the column `kind`.
        ranks: how many of the highest weights to list.

    Returns:
        `easy_attention` and `hard_attention`, mean percent of the attention on easy and on hard instances, summed over them and averaged
        over heads, and `lesser_attention`, the smaller of the two; and the mean weights of a bag in falling order.
    """
    import torch

    from tutelage.data.bag_makers import EASY, HARD
    from tutelage.evaluate.predict import evaluating

    place = next(model.parameters()).device
    positives = part.subset((part.labels == 1).cpu().numpy())
    shares, falling = [], []
    with evaluating(model), torch.no_grad():
        for bag, kind in zip(positives.column("input"), positives.column("kind"), strict=True):
            answer: Any = model
            weight = answer.answer(bag.to(place)).attention.mean(0).cpu()
            kinds = kind.flatten()
            shares.append(torch.stack([weight[kinds == EASY].sum(), weight[kinds == HARD].sum()]))
            falling.append(weight.sort(descending=True).values[:ranks])
    easy, hard = torch.stack(shares).mean(0).tolist()
    found = {"easy_attention": 100 * easy, "hard_attention": 100 * hard, "lesser_attention": 100 * min(easy, hard)}
    return found, torch.stack(falling).mean(0).tolist()
