from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tutelage import data
from tutelage.data import bag_folder
from tutelage.errors import DataError, OptionError


def slides(count: int = 12, features: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"slide_{i:02d}": torch.randn(int(3 + i), features, generator=generator) for i in range(count)}


@pytest.fixture
def folder(tmp_path):
    """CLAM's layout: one tensor file per slide, and a table of patients, slides and labels."""
    (tmp_path / "features" / "pt_files").mkdir(parents=True)
    for name, values in slides().items():
        torch.save(values, tmp_path / "features" / "pt_files" / f"{name}.pt")
    lines = [f"patient_{i // 2},slide_{i:02d},{'tumor' if i // 2 % 2 else 'normal'}" for i in range(12)]
    (tmp_path / "features" / "labels.csv").write_text("\n".join(["case_id,slide_id,label", *lines]) + "\n")
    return tmp_path / "features"


def whole(spec: str, **options) -> data.Arrays:
    parts = data.load(spec, **options)
    return data.join([parts.train, parts.validation, parts.test])


def test_a_folder_as_clam_writes_it(folder):
    arrays = whole(f"{folder}?labels=labels.csv")
    assert arrays.columns["name"] == list(slides())
    assert arrays.classes == ("normal", "tumor")
    assert arrays.labels.tolist() == [i // 2 % 2 for i in range(12)]
    assert arrays.columns["group"] == [f"patient_{i // 2}" for i in range(12)]
    for got, expected in zip(arrays.column("input"), slides().values(), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("kind", ["safetensors", "npy", "big-endian npy", "half pt", "dictionary pt", "old pt"])
def test_other_files_of_the_same_numbers(tmp_path, kind):
    for name, values in slides().items():
        match kind:
            case "safetensors":
                save_file({"features": values}, tmp_path / f"{name}.safetensors")
            case "npy":
                np.save(tmp_path / f"{name}.npy", values.numpy())
            case "big-endian npy":
                np.save(tmp_path / f"{name}.npy", values.numpy().astype(">f4"))
            case "half pt":
                torch.save(values.half(), tmp_path / f"{name}.pt")
            case "dictionary pt":
                torch.save({"features": values}, tmp_path / f"{name}.pt")
            case "old pt":
                torch.save(values, tmp_path / f"{name}.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "l.csv").write_text("".join(f"slide_{i:02d},{i % 2}\n" for i in range(12)))  # without a header, as the authors' table
    for memory in ("true", "false"):
        arrays = whole(f"bags:{tmp_path}?labels=l.csv&memory={memory}")
        assert arrays.classes == ("0", "1")
        assert (arrays.column("input").bytes > 0) == (memory == "true")
        for got, expected in zip(arrays.column("input"), slides().values(), strict=True):
            torch.testing.assert_close(got, expected, atol=2e-3 if "half" in kind else 0, rtol=0)


def test_large_folders_stay_on_disk_and_standardise_as_they_are_read(folder, monkeypatch):
    monkeypatch.setattr(bag_folder, "IN_MEMORY", 1000)
    parts = data.load(f"{folder}?labels=labels.csv&standardize=true")
    assert parts.train.column("input").bytes == 0
    scaled = torch.cat(list(parts.train.column("input")))
    torch.testing.assert_close(scaled.mean(0), torch.zeros(6), atol=1e-6, rtol=0)


def test_numbers_sort_by_value(tmp_path):
    for i in range(24):
        np.save(tmp_path / f"{i}.npy", np.ones((2, 3), np.float32))
    (tmp_path / "l.csv").write_text("slide,label\n" + "".join(f"{i}.npy,{[2, 10, 1][i % 3]}\n" for i in range(24)))
    assert whole(f"{tmp_path}?labels=l.csv").classes == ("1", "2", "10")


def test_a_file_with_code_in_it_is_refused_and_nothing_runs(folder):
    target = folder / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(target), "w"))

    (folder / "pt_files" / "slide_03.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"slide_03.pt.*not a file of one tensor"):
        data.load(f"{folder}?labels=labels.csv")
    assert not target.exists()


def spoil(path, how: str) -> None:
    match how:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(path.read_bytes()[:200])
        case "empty":
            torch.save(torch.zeros(0, 6), path)
        case "narrow":
            torch.save(torch.zeros(2, 5), path)
        case "flat":
            torch.save(torch.zeros(6), path)
        case "two":
            torch.save({"a": torch.zeros(1, 6), "b": torch.zeros(1, 6)}, path)
        case "nan":
            torch.save(torch.full((2, 6), torch.nan), path)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("missing", "no file 'slide_05.pt'.*Did you mean"),
        ("truncated", "truncated"),
        ("empty", r"shape \[0, 6\]; expected \[N, D\] with at least one instance"),
        ("narrow", "5 features per instance"),
        ("flat", r"shape \[6\]"),
        ("two", "holds a dict"),
        ("nan", "NaN or infinite"),
    ],
)
def test_files_that_cannot_be_used_are_named_or_left_out(folder, how, reason):
    spoil(folder / "pt_files" / "slide_05.pt", how)
    with pytest.raises(DataError, match=reason) as caught:
        data.load(f"{folder}?labels=labels.csv")
    assert "slide_05" in str(caught.value)
    loaded = data.load(f"{folder}?labels=labels.csv&memory=false", skip_bad=True)
    assert loaded.skipped == 1
    assert "slide_05" in loaded.skipped_names[0]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("slide,label\nslide_00,a\nslide_00,b\n", "lists the slide 'slide_00' twice"),
        ("slide,label\nslide_00\n", "Row 1 of .* expected a slide and a label"),
        ("name,label\nslide_00,a\n", "expected slide and label"),
        ("slide,label\n", "0 rows"),
        ("", "0 rows"),
    ],
)
def test_tables_that_cannot_be_read_say_what_was_expected(folder, table, reason):
    (folder / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=reason):
        data.load(f"{folder}?labels=labels.csv")


def test_wrong_options_are_named(folder):
    with pytest.raises(OptionError, match=r"\?labels=FILE.csv"):
        data.load(f"bags:{folder}")
    with pytest.raises(DataError, match=r"'nowhere.csv' is neither in"):
        data.load(f"{folder}?labels=nowhere.csv")
    with pytest.raises(OptionError, match="Did you mean 'memory'"):
        data.load(f"{folder}?labels=labels.csv&memry=true")
