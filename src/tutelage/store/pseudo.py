"""Hard pseudo-labels with their confidence, from a store: of a classifier's answers, or of what a chat model said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tutelage.data import Arrays
from tutelage.errors import DataError, OptionError
from tutelage.models.chat.protocol import Reply
from tutelage.store.chat import pseudo_labels
from tutelage.store.opened import Store
from tutelage.targets import TopK


class PseudoLabels(NamedTuple):
    """What a labeller thinks of some samples.

    Args:
        label: int64 `[N]`; -1 where it named no class.
        confidence: float32 `[N]`, the label's probability among the classes; 0 where it named none.
    """

    label: Tensor
    confidence: Tensor

    @property
    def malformed(self) -> int:
        """Number of samples for which no class was named."""
        return int((self.label < 0).sum())

    def logits(self, num_classes: int) -> Tensor:
        """Return log-probabilities `[N, C]`: the label has its confidence, the others share the rest; all alike where none was named."""
        rest = ((1 - self.confidence) / (num_classes - 1)).unsqueeze(1).expand(-1, num_classes)
        probs = rest.scatter(1, self.label.clamp_min(0).unsqueeze(1), self.confidence.unsqueeze(1))
        return torch.where(self.label.unsqueeze(1) < 0, torch.full_like(probs, 1 / num_classes), probs).clamp_min(1e-6).log()


def from_answers(answers: Tensor | TopK) -> PseudoLabels:
    """Return the likeliest class of each answer and its probability.

    Args:
        answers: logits `[N, C]`, or the top classes that a store keeps.
    """
    if isinstance(answers, TopK):
        return PseudoLabels(answers.indices[:, 0], answers.log_probs[:, 0].float().exp())
    confidence, label = answers.float().softmax(1).max(1)
    return PseudoLabels(label, confidence)


def read_pseudo_labels(store: Store, arrays: Arrays, part: str = "train") -> PseudoLabels:
    """Return what a store says about samples.

    Args:
        store: keeps logits, top-k, or texts of a chat model that were labelled with choices and log-probabilities.
        arrays: the samples, whose classes the choices are.
        part: which part of the store they are of.

    Raises:
        OptionError: if it keeps something else, or texts without choices or log-probabilities, or `arrays` names no classes.
        ShapeError: if a choice is no class of `arrays`.
    """
    kind = store.keep.partition(":")[0]
    if kind in ("logits", "top-k"):
        return from_answers(store.read(part, arrays.index))
    if kind != "text":
        raise OptionError(f"{store.path} keeps {store.keep}; pseudo-labels are read from logits, top-k or text.")
    if not arrays.classes:
        raise OptionError(f"'{arrays.name}' does not say which classes there are, so no reply can be weighed: Arrays(..., classes=(...)).")
    label = pseudo_labels(store, arrays, part)
    replies = store.texts(part, arrays.index)
    found = [choice_probability(reply, arrays.classes) if reply["choice"] is not None else 0.0 for reply in replies]
    without = sum(value is None for value in found)
    if without:
        raise OptionError(
            f"{without} of {len(found)} replies in {store.path} came without log-probabilities, so nothing says how sure the labeller was. "
            "Label again with log_probs=20 in the teacher's specification, from a server that gives them."
        )
    return PseudoLabels(label, torch.tensor([value or 0.0 for value in found]))


def choice_probability(reply: Mapping[str, Any], choices: Sequence[str]) -> float | None:
    """Return the probability of the class that a reply names, renormalised over the classes token by token.

    The name's tokens are followed in the reply. At each, the alternatives that the server reports count for the classes that they would
    still allow, and the factor is the share of those that go on towards the named class. So the product is the probability of the name if
    only names of classes could be said. A class that is not among the reported alternatives counts as impossible, and one whose name only
    begins a longer class's name is not told apart from that one.

    Args:
        reply: an entry of a store of texts with `choice` and `log_probs`.
        choices: names of all classes.

    Returns:
        A probability, or `None` where the reply has no log-probabilities.
    """
    tokens = Reply.from_json({name: value for name, value in reply.items() if name != "choice"}).log_probs
    if not tokens:
        return None
    name, said = _plain(str(reply["choice"])), "".join(_plain(token.token) for token in tokens)
    start = said.rfind(name)
    if start < 0:
        return None
    names, place, probability = [_plain(choice) for choice in choices], 0, 1.0
    for token in tokens:
        end = place + len(token.token)
        if place < start + len(name) and start < end:
            before, lead = name[: max(place - start, 0)], said[place : max(start, place)]
            ways = {text: log_prob for text, log_prob in token.top if text != token.token}
            towards = own = math.exp(token.log_prob)
            for text, log_prob in ways.items():
                able = _allowed(before + _plain(text) if before else _plain(text).removeprefix(lead).lstrip(), names)
                own += math.exp(log_prob) if name in able else 0.0
                towards += math.exp(log_prob) if able else 0.0
            probability *= own / towards
        place = end
    return probability


def _allowed(so_far: str, names: Sequence[str]) -> list[str]:
    """The names that a text may still become, or else those that it has just ended."""
    if not so_far:
        return []
    longer = [name for name in names if name.startswith(so_far)]
    return longer or [name for name in names if so_far.startswith(name) and not so_far[len(name)].isalnum()]


def _plain(text: str) -> str:
    """A name as `match` sees it: lower case, spaces, underscores and hyphens alike. The length stays."""
    return "".join(" " if c in "_- \t\n" else c.lower() if len(c.lower()) == 1 else c for c in text)


def with_pseudo_labels(arrays: Arrays, found: PseudoLabels) -> Arrays:
    """Return samples with a labeller's labels in place of the true ones; those for which it named no class are left out.

    Args:
        arrays: the samples.
        found: one label each.

    Returns:
        Columns `label` and `confidence` of the labeller and, where `arrays` has labels, `true_label`.

    Raises:
        DataError: if there is not one label per sample, or it named no class at all.
    """
    if len(found.label) != len(arrays):
        raise DataError(f"'{arrays.name}' has {len(arrays)} samples, but there are {len(found.label)} pseudo-labels.")
    kept = found.label >= 0
    if not bool(kept.any()):
        raise DataError(f"The labeller named a class for none of the {len(arrays)} samples of '{arrays.name}'. Read some of its replies.")
    columns: dict[str, Any] = {"label": found.label, "confidence": found.confidence}
    if "label" in arrays.columns:
        columns["true_label"] = arrays.labels
    whole = arrays.replace(**columns)
    return whole if bool(kept.all()) else whole.subset(kept)


class AsClassifier:
    """A store of pseudo-labels that reads like one of logits, for `teachers.Stored`.

    Args:
        store: see `read_pseudo_labels`.
        parts: the samples of each part that will be asked about.
    """

    views, view_seed = 0, 0

    def __init__(self, store: Store, parts: Mapping[str, Arrays]) -> None:
        self.store, self.keep, self.classes, self.temperature = store, "text", store.classes, 1.0
        self._parts = dict(parts)

    def read(self, part: str, index: Tensor, view: int = 0) -> Tensor:
        """Return log-probabilities `[B, C]` of some samples by their original rows; see `PseudoLabels.logits`."""
        arrays = self._parts[part]
        asked = Arrays({"index": index}, arrays.classes, arrays.name)
        return read_pseudo_labels(self.store, asked, part).logits(arrays.num_classes)
