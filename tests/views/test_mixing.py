from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import OptionError, ShapeError
from tutelage.views.mixing import box_mask, class_mask, paste
from tutelage.views.pairs import joint_crop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), classes=st.integers(1, 6))
def test_half_of_the_classes_of_each_image_rounded_up_are_chosen_whole(seed, classes):
    labels = torch.randint(0, classes, (5, 6, 7), generator=generator(seed))
    labels[0, 0] = 255
    mask = class_mask(labels, classes, generator(seed))
    for image, chosen in zip(labels, mask, strict=True):
        present = [c for c in range(classes) if (image == c).any()]
        taken = [c for c in present if chosen[image == c].all()]
        assert all(not chosen[image == c].any() for c in present if c not in taken)
        assert len(taken) == (len(present) + 1) // 2
        assert not chosen[image == 255].any()


def test_every_class_is_chosen_half_the_time():
    labels = torch.arange(4).view(1, 2, 2).expand(4000, 2, 2)
    share = class_mask(labels, 4, generator()).float().mean(0)
    torch.testing.assert_close(share, torch.full((2, 2), 0.5), atol=0.03, rtol=0)


def test_boxes_cover_their_share():
    mask = box_mask((500, 32, 32), torch.zeros(500, 1), generator(), area=0.25)
    share = mask.float().mean((1, 2))
    assert abs(float(share.mean()) - 0.25) < 0.01
    assert share.min() > 0.2
    assert float(mask.float().mean(0).min()) > 0.002  # every place is covered at times


def test_pasting_takes_the_source_inside_the_mask():
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    mask[0, 1] = True
    source, target = torch.ones(2, 4, 3, 3), torch.zeros(2, 4, 3, 3)
    assert torch.equal(paste(mask, source, target)[0, :, 1], torch.ones(4, 3))
    assert paste(mask, source, target).sum() == 12
    assert torch.equal(paste(mask, source[:, 0], target[:, 0])[0, 1], torch.ones(3))
    with pytest.raises(ShapeError):
        paste(mask, source, target[..., :2])


def test_images_and_labels_move_alike():
    label = torch.randint(0, 4, (30, 12, 16), generator=generator())
    images = (label[:, None].float() + 1) / 5
    moved, found = joint_crop((8, 8), scale=(1.0, 1.0), flip=0.5)(images, label, generator(1))
    assert moved.shape == (30, 1, 8, 8)
    assert found.shape == (30, 8, 8)
    # Nearest pixels of the image itself tell the label.
    shifted = joint_crop((8, 8), flip=0.0)(images, label, generator(2))
    nearest = (shifted[0][:, 0] * 5 - 1).round().long()
    assert (nearest == shifted[1]).float().mean() > 0.5
    mirrored = joint_crop(flip=1.0)(images, label, generator(3))
    torch.testing.assert_close(mirrored[0], images.flip(-1), atol=1e-5, rtol=0)
    assert torch.equal(mirrored[1], label.flip(-1))


def test_what_lies_outside_is_of_no_class():
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    moved, found = joint_crop((8, 8), flip=0.0)(torch.ones(1, 1, 4, 4), label, generator())
    assert torch.equal(found == 255, moved[:, 0] < 0.5)
    assert int((found == 0).sum()) == 16
    assert joint_crop(4)(torch.ones(2, 1, 8, 8), None, generator())[1] is None


def test_wrong_options_are_refused():
    for wrong in ({"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"flip": 2.0}):
        with pytest.raises(OptionError):
            joint_crop(**wrong)
