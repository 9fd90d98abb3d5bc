from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError, OptionError, ShapeError
from tutelage.views import RowSeeds, horizontal_flip, short_side_crop
from tutelage.views.temporal import Elements, beta, channel_dropout, element_bins, mix_tokens, over_frames, perturb, tube_mask


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def counting(clips=3, frames=16, channels=3, size=4):
    """Clips of which every pixel says its clip, frame and channel."""
    n, t, c = torch.meshgrid(torch.arange(clips), torch.arange(frames), torch.arange(channels), indexing="ij")
    return (10_000 * n + 100 * t + c).float()[..., None, None].expand(clips, frames, channels, size, size)


class OnDisk:
    """A clip that notes what is read of it."""

    def __init__(self, frames: torch.Tensor) -> None:
        self.frames, self.asked = frames, []

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index):
        self.asked += list(index)
        return self.frames[list(index)]


def test_bins_of_the_papers_elements():
    assert element_bins((2, 2, 4), 8) == ((3, 7), (1, 5), (0, 2, 4, 6))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 7))
def test_bins_are_disjoint_and_in_order(sizes, more):
    dealt = element_bins(sizes, sum(sizes) + more)
    flat = [b for element in dealt for b in element]
    assert len(set(flat)) == len(flat) == sum(sizes)
    assert set(flat) <= set(range(sum(sizes) + more))
    assert [len(e) for e in dealt] == sizes
    assert all(list(e) == sorted(e) for e in dealt)


@pytest.mark.parametrize(("sizes", "bins"), [((), 8), ((0, 2), 8), ((2, 2, 4), 7)])
def test_impossible_elements_are_refused(sizes, bins):
    with pytest.raises(OptionError, match="expected at least one"):
        element_bins(sizes, bins)


@given(st.integers(8, 300), st.integers(0, 1000))
def test_every_frame_is_drawn_inside_its_bin(length, seed):
    sampler = Elements()
    for element, place in zip(sampler.draw(torch.tensor([length]), gen(seed)), sampler.places, strict=True):
        for frame, bin_ in zip(element[0].tolist(), place, strict=True):
            assert bin_ * length // 8 <= frame < (bin_ + 1) * length // 8


def test_frames_are_uniform_inside_a_bin():
    drawn = Elements().draw(torch.full((6000,), 24), gen())[2][:, 1]  # bin 2 holds frames 6, 7, 8
    counts = torch.bincount(drawn, minlength=9)[6:]
    assert counts.sum() == 6000
    assert (counts - 2000).abs().max() < 150  # four standard deviations


def test_clips_shorter_than_the_bins_are_drawn_from_anywhere_in_order():
    drawn = Elements().draw(torch.full((500,), 3), gen())
    for element in drawn:
        assert element.min() == 0
        assert element.max() == 2
        assert (element.diff(dim=1) >= 0).all()
    # Elements are independent: nothing keeps one of them from taking another's frames.
    assert (drawn[0] == drawn[1]).all(1).any()


def test_a_clip_without_frames_is_refused():
    with pytest.raises(DataError, match="Clip 1 of the batch has no frame"):
        Elements().draw(torch.tensor([9, 0]), gen())


def test_the_middle_is_not_random():
    sampler = Elements()
    assert [e[0].tolist() for e in sampler.middle(torch.tensor([16]))] == [[7, 15], [3, 11], [1, 5, 9, 13]]
    assert [e[0].tolist() for e in sampler.middle(torch.tensor([4]))] == [[1, 3], [1, 3], [0, 1, 2, 3]]


def test_elements_of_a_tensor_hold_the_frames_drawn():
    clips, sampler = counting(), Elements()
    index = sampler.draw(torch.full((3,), 16), gen(4))
    for element, frames in zip(sampler(clips, gen(4)), index, strict=True):
        assert torch.equal(element[:, :, 0, 0, 0], 10_000.0 * torch.arange(3)[:, None] + 100 * frames)


def test_the_same_seed_draws_the_same_and_rows_may_bring_their_own():
    lengths, sampler = torch.full((4,), 40), Elements()
    assert all(torch.equal(a, b) for a, b in zip(sampler.draw(lengths, gen(1)), sampler.draw(lengths, gen(1)), strict=True))
    seeds = torch.arange(4)
    whole, half = sampler.draw(lengths, RowSeeds(seeds)), sampler.draw(lengths[:2], RowSeeds(seeds[:2]))
    assert all(torch.equal(a[:2], b) for a, b in zip(whole, half, strict=True))


