"""A labeller of texts from a few labelled ones: TF-IDF and logistic regression, with confidences that were calibrated out of fold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from tutelage.errors import DataError, optional
from tutelage.models.calibrated import fit_temperature
from tutelage.models.output_scale import OutputScale
from tutelage.models.sklearn_model import SklearnModel


def tfidf_teacher(
    texts: Sequence[str],
    labels: Sequence[int],
    num_classes: int,
    *,
    ngrams: tuple[int, int] = (1, 2),
    strength: float = 10.0,
    folds: int = 5,
    seed: int = 0,
) -> OutputScale:
    """Fit a teacher on a few labelled texts.

    Its temperature is fitted on what classifiers say about texts that they were not fitted on (stratified folds), since every one of
    the few texts is needed for the teacher itself.

    Args:
        texts: labelled texts, at least two of each class.
        labels: their classes, from 0 to C - 1.
        num_classes: C; classes without a text are never answered.
        ngrams: shortest and longest run of words that counts. Default 1 and 2.
        strength: inverse of the penalty of the logistic regression. Default 10.
        folds: parts of the cross-validation, at least 2; fewer where a class has fewer texts.
        seed: of the folds.

    Returns:
        A frozen teacher: logits `[N, C]` of lists of N texts, whose softmax is calibrated. Its `scale` is one over the temperature.

    Raises:
        DataError: if a class has a single text.
        MissingExtra: if scikit-learn is not installed.
    """
    text_features = optional("sklearn.feature_extraction.text", "sklearn")
    linear, selection, pipeline = (optional(f"sklearn.{name}", "sklearn") for name in ("linear_model", "model_selection", "pipeline"))
    truth = np.asarray(labels, np.int64)
    fewest = int(np.bincount(truth)[np.unique(truth)].min()) if len(truth) else 0
    if fewest < 2:
        raise DataError(f"The rarest class of the {len(truth)} labelled texts has {fewest}; expected at least 2 of each.")

    def fitted(rows: np.ndarray) -> SklearnModel:
        vectors = text_features.TfidfVectorizer(ngram_range=ngrams, sublinear_tf=True)
        made = pipeline.make_pipeline(vectors, linear.LogisticRegression(C=strength, max_iter=1000))
        model = SklearnModel(made.fit([texts[i] for i in rows], truth[rows]), num_classes=num_classes)
        # The vocabulary is a dictionary, whose pickle is not the same in every process; what was learned is.
        learned = hashlib.sha256(json.dumps(sorted((word, int(i)) for word, i in made[0].vocabulary_.items())).encode())
        for array in (made[0].idf_, made[1].coef_, made[1].intercept_):
            learned.update(np.ascontiguousarray(array, np.float64).tobytes())
        model.digest.copy_(torch.frombuffer(bytearray(learned.digest()), dtype=torch.uint8))
        return model

    cut = selection.StratifiedKFold(min(folds, fewest), shuffle=True, random_state=seed)
    parts = [(fitted(train)([texts[i] for i in held]), held) for train, held in cut.split(truth, truth)]
    logits = torch.cat([found for found, _ in parts])
    temperature = fit_temperature(logits, torch.from_numpy(truth[np.concatenate([held for _, held in parts])]))
    return OutputScale(fitted(np.arange(len(truth))), 1 / temperature)
