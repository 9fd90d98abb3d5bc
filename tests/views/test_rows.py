from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import views
from tutelage.views import rows as rows_of
from tutelage.views.names import NAMES
from tutelage.views.rows import RowSeeds

IMAGES = torch.rand(24, 3, 12, 10, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(24) * 7 + 3


def changed(view, rows, number=1, seed=5):
    return views.per_row(view, IMAGES[rows], views.row_seeds(seed, INDEX[rows], number))


def shaky(images, generator):
    """Somebody's own view, which knows nothing of rows."""
    return images + 0.1 * torch.randn(images.shape, generator=generator)


@pytest.mark.parametrize("name", [*(n for n in NAMES if n != "none"), "own"])
@settings(deadline=None, max_examples=15)
@given(rows=st.lists(st.integers(0, 23), min_size=1, max_size=24))
def test_an_image_is_changed_the_same_way_in_whatever_batch_it_lies(name, rows):
    view = shaky if name == "own" else views.from_name(name)
    whole = changed(view, torch.arange(24))
    torch.testing.assert_close(changed(view, torch.tensor(rows)), whole[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "none"])
def test_seed_number_and_sample_all_matter(name):
    view, rows = views.from_name(name), torch.arange(24)
    first = changed(view, rows)
    assert not torch.equal(first, changed(view, rows, number=2))
    assert not torch.equal(first, changed(view, rows, seed=6))
    same = views.per_row(view, IMAGES[:1].expand(24, -1, -1, -1), views.row_seeds(5, INDEX, 1))
    assert len({tuple(image.flatten().tolist()) for image in same}) > {"flip": 1, "crop": 5, "crop-flip": 9}.get(name, 12)


def test_no_two_of_many_seeds_are_alike():
    seeds = torch.cat([views.row_seeds(s, torch.arange(20_000), n) for s in (0, 1) for n in (0, 1, 2)])
    assert len(seeds.unique()) == len(seeds)


def test_uniform_and_normal_numbers_are_what_they_are_called():
    stats = pytest.importorskip("scipy.stats")
    seeds = views.row_seeds(0, torch.arange(5_000), 0)
    uniform = RowSeeds(seeds).uniform(4)
    assert uniform.shape == (4, 5_000)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 0.01
    normal = RowSeeds(seeds).normal(torch.Size((5_000, 2, 3)))
    assert normal.shape == (5_000, 2, 3)
    assert stats.kstest(normal.flatten().double().numpy(), "norm").pvalue > 0.01
    correlations = torch.corrcoef(torch.cat([uniform, normal.flatten(1).T])).fill_diagonal_(0)
    assert correlations.abs().max() < 0.06


def test_numbers_follow_the_published_splitmix64():
    mask = (1 << 64) - 1

    def splitmix(state, count):
        for _ in range(count):
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            yield ((z ^ (z >> 31)) >> 40) / (1 << 24)

    seeds = torch.tensor([0, 1, -5, 2**62 + 12345])
    found = RowSeeds(seeds).uniform(5)
    for column, seed in enumerate(seeds.tolist()):
        assert found[:, column].tolist() == list(splitmix(seed & mask, 5))


def test_numbers_drawn_in_two_calls_continue():
    seeds = torch.arange(6)
    whole, source = RowSeeds(seeds).uniform(5), RowSeeds(seeds)
    assert torch.equal(torch.cat([source.uniform(2), source.uniform(3)]), whole)


MADE_OF_OTHERS = {
    "crop-and-colour": views.crop_and_colour(),
    "rarely": views.Sometimes(views.gaussian_noise(), 0.02),
    "never, then noise": views.Compose([views.Sometimes(views.colour_jitter(), 0.0), views.gaussian_noise()]),
    "nested": views.Compose([views.Sometimes(views.Compose([views.random_erasing(), views.Sometimes(views.grey(), 0.5)]), 0.5)]),
    "noise": views.gaussian_noise(),
    "own inside": views.Compose([views.horizontal_flip(), shaky]),
}


@pytest.mark.parametrize("name", MADE_OF_OTHERS)
@pytest.mark.parametrize("by_row", [False, True])
def test_tiles_change_nothing(name, by_row, monkeypatch):
    def change():
        if by_row:
            return changed(MADE_OF_OTHERS[name], torch.arange(24))
        generator = torch.Generator().manual_seed(4)
        found = MADE_OF_OTHERS[name](IMAGES, generator)
        return torch.cat([found, torch.rand(24, 1, 12, 10, generator=generator)], 1)  # what is drawn later is the same, too

    whole = change()
    monkeypatch.setattr(rows_of, "TILE", 5 * 3 * 12 * 10)
    torch.testing.assert_close(change(), whole, rtol=0, atol=1e-6)
    assert not torch.equal(whole[:, :3], IMAGES)


@pytest.mark.parametrize("probability", [0.0, 0.1, 1.0])
def test_changing_only_the_chosen_is_changing_all_and_choosing(probability):
    view = views.colour_jitter()
    found = views.Sometimes(view, probability)(IMAGES, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    chosen = torch.rand(24, generator=generator) < probability
    torch.testing.assert_close(found, torch.where(chosen[:, None, None, None], view(IMAGES, generator), IMAGES), rtol=0, atol=1e-6)


def test_a_view_of_no_images_is_no_images():
    assert views.crop_and_colour()(IMAGES[:0], torch.Generator()).shape == (0, 3, 12, 10)
