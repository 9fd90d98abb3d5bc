"""Views: batched, seeded changes of images, each sample with its own random parameters."""

from __future__ import annotations

from tutelage.views.base import Compose, View
from tutelage.views.colour import Sometimes, colour_jitter, gaussian_blur, grey, solarise
from tutelage.views.crops import random_resized_crop, several, short_side_crop
from tutelage.views.geometry import horizontal_flip, random_affine, random_crop
from tutelage.views.multi import GLOBAL_SCALE, LOCAL_SCALE, MultiCrop, Seen, crop_and_colour
from tutelage.views.names import from_name
from tutelage.views.patches import GridPatches, Several, centre_crop
from tutelage.views.pixels import gaussian_noise, normalise, random_erasing
from tutelage.views.rows import RowSeeds, per_row, row_seeds
from tutelage.views.temporal import Elements, channel_dropout, over_frames, perturb

__all__ = [
    "GLOBAL_SCALE",
    "LOCAL_SCALE",
    "Compose",
    "Elements",
    "GridPatches",
    "MultiCrop",
    "RowSeeds",
    "Seen",
    "Several",
    "Sometimes",
    "View",
    "centre_crop",
    "channel_dropout",
    "colour_jitter",
    "crop_and_colour",
    "from_name",
    "gaussian_blur",
    "gaussian_noise",
    "grey",
    "horizontal_flip",
    "normalise",
    "over_frames",
    "per_row",
    "perturb",
    "random_affine",
    "random_crop",
    "random_erasing",
    "random_resized_crop",
    "row_seeds",
    "several",
    "short_side_crop",
    "solarise",
]
