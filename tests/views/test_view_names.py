from __future__ import annotations

import pickle

import pytest
import torch

from tutelage import views
from tutelage.errors import OptionError
from tutelage.views.names import NAMES

RANDOM = [name for name in NAMES if name != "none"]


def pictures(dtype=torch.float32):
    return torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(5)).to(dtype)


@pytest.mark.parametrize("name", RANDOM)
def test_the_same_seed_gives_the_same_view_and_another_another(name):
    view, images = views.from_name(name), pictures()
    assert view is not None
    first, again, other = (view(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, pictures())  # not changed in place


@pytest.mark.parametrize("name", RANDOM)
def test_samples_are_changed_each_in_its_own_way(name):
    one = pictures()[:1].expand(32, -1, -1, -1)
    changed = views.from_name(name)(one, torch.Generator().manual_seed(0))
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 1


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_type_are_kept(name, dtype):
    images = pictures(dtype)
    changed = views.from_name(name)(images, torch.Generator().manual_seed(0))
    assert (changed.shape, changed.dtype) == (images.shape, dtype)


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_is_the_only_randomness(name):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    views.from_name(name)(pictures(), torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_default_one_draws():
    torch.manual_seed(3)
    first = views.from_name("crop-flip")(pictures(), None)
    torch.manual_seed(3)
    assert torch.equal(first, views.from_name("crop-flip")(pictures(), None))


@pytest.mark.parametrize("name", RANDOM)
def test_views_travel_to_other_processes(name):
    view = views.from_name(name)
    there = pickle.loads(pickle.dumps(view))
    assert torch.equal(view(pictures(), torch.Generator().manual_seed(4)), there(pictures(), torch.Generator().manual_seed(4)))


def test_gradients_flow_through_geometry():
    images = pictures(torch.float64).requires_grad_()
    views.from_name("crop-flip")(images, torch.Generator().manual_seed(0)).sum().backward()
    assert set(images.grad.unique().tolist()) == {0.0, 1.0}  # each pixel is moved or cut off


def test_compose_applies_views_in_order_from_one_generator():
    shift, flip = views.random_crop(1), views.horizontal_flip()
    generator = torch.Generator().manual_seed(7)
    by_hand = flip(shift(pictures(), generator), generator)
    assert torch.equal(views.Compose([shift, flip])(pictures(), torch.Generator().manual_seed(7)), by_hand)


def test_none_is_no_view_and_unknown_names_offer_the_nearest():
    assert views.from_name("none") is None
    with pytest.raises(OptionError, match=r"no view 'crop-flop'. Did you mean 'crop-flip'"):
        views.from_name("crop-flop")
