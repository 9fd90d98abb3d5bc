from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage import data
from tutelage.errors import DataError, OptionError, SpecError


@pytest.fixture
def tree(tmp_path):
    """Pictures at two depths, beside files that are none."""
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.JPG", "deep/er/c.png", ".hidden.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(tmp_path / "photos" / name, format="PNG")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def test_a_folder_of_images_in_any_arrangement_has_no_labels(tree):
    found = data.images(str(tree))
    assert found.labelled is None
    assert set(found.train.columns) == {"input"}
    assert (len(found.train), found.train.shape) == (3, (3, 6, 8))
    assert found.name == "photos"
    assert data.images(f"{tree}?size=4&color=grey").train.shape == (1, 4, 4)


def test_a_folder_of_classes_keeps_its_labels(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.new("L", (4, 4), number * 10).save(tmp_path / name / f"{number}.png")
    found = data.images(str(tmp_path))
    assert found.labelled is not None
    assert found.labelled.classes == ("cat", "dog")
    assert len(found.train) == 28
    assert "label" in found.train.columns


def test_damaged_images_are_named_or_left_out(tree):
    (tree / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"broken\.png"):
        data.images(str(tree))
    found = data.images(str(tree), skip_bad=True)
    assert len(found.train) == 3
    assert len(found.skipped_names) == 1


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="no image below"):
        data.images(str(tmp_path))


def test_arrays_tensors_and_archives_need_no_labels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (9, 5, 5), dtype=np.uint8)
    np.savez(tmp_path / "bare.npz", images=pixels)
    found = data.images(str(tmp_path / "bare.npz"))
    assert (found.train.shape, found.labelled, found.name) == ((1, 5, 5), None, "bare")
    assert len(data.images(torch.rand(4, 1, 3, 3)).train) == 4
    assert data.images(lambda: data.Arrays({"input": torch.rand(4, 1, 3, 3)}, name="mine")).name == "mine"
    np.savez(tmp_path / "both.npz", x=pixels.repeat(4, 0), y=np.arange(36) % 2)
    assert data.images(str(tmp_path / "both.npz")).labelled is not None
    np.savez(tmp_path / "none.npz", z=pixels)
    with pytest.raises(DataError, match="expected images as"):
        data.images(str(tmp_path / "none.npz"))
    with pytest.raises(OptionError, match="classes"):
        data.images(f"{tmp_path / 'bare.npz'}?classes=3")


def test_what_is_no_image_is_refused():
    with pytest.raises(DataError, match="expected images"):
        data.images(torch.rand(4, 3))
    with pytest.raises(SpecError, match="list"):
        data.images(data.Arrays({"input": ["a", "b"]}))
    with pytest.raises(DataError, match="NaN or infinite"):
        data.images(torch.full((4, 1, 2, 2), torch.nan))
    bad = torch.rand(4, 1, 2, 2)
    bad[1] = torch.inf
    found = data.images(bad, skip_bad=True)
    assert len(found.train) == 3
    assert len(found.skipped_names) == 1
    assert set(found.train.columns) == {"input"}
