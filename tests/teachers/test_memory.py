from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage import views
from tutelage.data import Arrays
from tutelage.errors import DataError, OptionError
from tutelage.teachers import Stored
from tutelage.teachers.memory import Memory


@pytest.fixture
def setting():
    x = torch.rand(30, 1, 6, 6)
    arrays = Arrays({"input": x}).subset(torch.randperm(30)[:20])
    return arrays, nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3))


def test_answers_are_found_by_row_and_asked_in_eval_mode(setting):
    arrays, teacher = setting
    memory = Memory.of(teacher, arrays, batch_size=7)
    assert teacher.training
    batch = arrays.gather([3, 0, 11])
    stored = Stored(memory)
    stored.attend(batch)
    torch.testing.assert_close(stored(batch["input"]), teacher.eval()(batch["input"]))


def test_every_view_has_answers_of_its_own(setting):
    arrays, teacher = setting
    view = views.random_crop(padding=1)
    memory = Memory.of(teacher, arrays, view=view, views=2, view_seed=5)
    batch = arrays.gather([1, 2])
    seen = views.per_row(view, batch["input"], views.row_seeds(5, batch["index"], 1))
    torch.testing.assert_close(memory.read("train", batch["index"], 1), teacher.eval()(seen))


def test_a_head_maps_stored_features(setting):
    arrays, teacher = setting
    memory = Memory.of(teacher, arrays)
    torch.testing.assert_close(memory.map(lambda a: 2 * a).read("", arrays.index), 2 * memory.read("", arrays.index))


def test_unknown_rows_and_half_stated_views_are_refused(setting):
    arrays, teacher = setting
    memory = Memory.of(teacher, arrays)
    with pytest.raises(DataError, match="not asked about row 1000"):
        memory.read("", torch.tensor([int(arrays.index[0]), 1000]))
    with pytest.raises(OptionError, match="views=2"):
        Memory.of(teacher, arrays, views=2)
    with pytest.raises(DataError, match="20 samples"):
        Memory(arrays.index, [torch.zeros(3, 2)])
