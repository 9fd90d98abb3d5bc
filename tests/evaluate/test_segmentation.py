from __future__ import annotations

import pytest
import torch

from tutelage import evaluate
from tutelage.data import Arrays
from tutelage.errors import DataError, ShapeError
from tutelage.evaluate.segmentation import confusion, scores


def test_intersection_over_union_is_torchmetrics():
    classification = pytest.importorskip("torchmetrics.classification")
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 4, (6, 9, 9), generator=generator)
    label[0, :3] = 255
    logits = torch.randn(6, 4, 9, 9, generator=generator) + 2 * torch.nn.functional.one_hot(label.clamp_max(3), 4).movedim(-1, 1)
    theirs = classification.MulticlassJaccardIndex(4, ignore_index=255)(logits, label)
    arrays = Arrays({"input": logits, "label": label}, tuple("abcd"))
    found = evaluate.segmentation(lambda x: x, arrays, 4, batch_size=4)
    assert found["miou"] == pytest.approx(100 * float(theirs), abs=1e-3)
    known = label != 255
    assert found["pixel_accuracy"] == pytest.approx(100 * float((logits.argmax(1) == label)[known].float().mean()), abs=1e-3)


def test_by_hand_and_classes_that_never_occur_do_not_count():
    matrix = confusion(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 255]), 3)
    assert matrix.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert scores(matrix)["miou"] == pytest.approx(50.0)
    assert scores(torch.zeros(2, 2, dtype=torch.int64)) == {"miou": 0.0, "pixel_accuracy": 0.0}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError):
        confusion(torch.zeros(3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), 2)
    with pytest.raises(DataError, match="0 to 7"):
        confusion(torch.zeros(2, dtype=torch.int64), torch.tensor([0, 7]), 2)
