"""A fitted scikit-learn classifier as a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.errors import ShapeError, SpecError, optional
from tutelage.models.spec import PICKLES, refuse_pickle
from tutelage.models.untraced import untraced

SMALLEST = 1e-6
"""Probabilities below this count as this, so that their logarithms are finite."""


class SklearnModel(nn.Module):
    """A fitted scikit-learn classifier as a module without parameters, a frozen teacher.

    Its answers are the logarithms of `predict_proba`, so their softmax is what it said. Inputs are flattened to [N, D]; texts are handed
    on as they are, to a pipeline that begins with a vectorizer.

    Args:
        classifier: fitted, with `predict_proba` and `classes_`.
        num_classes: classes of the data; integer `classes_` are taken as labels, classes it never saw get the smallest probability.
        classes: names of the data's classes in order, for a classifier fitted on names.

    Raises:
        SpecError: if it is not fitted, has no `predict_proba`, or knows other classes than the data.
    """

    digest: Tensor
    columns: Tensor

    def __init__(self, classifier: Any, *, num_classes: int, classes: Sequence[str] | None = None) -> None:
        super().__init__()
        name = type(classifier).__name__
        if not hasattr(classifier, "predict_proba"):
            raise SpecError(
                f"{name} has no predict_proba, so it cannot teach. Fit sklearn.calibration.CalibratedClassifierCV around it, "
                "or switch its probabilities on."
            )
        known = getattr(classifier, "classes_", None)
        if known is None:
            raise SpecError(f"{name} is not fitted: it has no classes_. Call its fit() first.")
        self.classifier = classifier
        self.num_classes = num_classes
        self.register_buffer("columns", torch.tensor(_labels(name, np.asarray(known), num_classes, classes), dtype=torch.int64))
        joblib = optional("joblib", "sklearn")
        digest = hashlib.sha256(joblib.hash(classifier).encode()).digest()
        self.register_buffer("digest", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    @untraced
    def forward(self, inputs: Tensor | list[str]) -> Tensor:
        """Return logits, float32 [N, num_classes], of inputs [N, ...] or of N texts."""
        if not isinstance(inputs, Tensor):
            return self._logits(self.classifier.predict_proba(inputs))
        flat = inputs.detach().flatten(1).cpu().numpy()
        wanted = getattr(self.classifier, "n_features_in_", flat.shape[1])
        if flat.shape[1] != wanted:
            raise ShapeError(f"{type(self.classifier).__name__} was fitted on {wanted} columns, got inputs of {flat.shape[1]}.")
        return self._logits(self.classifier.predict_proba(flat)).to(inputs.device)

    def _logits(self, answer: Any) -> Tensor:
        probs = torch.as_tensor(np.asarray(answer), dtype=torch.float32)
        full = probs.new_zeros(len(probs), self.num_classes)
        full[:, self.columns.cpu()] = probs
        return full.clamp(min=SMALLEST).log()


def from_skops(file: str | Path) -> Any:
    """Read a classifier from a skops file, with the types that skops trusts by itself and no others.

    Args:
        file: the `.skops` file.

    Returns:
        The classifier.

    Raises:
        SpecError: for a pickle, a missing or damaged file, or one with types that are not trusted.
        MissingExtra: if skops is not installed.
    """
    path = Path(file)
    if path.suffix.lower() != ".skops":
        if path.suffix.lower() in PICKLES:
            refuse_pickle(str(path))
        raise SpecError(f"'{path}' is no .skops file. Save the classifier with skops.io.dump(classifier, 'model.skops').")
    if not path.is_file():
        raise SpecError(f"skops file '{path}' does not exist.")
    skops = optional("skops.io", "sklearn")
    try:
        unknown = skops.get_untrusted_types(file=path)
        if unknown:
            raise SpecError(
                f"'{path}' holds types that are not trusted and would run code of their own: {', '.join(unknown)}. It was not read."
            )
        return skops.load(path, trusted=[])
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"'{path}' cannot be read; it is truncated or no skops file ({type(error).__name__}: {error}).") from error


def _labels(name: str, known: np.ndarray[Any, Any], num_classes: int, classes: Sequence[str] | None) -> list[int]:
    """The data's label of each of the classifier's columns."""
    if known.ndim != 1:
        raise SpecError(f"{name} was fitted on several outputs at once; a teacher answers one class per sample.")
    if np.issubdtype(known.dtype, np.integer) or np.issubdtype(known.dtype, np.bool_):
        labels = [int(k) for k in known]
        if min(labels) < 0 or max(labels) >= num_classes:
            raise SpecError(
                f"{name} was fitted on labels {labels}, but the data's are 0 to {num_classes - 1}. Fit it on the data's labels."
            )
        return labels
    names = [str(c) for c in classes or ()]
    missing = [str(k) for k in known if str(k) not in names]
    if missing:
        raise SpecError(
            f"{name} was fitted on class names, of which the data lacks {missing[:5]}; the data's are {names[:10] or 'not given'}. "
            "Fit it on the data's names or labels."
        )
    return [names.index(str(k)) for k in known]
