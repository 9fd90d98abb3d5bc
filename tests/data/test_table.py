from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from tutelage.data import load, table
from tutelage.errors import DataError, OptionError

arrow = pytest.importorskip("pyarrow")


def frame(count=60):
    random = np.random.default_rng(1)
    return {
        "age": [int(v) for v in random.integers(18, 90, count)],
        "town": [("Ulm", "Bonn", "Kiel")[i % 3] for i in range(count)],
        "income": [float(v) for v in random.normal(3000, 800, count)],
        "member": [i % 4 == 0 for i in range(count)],
        "verdict": [("no", "yes")[i % 2] for i in range(count)],
    }


def write(path, columns):
    values = arrow.table(columns)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in values.to_pylist()))
    elif path.suffix == ".csv":
        __import__("pyarrow.csv").csv.write_csv(values, path)
    else:
        __import__("pyarrow.parquet").parquet.write_table(values, path)
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_numbers_are_standardised_and_strings_one_column_each(tmp_path, suffix):
    columns = frame()
    data = load(write(tmp_path / f"people.{suffix}", columns) + "?label=verdict")
    assert data.classes == ("no", "yes")
    assert data.shape == (2 + 3 + 2,)
    batch = data.test.gather()
    rows, train = batch["index"].numpy(), data.train.index.numpy()
    age = np.array(columns["age"], np.float64)
    assert np.allclose(batch["input"][:, 0].numpy(), (age[rows] - age[train].mean()) / age[train].std(), atol=1e-5)
    town = np.array(columns["town"])[rows]
    assert np.array_equal(batch["input"][:, 2:5].numpy(), np.stack([town == "Bonn", town == "Kiel", town == "Ulm"], 1))
    assert np.array_equal(batch["label"].numpy(), rows % 2)


def test_numbers_stay_as_they_are_when_asked(tmp_path):
    columns = frame()
    data = load(write(tmp_path / "p.csv", columns) + "?label=verdict&standardize=false&drop=town,member")
    batch = data.train.gather()
    assert batch["input"].shape[1] == 2
    assert np.allclose(batch["input"][:, 1].numpy(), np.array(columns["income"])[batch["index"].numpy()], rtol=1e-5)


def test_a_text_column_is_the_input(tmp_path):
    columns = {"review": [f"text {i}" for i in range(40)], "stars": [1 + 4 * (i % 2) for i in range(40)]}
    data = load(write(tmp_path / "r.parquet", columns) + "?label=stars&text=review")
    assert data.classes == ("1", "5")
    batch = data.train.gather([0])
    assert batch["input"] == [f"text {int(batch['index'][0])}"]


def test_missing_numbers_and_labels_are_named_or_skipped(tmp_path):
    columns = frame()
    columns["income"][7] = math.nan
    columns["age"][9] = None
    path = write(tmp_path / "p.parquet", columns) + "?label=verdict"
    with pytest.raises(DataError, match=r"2 of the 60 samples of 'p' have an input that is NaN or infinite; the first is row 8 "):
        load(path)
    data = load(path, skip_bad=True)
    assert data.skipped == 2
    assert sum(map(len, data.parts.values())) == 58
    assert torch.isfinite(data.train.gather()["input"]).all()
    columns = frame()
    columns["verdict"][3] = None
    with pytest.raises(DataError, match=r"1 of the 60 .* a label outside 0..1; the first is row 4"):
        load(write(tmp_path / "l.parquet", columns) + "?label=verdict")


def test_the_label_column_is_asked_for_and_must_exist(tmp_path):
    path = write(tmp_path / "p.csv", frame())
    with pytest.raises(OptionError, match=r"which column holds the labels.*verdict"):
        load(path)
    with pytest.raises(OptionError, match=r"no column 'verdikt'. Did you mean 'verdict'"):
        load(path + "?label=verdikt")
    with pytest.raises(OptionError, match=r"no option 'lable'. Did you mean 'label'"):
        load(path + "?lable=verdict")


def test_what_is_no_class_or_category_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "p.csv", frame())
    with pytest.raises(DataError, match="60 different fractions"):
        load(path + "?label=income")
    monkeypatch.setattr(table, "MOST_CATEGORIES", 2)
    with pytest.raises(DataError, match=r"Column 'town' .* 3 different strings.*\?drop=town.*\?text=town"):
        load(path + "?label=verdict")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.csv' does not exist"):
        load(f"{tmp_path}/gone.csv?label=x")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match=r"ragged.csv' is truncated or not a table"):
        load(f"{tmp_path}/ragged.csv?label=a")
    (tmp_path / "half.parquet").write_bytes(b"PAR1....")
    with pytest.raises(DataError, match=r"half.parquet' is truncated"):
        load(f"{tmp_path}/half.parquet?label=a")
    (tmp_path / "half.jsonl").write_text('{"a": 1}\n{"a": ')
    with pytest.raises(DataError, match=r"half.jsonl' is truncated"):
        load(f"{tmp_path}/half.jsonl?label=a")
    (tmp_path / "head.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="no rows"):
        load(f"{tmp_path}/head.csv?label=a")
