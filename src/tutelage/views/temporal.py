"""Views of clips in time: short elements drawn from bins, their order disturbed, channels dropped, tokens mixed in tubes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from tutelage.errors import DataError, OptionError, ShapeError, nearest
from tutelage.views.base import Source, View, draw, require_fraction

Perturbation = Literal["reverse", "reverse-all", "shuffle", "none"]
_READERS = 8  # clips on disk that are decoded at the same time


class Clip(Protocol):
    """A clip on disk: it knows its number of frames and reads those asked for."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def read(self, index: Sequence[int]) -> Tensor:
        """Return the frames of these numbers, uint8 or float `[F, C, H, W]`."""


def element_bins(sizes: Sequence[int], bins: int) -> tuple[tuple[int, ...], ...]:
    """Deal the bins of a clip out to its elements.

    The largest element comes first (of equal ones the last) and takes bins that are evenly spaced; its frame `j` wants bin `j bins / size`,
    and takes the first one that is free from there on, counting on from 0 after the last.

    Args:
        sizes: frames of each element.
        bins: equal stretches of the clip, at least as many as there are frames.

    Returns:
        For each element its bins, increasing; no bin belongs to two.

    Raises:
        OptionError: if there are no elements, one is empty, or there are too few bins.

    Source: the multi-element sampler of SeFAR, arXiv 2501.01245.
    """
    if not sizes or min(sizes) < 1 or sum(sizes) > bins:
        raise OptionError(
            f"Elements of {tuple(sizes)} frames in {bins} bins: expected at least one of at least 1 frame, and a bin for each."
        )
    free = set(range(bins))
    dealt: dict[int, tuple[int, ...]] = {}
    for element in sorted(range(len(sizes)), key=lambda i: (sizes[i], i), reverse=True):
        taken = []
        for j in range(sizes[element]):
            wanted = j * bins // sizes[element]
            taken.append(min(free, key=lambda b: (b - wanted) % bins))
            free.remove(taken[-1])
        dealt[element] = tuple(sorted(taken))
    return tuple(dealt[i] for i in range(len(sizes)))


