"""OBoW: an averaged teacher describes a whole image by a bag of visual words, which the student reconstructs from small crops of it.

The vocabulary is a queue of the teacher's own local features, renewed at every step, and the student's head generates its weights from
the words, so that it follows.

Reference: Gidaris, Bursuc, Puy, Komodakis, Cord, Pérez, OBoW: Online Bag-of-Visual-Words Generation for Self-Supervised Learning,
    CVPR 2021, arXiv 2012.11552.
Tags: self-supervised, moving average, bag of visual words, online vocabulary, queue, context prediction, multi-crop, pretraining, images
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import losses as L
from tutelage import schedules
from tutelage.errors import OptionError
from tutelage.evaluate import bag_perplexity
from tutelage.models import EntryWeights, WeightGenerator, tap
from tutelage.targets import BagOfWords, FeatureQueue, OnlineMeans, local_means, squared_distances, without_ring
from tutelage.targets.bag_of_words import Pooling
from tutelage.teachers import EMA
from tutelage.train import Batch, Method
from tutelage.views import (
    Compose,
    GridPatches,
    Several,
    Sometimes,
    View,
    centre_crop,
    colour_jitter,
    gaussian_blur,
    grey,
    horizontal_flip,
    random_resized_crop,
)

Crops = Callable[[Tensor, torch.Generator | None], Tensor]
"""`crops(images [N, C, H, W], generator) -> [n, N, C, h, w]`: n crops of every image, such as `Several` and `GridPatches` draw."""
Head = Literal["generated", "linear"]
Vocabulary = Literal["queue", "k-means"]


class OBoW(Method):
    """Reconstruction of bags of visual words, `KL(y_l || softmax(kappa f G_l(V_l)))`: mean over crops and levels, sum over kinds of crops.

    f are the student's features of a crop, `V_l` the words of a level, G_l the generator of their weights; y_l is the teacher's bag of the
    whole image: its feature map without the outermost ring, each place softly assigned to the words, the largest assignment of each
    word over places, divided by their sum.

    Batch:
        input: images float32 `[N, C, H, W]` in [0, 1], as many in every batch, and that number divides `words` (`drop_last=True`).
        label: int64 `[N]`, only for the probe; may be absent.

    Args:
        student: the backbone, which is what is kept; features `[N, width]` of views of every size.
        levels: layers of the student whose maps the teacher describes, by name, with their channels C_l (`models.last_levels`); the
            paper's are the last two stages of a ResNet. Maps of the teacher's view must have 3x3 cells when the ring is gone.
        width: length C of the student's features.
        crops: the kinds of crops that the student sees, by name; each is one loss. `crops_and_patches` are the paper's.
        view: what the teacher sees of the images: `(images, generator) -> images`, such as a flip; `None` for the images themselves.
        probe: linear classifier of the teacher's detached features `[N, width]`, trained beside to watch; `None` for none (default).
        words: size K of each vocabulary. Default 8192 (paper). More than there are images is no harm: the queue then spans epochs.
        inverse_delta: sharpness of the assignment; the inverse temperature is this over the mean distance to the nearest word.
            Default 15 (ResNet50 on ImageNet; 10 for ResNet18); `None` for hard one-hot codes (the paper's ablation).
        pooling: of codes over places: `"max"` (default), or `"average"` (ablation).
        kappa: inverse temperature of the student's softmax. Default 8 (ResNet50; 5 for ResNet18). Fixed.
        momentum: of the teacher at the start, in [0, 1]; it rises to 1 by half a cosine. Default 0.99; 1 for a static teacher (ablation).
        head: `"generated"` (default), or `"linear"`: one learned weight per place in the vocabulary (ablation).
        vocabulary: `"queue"` (default), or `"k-means"`: moving means of all places (ablation).
        ring: outermost cells of a map that are dropped. Default 1.
        distance_momentum: of the mean distance to the nearest word. Default 0.99.

    Only parameters are averaged; the teacher's batch norms use the batch's statistics.

    Source: section 3 of the paper and the authors' code.
    """

    vocabularies: Any  # lists of parts, one of each per level; nn.ModuleList does not know what it holds
    bags: Any

    def __init__(
        self,
        student: nn.Module,
        levels: Mapping[str, int],
        width: int,
        crops: Mapping[str, Crops],
        view: View | None = None,
        probe: nn.Module | None = None,
        *,
        words: int = 8192,
        inverse_delta: float | None = 15.0,
        pooling: Pooling = "max",
        kappa: float = 8.0,
        momentum: float = 0.99,
        head: Head = "generated",
        vocabulary: Vocabulary = "queue",
        ring: int = 1,
        distance_momentum: float = 0.99,
    ) -> None:
        super().__init__()
        if not levels or not crops:
            raise OptionError("OBoW got no level or no kind of crop; expected at least one of each.")
        if not kappa > 0:
            raise OptionError(f"kappa is {kappa}; expected a number above 0: 8 for a ResNet50, 5 for smaller networks.")
        if head not in get_args(Head):
            raise OptionError(f"head is '{head}'; expected 'generated' or 'linear'.")
        if vocabulary not in get_args(Vocabulary):
            raise OptionError(f"vocabulary is '{vocabulary}'; expected 'queue' or 'k-means'.")
        self.student = student
        self.teacher = EMA(student, schedules.cosine(momentum, 1.0), mode="follow", buffers="keep")
        self.probe = probe
        self.levels = tuple(levels)
        self.crops, self.view = dict(crops), view
        self.kappa, self.ring = kappa, ring
        self.head, self.vocabulary = head, vocabulary
        memory = FeatureQueue if vocabulary == "queue" else OnlineMeans
        channels = list(levels.values())
        self.vocabularies = nn.ModuleList([memory(words, c) for c in channels])
        self.bags = nn.ModuleList([BagOfWords(inverse_delta=inverse_delta, pooling=pooling, momentum=distance_momentum) for _ in channels])
        self.heads = nn.ModuleList([WeightGenerator(c, width) if head == "generated" else EntryWeights(words, width) for c in channels])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return one loss for each kind of crop, and `"probe"` where there is one and the batch has labels.

        Logs for each level, counted from 1, `perplexity_image_1` and `perplexity_batch_1` (see `bag_perplexity`) and `distance_1`, the
        mean distance to the nearest word.
        """
        images = batch["input"]
        # The words as they are now serve prediction and target alike.
        words = [vocabulary.snapshot() for vocabulary in self.vocabularies]
        weights = [head(word) for head, word in zip(self.heads, words, strict=True)]  # G_l(V_l) [K, C]
        whole = images if self.view is None else self.view(images, self.generator)
        targets, features = self.targets(whole, words)

        losses = {}
        for name, draw in self.crops.items():
            crops = draw(images, self.generator)  # [n, N, ...]
            f = self.student(crops.flatten(0, 1))  # [n N, C]
            terms = [self.divergence(f, weight, y) for weight, y in zip(weights, targets, strict=True)]
            losses[name] = L.mean(torch.stack(terms))
        if self.probe is not None and "label" in batch:
            losses["probe"] = self.probe_loss(features, batch["label"])
        return losses

    @torch.no_grad()
    def targets(self, images: Tensor, words: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Describe images by bags of words, and renew the vocabularies.

        Args:
            images: what the teacher sees, `[N, C, H, W]`.
            words: the vocabularies before they are renewed, `[K, C_l]` each.

        Returns:
            The bags `[N, K]` of each level, and the teacher's features `[N, width]`.
        """
        with tap(self.teacher.model, *self.levels) as maps:
            features: Tensor = self.teacher(images)
        targets = []
        for number, (level, word) in enumerate(zip(self.levels, words, strict=True)):
            cells = without_ring(maps[level], self.ring)
            places = cells.flatten(2).transpose(1, 2)  # t_u [N, U, C_l]
            distances = squared_distances(places, word)  # [N, U, K]
            self.bags[number].update(distances)
            y = self.bags[number](distances)
            self.vocabularies[number].push(local_means(cells, self.generator) if self.vocabulary == "queue" else places.flatten(0, 1))
            for name, value in bag_perplexity(y).items():
                self.log(f"{name}_{number + 1}", value)
            self.log(f"distance_{number + 1}", self.bags[number].mean_distance.clone())
            targets.append(y)
        return targets, features

    def divergence(self, features: Tensor, weights: Tensor, target: Tensor) -> Tensor:
        """Return `KL(y || softmax(kappa f G(V)))` of each crop.

        Args:
            features: f of the crops `[n N, C]`, not normalised: the first crops of all N images, then the second ones, and so on.
            weights: of unit length, one per word, `[K, C]`.
            target: y of the images `[N, K]`, the same for all crops of an image.

        Returns:
            `[n, N]`.
        """
        logits = (self.kappa * F.linear(features, weights)).view(-1, *target.shape)
        return L.soft_kl(logits, target.expand_as(logits))

    def probe_loss(self, features: Tensor, label: Tensor) -> Tensor:
        """Return the cross-entropy of the probe on the teacher's features `[N, width]`, and log its accuracy, in percent."""
        assert self.probe is not None
        logits = self.probe(features)
        self.log("probe_accuracy", 100 * (logits.argmax(-1) == label).float().mean())
        return L.mean(L.cross_entropy(logits, label))


def crops_and_patches(size: int = 224, *, crops: int = 2, patches: int = 5) -> tuple[View, dict[str, Crops]]:
    """Return the published views: the teacher's, and the two kinds of the student's crops.

    The teacher sees the centre, `size` pixels wide, perhaps mirrored. The student sees `"crops"`, 160 pixels wide, of 8 to 60 % of the
    area, and `"patches"`, 96 pixels wide, at five random places of a 3x3 grid on a crop of 60 to 100 % of the area scaled to 256 pixels;
    colours of both are jittered, those of crops blurred too. All lengths are for a size of 224 and scale with it.

    Args:
        size: side of what the teacher sees, in pixels; images may be larger (256 in the paper). Default 224.
        crops: crops of each image; 0 for none. Default 2.
        patches: patches of each image, at most 9; 0 for none. Default 5.

    Raises:
        OptionError: if there would be neither crops nor patches, or too many patches.

    Source: section 3.3 of the paper and the authors' code.
    """
    if crops < 0 or patches < 0 or crops + patches == 0:
        raise OptionError(f"crops={crops} and patches={patches} leave the student nothing to see; expected at least 0 each, one above 0.")

    def pixels(length: int) -> int:
        return max(1, round(length * size / 224))

    jitter, drained = Sometimes(colour_jitter(0.4, 0.4, 0.4, 0.1), 0.8), Sometimes(grey(), 0.2)
    kinds: dict[str, Crops] = {}
    if crops:
        blur = Sometimes(gaussian_blur((0.1, 2.0)), 0.5)
        small = random_resized_crop(pixels(160), scale=(0.08, 0.6))
        kinds["crops"] = Several(Compose([small, jitter, drained, blur, horizontal_flip()]), crops)
    if patches:
        wide = Compose([random_resized_crop(pixels(256), scale=(0.6, 1.0)), jitter, drained, horizontal_flip()])
        kinds["patches"] = GridPatches(pixels(96), jitter=round(24 * size / 224), count=patches, before=wide)
    return Compose([centre_crop(size), horizontal_flip()]), kinds
