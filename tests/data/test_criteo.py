"""Click logs in the published layout, and the oversampling of rare classes."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
import torch

from tutelage.data import Arrays
from tutelage.data.criteo import criteo, imbalanced_table, oversample_minority
from tutelage.errors import DataError, OptionError


def line(label: int, numbers: list, categories: list[str]) -> str:
    return "\t".join([str(label), *map(str, numbers), *categories])


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def log(tmp_path):
    """40 lines, a click on every fourth, the first integer counting lines."""
    lines = [line(int(i % 4 == 0), [i, *[1] * 12], ["68fd1e64"] * 26) for i in range(40)]
    return write(tmp_path / "train.txt", lines)


def test_fields_become_numbers_and_buckets(tmp_path):
    numbers = [0, -3, "", 9] + [1] * 9
    categories = ["68fd1e64", "", "0000000a"] + ["80e26c9b"] * 23
    lines = [line(i % 2, numbers, categories) for i in range(10)]
    batch = criteo(write(tmp_path / "train.txt", lines), buckets=100, validation=0.2, test=0.2).test.gather()
    got = batch["input"][0]
    assert got.shape == (39,)
    torch.testing.assert_close(got[:4], torch.tensor([0.0, -math.log(4), 0.0, math.log(10)]))
    assert got[13:16].tolist() == [1 + 0x68FD1E64 % 99, 0, 1 + 10 % 99]


def test_one_hot_marks_the_bucket_of_each_category(log):
    index, hot = criteo(log, buckets=7), criteo(log, buckets=7, encode="one_hot")
    assert hot.shape == (13 + 26 * 7,)
    a, b = index.test.gather()["input"], hot.test.gather()["input"]
    torch.testing.assert_close(a[:, :13], b[:, :13])
    assert torch.equal(b[:, 13:].reshape(-1, 26, 7).argmax(dim=2).float(), a[:, 13:])
    assert torch.equal(b[:, 13:].sum(dim=1), torch.full((len(b),), 26.0))


def test_parts_follow_the_order_of_time(log):
    data = criteo(log, oversample=None)
    assert data.train.index.tolist() == list(range(32))
    assert data.validation.index.tolist() == list(range(32, 36))
    assert data.test.index.tolist() == list(range(36, 40))
    assert data.classes == ("no click", "click")


def test_only_the_training_part_is_oversampled(log):
    data = criteo(log)
    assert torch.bincount(data.train.labels).tolist() == [24, 24]
    assert torch.bincount(data.test.labels).tolist() == [3, 1]


def test_gzip_and_a_limit_of_rows(log, tmp_path):
    packed = tmp_path / "day_0.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert criteo(packed).fingerprint() == criteo(log).fingerprint()
    assert sum(len(part) for part in criteo(packed, rows=20, oversample=None).parts.values()) == 20


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ("1\t2\t3", "Line 11 .* has 3 fields; expected 40"),
        ("\t".join(["1"] * 39), "unlabelled test file"),
        (line(2, [1] * 13, ["0a"] * 26), "label '2'; expected 0 or 1"),
        (line(1, [1.5] * 13, ["0a"] * 26), "Line 11 .*'1.5'"),
        (line(1, [1] * 13, ["zz"] * 26), "hexadecimal"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, what):
    good = [line(i % 2, [1] * 13, ["0a"] * 26) for i in range(10)]
    with pytest.raises(DataError, match=what):
        criteo(write(tmp_path / "train.txt", [*good, bad]))


def test_files_that_hold_nothing_to_learn_from(tmp_path, log):
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(DataError, match="cannot be read"):
        criteo(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="no lines"):
        criteo(empty)
    truncated = tmp_path / "cut.gz"
    truncated.write_bytes(gzip.compress(log.read_bytes())[:60])
    with pytest.raises(DataError, match="cannot be read"):
        criteo(truncated)
    one_class = write(tmp_path / "one.txt", [line(0, [1] * 13, ["0a"] * 26) for _ in range(20)])
    with pytest.raises(DataError, match="both classes"):
        criteo(one_class)


@pytest.mark.parametrize("options", [{"buckets": 1}, {"encode": "text"}, {"validation": 0.6, "test": 0.5}, {"test": 0.0}])
def test_options_out_of_range(log, options):
    with pytest.raises(OptionError, match="criteo takes"):
        criteo(log, **options)


def table(counts: list[int]) -> Arrays:
    labels = np.repeat(np.arange(len(counts)), counts)
    inputs = np.arange(len(labels), dtype=np.float32)[:, None]
    return Arrays({"input": inputs, "label": labels}, tuple("abcdef"[: len(counts)]), "table")


def test_oversampling_balances_and_repeats_evenly():
    got = oversample_minority(table([10, 3, 4]), seed=1)
    assert torch.bincount(got.labels).tolist() == [10, 10, 10]
    times = torch.bincount(got.index, minlength=17)
    assert times[:10].tolist() == [1] * 10
    assert sorted(times[10:13].tolist()) == [3, 3, 4]
    assert sorted(times[13:].tolist()) == [2, 2, 3, 3]
    assert torch.equal(got.gather()["input"][:, 0], got.index.float())


def test_oversampling_to_a_share_and_its_seed():
    assert torch.bincount(oversample_minority(table([100, 10]), share=0.5).labels).tolist() == [100, 50]
    assert torch.bincount(oversample_minority(table([100, 60]), share=0.5).labels).tolist() == [100, 60]
    rows = [oversample_minority(table([100, 30]), seed=s).index.tolist() for s in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]
    with pytest.raises(OptionError, match="share is 0"):
        oversample_minority(table([3, 2]), share=0)


def test_a_table_of_sensor_values_is_oversampled_in_training_only(tmp_path):
    generator = np.random.default_rng(0)
    lines = ["speed,torque,attack"] + [f"{a:.4f},{b:.4f},{int(i % 10 == 0)}" for i, (a, b) in enumerate(generator.normal(size=(200, 2)))]
    data = imbalanced_table(f"{write(tmp_path / 'log.csv', lines)}?label=attack", validation=0.2, test=0.2)
    counts = {name: torch.bincount(part.labels).tolist() for name, part in data.parts.items()}
    assert counts["train"][0] == counts["train"][1] == 108
    assert counts["test"] == [36, 4]
