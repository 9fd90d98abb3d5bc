from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.data import Arrays, DataSet, load
from tutelage.errors import DataError, OptionError, SpecError

CODE = """
import numpy as np
from tutelage.data import Arrays, DataSet

def pair(count=30, scale=1.0, name="x"):
    assert isinstance(name, str)
    return np.full((count, 2), scale), np.arange(count) % 3

def arrays():
    x, y = pair()
    return Arrays({"input": x.astype("float32"), "label": y}, ("a", "b", "c"), "mine")

def data_set():
    part = arrays()
    return DataSet("whole", part, part, part)

def broken():
    raise ValueError("no such sensor")

def nothing():
    return None
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_sensor_data.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return "python:my_sensor_data"


def test_a_function_may_return_inputs_and_labels(module):
    data = load(f"{module}:pair?count=60&scale=2.5&name=x")
    assert [len(part) for part in data.parts.values()] == [42, 6, 12]
    assert data.train.gather()["input"].unique().tolist() == [2.5]
    assert data.classes == ("0", "1", "2")


def test_a_function_may_return_arrays_or_a_data_set(module):
    assert load(f"{module}:arrays").classes == ("a", "b", "c")
    assert len(load(f"{module}:data_set").test) == 30


def test_a_file_is_a_module_too(module, tmp_path):
    assert load(f"python:{tmp_path}/my_sensor_data.py:arrays").name == "mine"


def test_what_a_factory_raises_is_told_with_its_name(module):
    with pytest.raises(SpecError, match=f"'{module}:broken' raised ValueError: no such sensor"):
        load(f"{module}:broken")
    with pytest.raises(SpecError, match="gave a NoneType"):
        load(f"{module}:nothing")


def test_what_does_not_exist_is_named(module, tmp_path):
    with pytest.raises(SpecError, match=r"no function 'pear'. Did you mean 'pair'"):
        load(f"{module}:pear")
    with pytest.raises(SpecError, match="'no_such_module' does not import"):
        load("python:no_such_module:f")
    with pytest.raises(SpecError, match="does not exist"):
        load(f"python:{tmp_path}/gone.py:f")
    with pytest.raises(SpecError, match="names no function"):
        load("python:my_sensor_data")
    with pytest.raises(OptionError, match=r"no argument 'cuont'. Did you mean 'count'"):
        load(f"{module}:pair?cuont=3")


def test_live_objects_are_taken_as_they_are():
    x, y = torch.rand(30, 4), torch.arange(30) % 2
    assert load((x, y)).shape == (4,)
    assert load(lambda: (x.numpy(), y.tolist())).num_classes == 2
    part = Arrays({"input": x, "label": y}, ("a", "b"))
    data = DataSet("d", part, part, part)
    assert load(data) is data
    with pytest.raises(SpecError, match="from a int"):
        load(3)
    with pytest.raises(DataError, match="one entry per sample"):
        load((x, y[:-1]))
    images = load((np.zeros((30, 1, 2, 2), np.uint8), y))
    assert images.train.columns["input"].dtype == torch.uint8