def test_of_clips_on_disk_only_the_frames_drawn_are_read():
    clips = [OnDisk((counting(1, frames)[0] % 256).byte()) for frames in (16, 50)]
    found = Elements()(clips, gen(2))
    index = torch.cat(Elements().draw(torch.tensor([16, 50]), gen(2)), 1)
    assert [clip.asked for clip in clips] == index.tolist()
    assert [tuple(e.shape) for e in found] == [(2, 2, 3, 4, 4), (2, 2, 3, 4, 4), (2, 4, 3, 4, 4)]
    torch.testing.assert_close(found[0][1, 0], clips[1].frames[index[1, 0]].float() / 255)


def test_clips_of_different_sizes_need_a_view_that_makes_them_one():
    clips = [OnDisk(torch.zeros(9, 3, 20, 30, dtype=torch.uint8)), OnDisk(torch.zeros(9, 3, 24, 24, dtype=torch.uint8))]
    with pytest.raises(ShapeError, match="give a view that crops"):
        Elements()(clips, gen())
    assert Elements()(clips, gen(), view=short_side_crop(8, short=(8, 12)))[2].shape == (2, 4, 3, 8, 8)


def test_a_view_is_the_same_for_all_frames_of_a_clip_and_not_for_all_clips():
    clips = torch.rand(12, 1, 3, 6, 6).expand(-1, 4, -1, -1, -1)
    seen = over_frames(horizontal_flip(0.5), clips, gen())
    assert torch.equal(seen, seen[:, :1].expand_as(seen))
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(seen, clips, strict=True)]
    assert 0 < sum(flipped) < 12


def test_a_view_that_is_not_of_geometry_is_refused():
    with pytest.raises(ShapeError, match="geometry alone"):
        over_frames(lambda x, g: x.mean(1, keepdim=True), torch.rand(2, 4, 3, 5, 5))


def test_reversal_turns_time_round_in_fine_elements_and_nothing_else():
    elements = Elements()(counting(), gen())
    turned = perturb(elements)
    for before, after in zip(elements[:2], turned[:2], strict=True):
        for t in range(2):
            assert torch.equal(after[:, t], before[:, 1 - t])  # whole frames, colours in their order
    assert turned[2] is elements[2]
    again = perturb(turned)
    assert all(torch.equal(a, b) for a, b in zip(again, elements, strict=True))


def test_other_perturbations():
    elements = Elements()(counting(64), gen())
    assert torch.equal(perturb(elements, "reverse-all")[2], elements[2].flip(1))
    assert all(a is b for a, b in zip(perturb(elements, "none"), elements, strict=True))
    shuffled = perturb(elements, "shuffle", generator=gen())
    assert torch.equal(shuffled[2].sort(1).values, elements[2])
    assert len({tuple(order) for order in shuffled[2][:, :, 0, 0, 0].argsort(1).tolist()}) > 10
    with pytest.raises(OptionError, match="Did you mean 'reverse'"):
        perturb(elements, "revers")


def test_dropped_channels_are_blank_in_all_frames_and_the_mean_stays():
    clips = torch.ones(4000, 2, 3, 1, 1)
    dropped = channel_dropout(clips, 0.2, gen())
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert channel_dropout(clips, 0.0) is clips
    with pytest.raises(OptionError, match="nothing to see"):
        channel_dropout(clips, 1.0)


def test_a_tube_holds_the_share_of_patches_in_every_frame():
    for share, expected in ((0.0, 0), (0.3, 19), (0.5, 32), (1.0, 64)):
        assert int(tube_mask(64, share, gen()).sum()) == expected
    counts = torch.stack([tube_mask(20, 0.5, gen(seed)) for seed in range(800)]).float().mean(0)
    assert (counts - 0.5).abs().max() < 0.08  # every patch is as likely


def test_mixing_takes_whole_tubes():
    tokens, partner = torch.zeros(3, 4, 10, 5), torch.ones(3, 4, 10, 5)
    mask = tube_mask(10, 0.6, gen())
    mixed = mix_tokens(tokens, partner, mask)
    assert torch.equal(mixed[..., 0], (~mask).float().expand(3, 4, 10))
    assert torch.equal(mix_tokens(tokens, partner, tube_mask(10, 1.0, gen())), tokens)
    assert torch.equal(mix_tokens(tokens, partner, tube_mask(10, 0.0, gen())), partner)
    with pytest.raises(ShapeError, match="a mask"):
        mix_tokens(tokens, partner, mask[:4])


def test_beta_has_the_moments_of_its_distribution():
    drawn = torch.stack([beta(10.0, g) for g in [gen()] for _ in range(3000)])
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.var().item() == pytest.approx(1 / 84, rel=0.15)  # 1 / (4 (2 a + 1))
    with pytest.raises(OptionError, match="alpha"):
        beta(0.0)
