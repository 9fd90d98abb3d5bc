"""What the words of a vocabulary look like: the places of images that are assigned to each most surely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from tutelage.methods.self_supervised.obow import OBoW


def surest(method: OBoW, images: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Find the most used words of the last level, and for each the images and places that are assigned to it most surely.

    Args:
        method: the trained method.
        images: `[N, C, H, W]`.
        rows: words.
        columns: images of each, every image at most once in a row.

    Returns:
        int64 `[rows]` words, `[rows, columns]` images and `[rows, columns]` places, counted row by row over the map without its ring; and
        the height and width of that map.
    """
    from tutelage.evaluate.predict import evaluating
    from tutelage.models import tap
    from tutelage.targets import squared_distances, without_ring

    with evaluating(method), tap(method.teacher.model, method.levels[-1]) as maps:
        method.teacher(images if method.view is None else method.view(images, None))
    cells = without_ring(maps[method.levels[-1]], method.ring)
    bag: Any = method.bags[-1]
    words: Any = method.vocabularies[-1]
    codes = bag.codes(squared_distances(cells.flatten(2).transpose(1, 2), words.words))  # [N, U, K]
    strength, place = codes.max(1)  # [N, K]
    used = strength.mean(0).topk(min(rows, strength.shape[1])).indices
    chosen = strength[:, used].topk(min(columns, len(images)), dim=0).indices.T
    return used, chosen, place[:, used].T.gather(1, chosen), (cells.shape[2], cells.shape[3])


def drawn(method: OBoW, images: Tensor, *, rows: int = 8, columns: int = 12, limit: int = 512) -> Any:
    """Return a figure with one row per word: windows of images around the places that are most surely assigned to it.

    Args:
        method: the trained method.
        images: `[N, 1 or 3, H, W]` in [0, 1].
        rows: words, the most used first.
        columns: windows of each.
        limit: images to look at.
    """
    from torch.nn import functional

    from tutelage.errors import optional

    images = images[:limit]
    _, chosen, places, (height, width) = surest(method, images, rows, columns)
    ring, tall, wide = method.ring, images.shape[2], images.shape[3]
    half = max(2, tall // 5)
    padded = functional.pad(images, (half,) * 4)
    figure = optional("matplotlib.figure", "report").Figure(figsize=(0.6 * columns, 0.6 * len(chosen)), layout="constrained")
    for row, (pictures, cells) in enumerate(zip(chosen.tolist(), places.tolist(), strict=True)):
        for column, (picture, cell) in enumerate(zip(pictures, cells, strict=True)):
            top = int((cell // width + ring + 0.5) * tall / (height + 2 * ring))
            left = int((cell % width + ring + 0.5) * wide / (width + 2 * ring))
            window = padded[picture, :, top : top + 2 * half + 1, left : left + 2 * half + 1].permute(1, 2, 0).clamp(0, 1).cpu().numpy()
            axes = figure.add_subplot(len(chosen), columns, row * columns + column + 1)
            axes.imshow(window[..., 0] if window.shape[2] == 1 else window, cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
    return figure
