from __future__ import annotations

import numpy as np
import pytest

from tutelage.data import Mapped, decoded, load
from tutelage.errors import DataError, OptionError

Image = pytest.importorskip("PIL.Image")


def save(path, value, size=(8, 6), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    Image.fromarray(np.full(shape, value, np.uint8)).save(path, **options)


def folder(root, per_class=10, **options):
    for number, name in enumerate(("cat", "dog")):
        for i in range(per_class):
            save(root / name / f"{i:02}.png", 100 * number + i, **options)
    return root


def test_sub_folders_are_classes(tmp_path):
    data = load(str(folder(tmp_path / "pets")))
    assert data.name == "pets"
    assert data.classes == ("cat", "dog")
    assert [len(part) for part in data.parts.values()] == [14, 2, 4]
    assert data.shape == (3, 6, 8)  # height before width
    for part in data.parts.values():
        batch = part.gather()
        expected = 100 * batch["label"] + batch["index"] % 10
        assert np.allclose(batch["input"].mean((1, 2, 3)).numpy() * 255, expected.numpy(), atol=1e-3)


def test_train_and_test_folders_are_kept(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "val", 3)
    folder(tmp_path / "test", 4)
    data = load(f"folder:{tmp_path}")
    assert [len(part) for part in data.parts.values()] == [20, 6, 8]
    save(tmp_path / "test" / "emu" / "0.png", 1)
    with pytest.raises(DataError, match="lacks: 'emu'"):
        load(str(tmp_path))


def test_grey_images_have_one_channel_unless_asked_otherwise(tmp_path):
    folder(tmp_path, mode="L")
    assert load(str(tmp_path)).shape == (1, 6, 8)
    assert load(f"{tmp_path}?color=rgb").shape == (3, 6, 8)
    save(tmp_path / "cat" / "colour.png", 3)
    assert load(str(tmp_path)).shape == (3, 6, 8)
    assert load(f"{tmp_path}?color=grey").shape == (1, 6, 8)


def test_images_of_different_sizes_need_one(tmp_path):
    folder(tmp_path)
    save(tmp_path / "dog" / "wide.png", 250, size=(30, 10))
    with pytest.raises(DataError, match=r"2 different sizes: 6x8 .*10x30 \('wide.png'\)\. Add a size: .*\?size=32"):
        load(str(tmp_path))
    assert load(f"{tmp_path}?size=12x16").shape == (3, 12, 16)
    with pytest.raises(OptionError, match="'size' is 'big'"):
        load(f"{tmp_path}?size=big")


def test_scaling_keeps_proportions_and_the_middle(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    assert float(load(f"{tmp_path}?size=10").train.gather()["input"].min()) == pytest.approx(200 / 255)


def test_transparent_pixels_are_white_and_cameras_orientation_is_applied(tmp_path):
    for name in "ab":
        for i in range(4):
            save(tmp_path / name / f"{i}.png", (0, 0, 0, 0), mode="RGBA")
    assert float(load(str(tmp_path)).train.gather()["input"].min()) == 1
    turned = Image.Exif()
    turned[0x0112] = 6  # 90 degrees
    for name in "ab":
        for i in range(4):
            save(tmp_path / "turned" / name / f"{i}.jpg", 9, size=(16, 8), exif=turned)
    assert load(str(tmp_path / "turned")).shape == (3, 16, 8)


def test_bad_files_are_named_or_skipped_and_counted(tmp_path):
    folder(tmp_path)
    (tmp_path / "cat" / "notes.png").write_text("not a picture")
    truncated = tmp_path / "dog" / "03.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:120])  # the header is whole
    with pytest.raises(DataError, match=r"1 of the 21 files .* the first: '.*notes.png' is not an image.*--skip-bad"):
        load(str(tmp_path))
    (tmp_path / "cat" / "notes.png").unlink()
    with pytest.raises(DataError, match=r"'.*03.png' is truncated or damaged"):
        load(str(tmp_path))
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    data = load(str(tmp_path), skip_bad=True)
    assert data.skipped == 2
    assert "notes.txt" in data.skipped_names[0]
    assert "03.png" in data.skipped_names[1]
    assert sum(map(len, data.parts.values())) == 19
    values = [v for part in data.parts.values() for v in (part.gather()["input"].mean((1, 2, 3)) * 255).round().tolist()]
    assert sorted(values) == sorted(set(range(10)) | {100 + i for i in range(10) if i != 3})


def test_hidden_files_are_not_images(tmp_path):
    folder(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    assert load(str(tmp_path)).classes == ("cat", "dog")


def test_empty_folders_and_classes_are_refused(tmp_path):
    with pytest.raises(DataError, match="no sub-folders"):
        load(str(tmp_path))
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="no image in its 1 class"):
        load(str(tmp_path))
    folder(tmp_path)
    (tmp_path / "emu").mkdir()
    with pytest.raises(DataError, match="first is 'emu'"):
        load(str(tmp_path))
    with pytest.raises(DataError, match="is not a folder"):
        load(f"folder:{tmp_path}/gone")


def test_large_sets_are_mapped_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    root = folder(tmp_path / "pets")
    (root / "dog" / "03.png").write_bytes((root / "dog" / "03.png").read_bytes()[:50])
    in_memory = load(str(root), skip_bad=True)
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())
    monkeypatch.setattr(decoded, "MAPPED_FROM", 1000)
    with pytest.raises(DataError, match=r"03.png"):
        load(str(root))
    mapped = load(str(root), skip_bad=True)
    assert isinstance(mapped.train.columns["input"], Mapped)
    assert mapped.fingerprint() == in_memory.fingerprint()
    assert mapped.skipped_names == in_memory.skipped_names
    stored = next((tmp_path / "cache").glob("*.npy"))
    before = stored.stat().st_mtime_ns
    assert load(str(root), skip_bad=True).fingerprint() == in_memory.fingerprint()
    assert stored.stat().st_mtime_ns == before
    stored.write_bytes(stored.read_bytes()[:200])
    assert load(str(root), skip_bad=True).fingerprint() == in_memory.fingerprint()
    assert not [f for f in (tmp_path / "cache").iterdir() if f.name.startswith(".")]


def test_a_changed_file_is_decoded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "MAPPED_FROM", 1000)
    folder(tmp_path)
    before = load(str(tmp_path)).fingerprint()
    save(tmp_path / "cat" / "00.png", 77)
    assert load(str(tmp_path)).fingerprint() != before


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "MAPPED_FROM", 1000)

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded, "_reserve", full)
    with pytest.raises(DataError, match=r"has no room .*TUTELAGE_CACHE"):
        load(str(folder(tmp_path / "pets")))
    assert list((tmp_path / "cache").iterdir()) == []
