from __future__ import annotations

import pytest
import torch

from tutelage.data import Arrays, DataSet
from tutelage.data.renderings import RENDERINGS, SIX_VERTICALS, digit_tree, edges, render_digits, split_mirrored, thick
from tutelage.errors import DataError, OptionError

SIZES = {"train": 86, "validation": 45, "test": 43}


def digits(per_digit: int = 20) -> DataSet:
    """Digits whose every image has a value of its own, so that an image can be recognised."""

    def part(start: int) -> Arrays:
        number = torch.arange(start, start + 10 * per_digit)
        images = (number.float() / 1e4)[:, None, None, None].expand(-1, 1, 8, 8)
        return Arrays({"input": images, "label": number % 10}, classes=tuple("0123456789"))

    return DataSet("fake digits", part(0), part(2000), part(4000))


def test_there_are_73_labels_with_verticals_of_unequal_size() -> None:
    tree = digit_tree(SIX_VERTICALS)
    assert len(tree.labels) == 73
    assert sum("/" not in label for label in tree.labels) == 6
    assert sum(label.rpartition("/")[2].isdigit() for label in tree.labels) == 43
    rendered = render_digits(digits(), SIZES)
    assert torch.bincount(rendered.verticals.index).tolist() == [15, 10, 8, 15, 10, 15]
    assert rendered.verticals.names == tuple(RENDERINGS)


def test_each_image_has_a_root_a_parity_a_half_and_a_leaf() -> None:
    rendered = render_digits(digits(), SIZES)
    for arrays in rendered.data.parts.values():
        target = arrays.column("target")
        assert torch.equal(target.sum(1), torch.full((len(arrays),), 4.0))
        assert torch.equal(rendered.tree.close(target), target)
        on = [{arrays.classes[i] for i in row.nonzero().flatten()} for row in target]
        leaf = next(label for label in on[0] if label.rpartition("/")[2].isdigit())
        vertical, _, digit = leaf.partition("/")
        halves = {"below-5" if int(digit) < 5 else "from-5", "odd" if int(digit) % 2 else "even"}
        assert on[0] == {vertical, leaf} | {f"{vertical}/{half}" for half in halves}
        of_images = rendered.verticals.of_images(target)
        assert torch.equal(of_images.float().argmax(1), arrays.column("vertical"))
        assert torch.equal(of_images.sum(1), torch.ones(len(arrays), dtype=torch.int64))


def test_leaves_are_balanced_and_no_image_is_used_twice() -> None:
    rendered = render_digits(digits(), SIZES)
    tree = rendered.tree
    leaves = [i for i, label in enumerate(tree.labels) if label.rpartition("/")[2].isdigit()]
    counts = rendered.data.train.column("target")[:, leaves].sum(0)
    assert torch.equal(counts, torch.full((43,), 2.0))
    assert len(rendered.data.validation) == 45
    plain = {"plain": tuple(range(10)), "rotated": tuple(range(10))}
    twice = render_digits(digits(), {"train": 200, "validation": 20, "test": 20}, verticals=plain)
    values = [arrays.column("input")[:, 0, 0, 0] for arrays in twice.data.parts.values()]
    assert len(torch.cat(values).unique()) == 240


def test_seed_decides_everything() -> None:
    first, again, other = (render_digits(digits(), SIZES, seed=seed) for seed in (0, 0, 1))
    assert first.data.fingerprint() == again.data.fingerprint()
    assert first.data.fingerprint() != other.data.fingerprint()


@pytest.mark.parametrize("name", RENDERINGS)
def test_renderings_keep_shape_and_range_and_differ(name: str) -> None:
    images = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    drawn = RENDERINGS[name](images)
    assert drawn.shape == images.shape
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert torch.equal(drawn, images) == (name == "plain")
    torch.testing.assert_close(RENDERINGS[name](images[1:2]), drawn[1:2])


def test_renderings_by_hand() -> None:
    corner = torch.zeros(1, 1, 4, 4)
    corner[0, 0, 0, 3] = 1.0
    assert RENDERINGS["rotated"](corner)[0, 0, 0, 0] == 1, "top right turns to top left"
    assert split_mirrored(corner)[0, 0, 0, 2] == 1, "the right half is mirrored in its place"
    step = torch.zeros(1, 1, 5, 6)
    step[..., 3:] = 1.0
    torch.testing.assert_close(edges(step)[0, 0, 2], torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]))
    dot = torch.zeros(1, 1, 7, 7)
    dot[0, 0, 3, 3] = 1.0
    row = torch.tensor([0.0, 0.25, 0.75, 1.0, 0.75, 0.25, 0.0])
    torch.testing.assert_close(thick(dot)[0, 0], torch.outer(row, row))


def test_refuses_bad_options() -> None:
    with pytest.raises(OptionError, match=r"rendering 'edge'.*Did you mean 'edges'"):
        render_digits(digits(), SIZES, verticals={"edge": (1,)})
    with pytest.raises(OptionError, match="expected"):
        render_digits(digits(), {"train": 10})
    with pytest.raises(DataError, match="too few images of the digit"):
        render_digits(digits(3), SIZES | {"train": 860})