class Elements:
    """Draws short temporal elements of clips: each frame at a random place inside its bin.

    The longest element is the context, spread over the whole clip; the others are fine elements, sparse pairs as a rule.

    Args:
        sizes: frames of each element. Default (2, 2, 4) (SeFAR).
        bins: equal stretches that a clip is cut into; as many as there are frames when `None`.

    Source: SeFAR, arXiv 2501.01245.
    """

    def __init__(self, sizes: Sequence[int] = (2, 2, 4), *, bins: int | None = None) -> None:
        self.sizes = tuple(sizes)
        self.bins = sum(self.sizes) if bins is None else bins
        self.places = element_bins(self.sizes, self.bins)
        self.context = max(range(len(self.sizes)), key=lambda i: (self.sizes[i], i))

    def draw(self, lengths: Tensor, generator: Source = None) -> list[Tensor]:
        """Draw frame numbers of one set of elements of each clip.

        In a clip of fewer frames than bins every frame of every element is drawn from the whole clip, independently, and an
        element's frames are put in order; the same frame may come twice.

        Args:
            lengths: number of frames of each clip, int64 `[N]`, at least 1.
            generator: what draws them.

        Returns:
            For each element int64 `[N, size]`, not decreasing in time.

        Raises:
            DataError: if a clip has no frame.
        """
        return self._index(lengths, draw(sum(self.sizes), lengths, generator))

    def middle(self, lengths: Tensor) -> list[Tensor]:
        """Return the frames in the middle of the bins: one set of elements that is not random.

        Args:
            lengths: number of frames of each clip, int64 `[N]`, at least 1.

        Returns:
            As `draw`; elements of clips with too few frames are evenly spaced.
        """
        shares = torch.full((sum(self.sizes), len(lengths)), 0.5, device=lengths.device)
        short = torch.cat([(torch.arange(s, device=lengths.device) + 0.5) / s for s in self.sizes])
        return self._index(lengths, torch.where(lengths < self.bins, short[:, None].expand_as(shares), shares))

    def __call__(self, clips: Any, generator: Source = None, *, view: View | None = None, middle: bool = False) -> list[Tensor]:
        """Return one set of elements of each clip.

        Args:
            clips: `[N, T, C, H, W]`, uint8 or float; or a list of clips on disk, of which only the frames drawn are read.
            generator: what draws frames and views.
            view: geometric change of images, which is drawn for each element and is the same for its frames (see `over_frames`).
            middle: take the frames in the middle of the bins instead of random ones.

        Returns:
            For each element float32 `[N, size, C, H, W]`, uint8 brought to [0, 1].

        Raises:
            ShapeError: if clips on disk differ in size and no view brings them to one.
        """
        lengths = _lengths(clips)
        index = self.middle(lengths) if middle else self.draw(lengths, generator)
        if isinstance(clips, Tensor):
            rows = torch.arange(len(clips), device=clips.device)[:, None]
            found = _floats(clips[rows, torch.cat(index, 1)]).split_with_sizes(self.sizes, 1)
            return [over_frames(view, element, generator) for element in found]
        return self._from_disk(clips, index, generator, view)

    def _from_disk(self, clips: Sequence[Clip], index: list[Tensor], generator: Source, view: View | None) -> list[Tensor]:
        wanted = torch.cat(index, 1).tolist()
        with ThreadPoolExecutor(_READERS) as pool:
            frames = list(pool.map(lambda clip, chosen: clip.read(chosen), clips, wanted))
        device = generator.device if isinstance(generator, torch.Generator) else None
        each = [_floats(f.to(device)).unsqueeze(0).split_with_sizes(self.sizes, 1) for f in frames]
        one_size = len({f.shape[1:] for f in frames}) == 1
        if one_size:
            return [over_frames(view, torch.cat(parts), generator) for parts in zip(*each, strict=True)]
        seen = [[over_frames(view, part, generator) for part in parts] for parts in zip(*each, strict=True)]
        shapes = {tuple(part.shape[2:]) for part in seen[0]}
        if len(shapes) > 1:
            raise ShapeError(
                f"Clips of one batch have frames of different sizes, such as {sorted(shapes)[:2]}: give a view that crops to one."
            )
        return [torch.cat(parts) for parts in seen]

    def _index(self, lengths: Tensor, shares: Tensor) -> list[Tensor]:
        if len(lengths) and int(lengths.min()) < 1:
            raise DataError(f"Clip {int(lengths.argmin())} of the batch has no frame: leave it out.")
        length, bins = lengths[:, None], self.bins
        short = length < bins
        found = []
        for place, share in zip(self.places, shares.T.split_with_sizes(self.sizes, 1), strict=True):
            bin_ = torch.tensor(place, device=lengths.device)[None]
            first, after = bin_ * length // bins, (bin_ + 1) * length // bins
            inside = first + torch.minimum((share * (after - first)).long(), after - first - 1)
            anywhere = torch.minimum((share * length).long(), length - 1).sort(1).values
            found.append(torch.where(short, anywhere, inside))
        return found


def over_frames(view: View | None, clips: Tensor, generator: Source = None) -> Tensor:
    """Change every frame of a clip in the same way.

    The frames go to the view as channels of one image, so it must be one of geometry: crop, flip, affine.

    Args:
        view: `view(images, generator) -> images`, or `None` for no change.
        clips: float `[N, T, C, H, W]`.
        generator: what draws the view, once for each clip.

    Returns:
        `[N, T, C, H', W']`.
    """
    if view is None:
        return clips
    changed = view(clips.flatten(1, 2), generator)  # type: ignore[arg-type]
    if changed.ndim != 4 or changed.shape[1] != clips.shape[1] * clips.shape[2]:
        raise ShapeError(
            f"A view of clips must keep frames and channels apart, but it turned {clips.shape[1] * clips.shape[2]} planes into "
            f"{list(changed.shape)[1:]}. Use a view of geometry alone: crop, flip, affine."
        )
    return changed.view(*clips.shape[:3], *changed.shape[-2:])


