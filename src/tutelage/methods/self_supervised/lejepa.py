"""LeJEPA: views of an image predict their common centre, and a test on random slices keeps embeddings isotropic Gaussian.

One encoder sees all views and gradients flow through everything: no teacher, no stop-gradient, no prototypes keep it from collapsing.

Reference: Balestriero, LeCun, LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics, arXiv 2511.08544.
Tags: self-supervised, joint embedding, SIGReg, isotropic Gaussian, no teacher, multi-crop, collapse, pretraining, images
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage.errors import OptionError
from tutelage.losses.normality import Line, NormalityTest, quadrature, test_named
from tutelage.teachers import EMA
from tutelage.train import Batch, Method
from tutelage.views import Seen

Target = Literal["live", "detached", "teacher"]
Views = Callable[[Tensor, torch.Generator | None], Seen]
"""`views(images, generator) -> Seen`: global and local views of every image, such as `MultiCrop`."""


class LeJEPA(Method):
    """Joint-embedding prediction with SIGReg: `(1 - weight) L_pred + weight SIGReg`.

    `L_pred` is the mean squared distance of each view's embedding to mu, the mean over the global views of the same image; SIGReg is a test
    that each view's embeddings over the batch are standard normal along random directions, new at every step.

    Batch:
        input: images float32 `[N, C, H, W]` in [0, 1]. In a distributed training SIGReg tests the global batch.
        label: int64 `[N]`, only for the probe, which learns from detached features; may be absent.

    Args:
        student: the backbone, which is what is kept; features `[N, D]` of views of every size.
        projector: from features `[N, D]` to the embeddings `[N, K]` that the losses see; discarded afterwards.
        views: draws the global and local views of a batch.
        predictor: from embeddings to what is compared with the centre, or `None` (default, as in the method; the paper's ablation).
        probe: linear classifier of detached features `[N, D]` that is trained beside, to watch; `None` for none (default).
        weight: lambda, share of SIGReg, in [0, 1]. Default 0.05 (paper); 0.02 with few views. 0 collapses, 1 ignores what views share.
        test: the univariate test: `"epps-pulley"` (default, paper), or its ablations `"moments"` (VICReg-like), `"jarque-bera"`,
            `"cramer-von-mises"`, `"anderson-darling"`, `"watson"`.
        slices: directions per step, M. Default 1024 (paper's recommendation; 256 in its pseudo-code).
        knots: points of the quadrature of Epps-Pulley, T. Default 17 (paper).
        reach: its largest t. Default 3 (the authors' package; 5 in the pseudo-code).
        line: `"half"` puts the knots on [0, reach] (default, the package); `"full"` on [-reach, reach] (pseudo-code).
        target: where the centre comes from: `"live"`, the same embeddings with their gradient (default, paper); `"detached"`, without; or
            `"teacher"`, embeddings of an averaged encoder, as the paper tries for ViTs.
        momentum: of that average, in [0, 1]. Default 0.99 (ours); until its memory is as long it is the plain mean (weight averaging).

    Source: algorithms 1 and 2 and appendix of the paper; `L_pred` as in the pseudo-code.
    """

    def __init__(
        self,
        student: nn.Module,
        projector: nn.Module,
        views: Views,
        predictor: nn.Module | None = None,
        probe: nn.Module | None = None,
        *,
        weight: float = 0.05,
        test: NormalityTest = "epps-pulley",
        slices: int = 1024,
        knots: int = 17,
        reach: float = 3.0,
        line: Line = "half",
        target: Target = "live",
        momentum: float = 0.99,
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise OptionError(f"weight is {weight}; expected a share in [0, 1]: 0.05 is usual, 0.02 with few views.")
        if slices < 1:
            raise OptionError(f"slices is {slices}; expected at least 1 direction; 256 to 1024 are usual.")
        if target not in get_args(Target):
            raise OptionError(f"target is '{target}'; expected 'live', 'detached' or 'teacher'.")
        test_named(test), quadrature(knots, reach, line)
        self.student = student
        self.projector = projector
        self.predictor = predictor
        self.probe = probe
        self.views = views
        self.weight = weight
        self.test: NormalityTest = test
        self.slices = slices
        self.knots = knots
        self.reach = reach
        self.line: Line = line
        self.target: Target = target
        self.teacher = None
        if target == "teacher":
            # Batch statistics of its own, as the student has: running ones would put its centre on another scale early on.
            self.teacher = EMA(nn.Sequential(student, projector), momentum, warmup=True, mode="follow", buffers="keep")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `"prediction"` and `"sigreg"`, weighted, and `"probe"` where there is one and the batch has labels.

        Logs `embedding_std`, the spread of the embeddings per dimension, and `corrected`, the loss by which settings compare without
        labels (see `corrected_loss`).
        """
        seen = self.views(batch["input"], self.generator)
        features = torch.cat([self.student(images) for images in seen.groups()])
        z = _by_view(self.projector(features), len(seen))  # [V, N, K]

        compared = z if self.predictor is None else self.predictor(z.flatten(0, 1)).view_as(z)
        prediction = L.mean(L.mse(compared, self.centre(seen, z).expand_as(z)))
        # The step is the seed: the same directions on every process, new ones at every step.
        directions = L.random_directions(self.slices, z.shape[-1], seed=self.steps_done, device=z.device)
        regulariser = L.mean(L.sigreg(z, directions, test=self.test, knots=self.knots, reach=self.reach, line=self.line))

        losses = {"prediction": (1 - self.weight) * prediction, "sigreg": self.weight * regulariser}
        self.log("embedding_std", z.detach().float().std(1).mean())
        if self.weight:
            self.log("corrected", corrected_loss((losses["prediction"] + losses["sigreg"]).detach(), self.weight))
        if self.probe is not None and "label" in batch:
            losses["probe"] = self.probe_loss(features.detach(), batch["label"].repeat(len(seen)))
        return losses

    def embedding(self) -> nn.Module:
        """Return backbone and projector as one module, to watch the embeddings that the losses see."""
        return nn.Sequential(self.student, self.projector)

    def centre(self, seen: Seen, embeddings: Tensor) -> Tensor:
        """Return mu, the mean over global views.

        Args:
            seen: the views.
            embeddings: the student's, `[V, N, K]`, global views first.

        Returns:
            `[N, K]`; with a gradient if the target is live.
        """
        if self.teacher is not None:
            return _by_view(self.teacher(seen.wide.flatten(0, 1)), len(seen.wide)).mean(0)
        mean = embeddings[: len(seen.wide)].mean(0)
        return mean if self.target == "live" else mean.detach()

    def probe_loss(self, features: Tensor, label: Tensor) -> Tensor:
        """Return the cross-entropy of the probe on detached features `[V N, D]`, and log its accuracy on the views, in percent."""
        assert self.probe is not None
        logits = self.probe(features)
        self.log("probe_accuracy", 100 * (logits.argmax(-1) == label).float().mean())
        return L.mean(L.cross_entropy(logits, label))


def _by_view(embeddings: Tensor, views: int) -> Tensor:
    """Return embeddings `[V N, K]` as `[V, N, K]`."""
    return embeddings.view(views, -1, embeddings.shape[-1])


def corrected_loss(loss: Tensor, weight: float, *, alpha: float = 0.4) -> Tensor:
    """Return `loss / weight^alpha`, by which trainings of different weight compare: the smaller, the better the features tend to be.

    Args:
        loss: the training loss `(1 - weight) L_pred + weight SIGReg`.
        weight: lambda, above 0.
        alpha: Default 0.4 (paper).

    Raises:
        OptionError: if the weight is not above 0.

    Source: the paper's section on model selection without labels.
    """
    if not weight > 0:
        raise OptionError(f"A loss of weight {weight} cannot be corrected; expected a weight above 0.")
    corrected: Tensor = loss / weight**alpha
    return corrected