def perturb(elements: Sequence[Tensor], kind: Perturbation = "reverse", *, context: int = -1, generator: Source = None) -> list[Tensor]:
    """Disturb the order of frames inside elements.

    Args:
        elements: each `[N, T, ...]`, time in the second axis.
        kind: `"reverse"` turns every fine element round in time and leaves the context alone (moderate; done twice it changes nothing);
            `"reverse-all"` turns the context round too; `"shuffle"` puts the frames of every element, the context included, into a random
            order of each clip's own; `"none"` leaves all.
        context: which element is the context. Default the last.
        generator: what draws random orders.

    Returns:
        Elements of the same shapes; those left alone are not copied.

    Raises:
        OptionError: for an unknown kind.
    """
    if kind not in get_args(Perturbation):
        raise OptionError(f"There is no perturbation '{kind}'.{nearest(kind, get_args(Perturbation))}")
    fine = [i != context % len(elements) for i in range(len(elements))]
    if kind == "shuffle":
        return [_shuffled(e, generator) for e in elements]
    return [e.flip(1) if kind == "reverse-all" or (kind == "reverse" and f) else e for e, f in zip(elements, fine, strict=True)]


def channel_dropout(clips: Tensor, probability: float, generator: Source = None) -> Tensor:
    """Blank whole channels, in all frames of a clip alike, and scale what is left by `1 / (1 - probability)`.

    Args:
        clips: float `[N, T, C, H, W]`.
        probability: of each channel of each clip, in [0, 1).
        generator: what draws.

    Returns:
        Of the same shape.

    Raises:
        OptionError: if the probability is out of range.
    """
    require_fraction("channel dropout", "probability", probability)
    if probability == 1:
        raise OptionError("Channel dropout with probability 1 would leave nothing to see: expected below 1.")
    if probability == 0:
        return clips
    kept = probability <= draw(clips.shape[2], clips, generator).T
    return clips * (kept.to(clips.dtype) / (1 - probability))[:, None, :, None, None]


def beta(alpha: float, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
    """Draw one number from the symmetric Beta(alpha, alpha) distribution: how much of each of two samples a mixture holds.

    Args:
        alpha: above 0; large values stay near one half.
        generator: what draws it.
        device: where the number is wanted.

    Returns:
        float32 scalar tensor in [0, 1].
    """
    if not alpha > 0:
        raise OptionError(f"A Beta distribution got alpha={alpha}: expected a number above 0.")
    two = torch.full((2,), float(alpha), device=device if generator is None else generator.device)
    gammas = torch._standard_gamma(two, generator)
    return (gammas[0] / gammas.sum()).to(device)


def tube_mask(patches: int, share: float | Tensor, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
    """Choose patches at random, a stated share of them, for all frames of an element: a tube through time.

    Args:
        patches: patches of a frame, P.
        share: which part is chosen, in [0, 1]; the number is rounded.
        generator: what chooses.
        device: where the mask is wanted.

    Returns:
        bool `[P]`.

    Source: Tong et al., VideoMAE, NeurIPS 2022 (tubes); Xing et al., SVFormer, CVPR 2023 (mixing by them).
    """
    order = torch.rand(patches, generator=generator, device=device if generator is None else generator.device).argsort().to(device)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(patches, device=device))
    chosen: Tensor = rank < torch.as_tensor(share, device=device).mul(patches).round()
    return chosen


def mix_tokens(tokens: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """Return the tokens where the mask is true and the partner's elsewhere, in every frame alike.

    Args:
        tokens: `[N, T, P, D]`.
        partner: of the same shape.
        mask: bool `[P]`.

    Raises:
        ShapeError: if the shapes do not fit.
    """
    if tokens.shape != partner.shape or mask.shape != tokens.shape[2:3]:
        raise ShapeError(
            f"Mixing tokens {list(tokens.shape)} with {list(partner.shape)} by a mask {list(mask.shape)}: "
            "expected two [N, T, P, D] of one shape and a mask [P]."
        )
    return torch.where(mask[:, None], tokens, partner)


def _shuffled(element: Tensor, generator: Source) -> Tensor:
    order = draw(element.shape[1], element, generator).T.argsort(1)
    return element[torch.arange(len(element), device=element.device)[:, None], order]


def _lengths(clips: Any) -> Tensor:
    if isinstance(clips, Tensor):
        if clips.ndim != 5:
            raise ShapeError(f"Clips are [N, T, C, H, W], got {list(clips.shape)}.")
        return torch.full((len(clips),), clips.shape[1], device=clips.device)
    return torch.tensor([len(clip) for clip in clips])


def _floats(frames: Tensor) -> Tensor:
    return frames.float().div_(255) if frames.dtype == torch.uint8 else frames
