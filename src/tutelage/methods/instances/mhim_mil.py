"""MHIM-MIL: a momentum teacher hides the instances it finds salient, so that an attention model of bags must learn the hard ones.

Attention fastens on the few easiest instances of a positive bag; a student that is shown the bag without them has to find the others.

Reference: Tang, Huang, Zhang, Zhou, Zhang, Liu, Multiple Instance Learning Framework with Masked Hard Instance Mining for Whole Slide
    Image Classification, ICCV 2023, arXiv 2307.15254.
Tags: multiple-instance learning, bags, attention, hard instances, masking, momentum teacher, Siamese, pathology, whole-slide images
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage import schedules
from tutelage.errors import OptionError, ShapeError
from tutelage.models.attention_mil import BagAnswer, BagModel
from tutelage.selection.hard_instances import Fusion, hard_instance_mask, share
from tutelage.targets import soften
from tutelage.teachers import EMA
from tutelage.teachers.base import without_graph
from tutelage.train import Batch, Method

TeacherKind = Literal["momentum", "student", "frozen"]
Initialise = Literal["both", "teacher", "front", "none"]


def bag_loss(answer: BagAnswer, label: Tensor) -> Tensor:
    """Return the cross-entropy of one bag; of a model with a stream of instances the mean of both streams'.

    Args:
        answer: of the bag.
        label: int64 scalar.

    Returns:
        Scalar, in nats.

    Source: arXiv 2307.15254, section 3.3; the halves of DSMIL, Li et al., CVPR 2021, eq. 9.
    """
    loss = L.cross_entropy(answer.logits, label)
    return loss if answer.instance_logits is None else 0.5 * loss + 0.5 * L.cross_entropy(answer.instance_logits, label)


class MHIMMIL(Method):
    """Masked hard instance mining: the teacher sees the whole bag, the student what the teacher's attention leaves of it.

    `L = CE(y, student(Z without masked instances)) + alpha * (-sum_d softmax(F_t / tau)_d log softmax(F_s)_d)`, where F are the bag's
    embeddings. The mask unites the most salient instances (HAM), the least salient (L) and some at random (R).

    Batch:
        input: list of B bags, each float32 `[N_i, D]` with `N_i` of at least 1. The paper has B = 1.
        label: int64 `[B]`.

    Args:
        student: model of bags that learns and is deployed: a `BagModel`, or any module with its `answer(bag, ranked=...)` and `front`.
        baseline: the same model trained in the plain way; `None` lets teacher and student begin equal.
        high_ratio: beta_h at the start, share of a bag's instances that HAM hides. Default 0.01 (paper, CAMELYON16 with AB-MIL; 0.02 to
            0.03 elsewhere).
        high_randomness: hr: `beta_h N` instances are drawn at random among the `beta_h / hr N` most salient. Default 0.5 (paper,
            CAMELYON16); 1 hides the most salient themselves.
        low_ratio: beta_l, share of the least salient instances to hide. Default 0 (paper, CAMELYON16 with AB-MIL; 0.8 with TransMIL, 0.2
            on TCGA).
        random_ratio: beta_r, share of instances to hide at random. Default 0.5 (paper, CAMELYON16 with AB-MIL; 0.6 to 0.7 on TCGA).
        decay: whether beta_h falls to 0 as a cosine over the training, step by step. Default True (paper).
        fusion: how several attention heads agree: `"vote"` (paper) or `"mean"`.
        alpha: weight of the consistency term. Default 0.1 (paper, CAMELYON16; 0.5 on TCGA). 0 is the ablation without it.
        tau: temperature of the teacher's embedding; the student's is 1. Default 0.1 (paper).
        teacher: `"momentum"`: moving average of the student (paper); `"student"`: the student itself, on the whole bag and without a
            graph; `"frozen"`: a copy of the baseline, held still. All have their dropout on, as the student has.
        momentum: m of the moving average. Default 0.9999 (paper).
        momentum_schedule: `"constant"`, or `"cosine"` from m to 1 over the training (paper, on TCGA and with TransMIL).
        initialise: what begins with the baseline's weights: the whole teacher and the student's front (`"both"`, paper), the `"teacher"`,
            the student's `"front"`, or `"none"`, where the teacher begins as a copy of the student. Without a baseline nothing does.

    Source: section 3 of arXiv 2307.15254; defaults of the authors' code for CAMELYON16 with AB-MIL.
    """

    def __init__(
        self,
        student: nn.Module,
        baseline: nn.Module | None = None,
        *,
        high_ratio: float = 0.01,
        high_randomness: float = 0.5,
        low_ratio: float = 0.0,
        random_ratio: float = 0.5,
        decay: bool = True,
        fusion: Fusion = "vote",
        alpha: float = 0.1,
        tau: float = 0.1,
        teacher: TeacherKind = "momentum",
        momentum: float = 0.9999,
        momentum_schedule: Literal["constant", "cosine"] = "constant",
        initialise: Initialise = "both",
    ) -> None:
        super().__init__()
        for name, ratio in {"high_ratio": high_ratio, "low_ratio": low_ratio, "random_ratio": random_ratio}.items():
            if not 0 <= ratio < 1:
                raise OptionError(f"{name} is {ratio}; expected a share of a bag's instances from 0 to below 1.")
        if not 0 < high_randomness <= 1:
            raise OptionError(f"high_randomness is {high_randomness}; expected a number above 0, at most 1 (no randomness).")
        if alpha < 0 or not tau > 0:
            raise OptionError(f"alpha is {alpha} and tau is {tau}; expected alpha of at least 0 and tau above 0.")
        for name, value, known in (
            ("fusion", fusion, get_args(Fusion)),
            ("teacher", teacher, get_args(TeacherKind)),
            ("momentum_schedule", momentum_schedule, ("constant", "cosine")),
            ("initialise", initialise, get_args(Initialise)),
        ):
            if value not in known:
                raise OptionError(f"{name} is '{value}'; expected one of {', '.join(known)}.")
        if teacher == "frozen" and baseline is None:
            raise OptionError("teacher='frozen' needs a trained baseline to hold still; give one, or choose teacher='momentum'.")
        for name, model in {"student": student, "baseline": baseline}.items():
            if model is not None and not (hasattr(model, "answer") and hasattr(model, "front")):
                raise OptionError(
                    f"The {name} is a {type(model).__name__}; expected a model of bags with answer(bag) and front (BagModel)."
                )
        self.student = student
        if baseline is not None and initialise in ("both", "front"):
            _copy(baseline.get_submodule("front"), student.get_submodule("front"))
        self.teacher: EMA | None = None
        if teacher != "student":
            moving = schedules.cosine(momentum, 1.0) if momentum_schedule == "cosine" else momentum
            # A frozen teacher is one of momentum 1: it too has its dropout on.
            self.teacher = EMA(student, 1.0 if teacher == "frozen" else moving, mode="follow", buffers="keep")
            if baseline is not None and (initialise in ("both", "teacher") or teacher == "frozen"):
                _copy(baseline, self.teacher.model)
        self.high_ratio: float | schedules.Schedule = schedules.cosine(high_ratio, 0.0) if decay else high_ratio
        self.high_randomness = high_randomness
        self.low_ratio = low_ratio
        self.random_ratio = random_ratio
        self.fusion: Fusion = fusion
        self.alpha = alpha
        self.tau = tau

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `"classification"` and, unless `alpha` is 0, the weighted `"consistency"`.

        Logs `masked`, the mean share of instances that were hidden, and `high_ratio`, beta_h now.
        """
        high = schedules.value(self.high_ratio, self.progress)
        classification, consistency, masked = [], [], []
        student: Any = self.student
        for bag, label in zip(batch["input"], batch["label"], strict=True):
            # The teacher sees the whole bag, and says what is salient and what the bag is like.
            taught = self.taught(bag, high)
            mask = hard_instance_mask(
                None if taught is None else taught.scores,
                len(bag),
                high=high,
                high_randomness=self.high_randomness,
                low=self.low_ratio,
                random=self.random_ratio,
                fusion=self.fusion,
                generator=self.generator,
                device=bag.device,
            )
            # What is left is a shorter sequence, not one with zeros.
            answer: BagAnswer = student.answer(bag[~mask] if bool(mask.any()) else bag, ranked=False)
            classification.append(bag_loss(answer, label))
            if self.alpha and taught is not None:
                consistency.append(L.mean(L.soft_cross_entropy(answer.embedding, soften(taught.embedding, self.tau))))
            masked.append(mask.float().mean())
        self.log("masked", torch.stack(masked).mean())
        self.log("high_ratio", high)
        losses = {"classification": L.mean(torch.stack(classification))}
        if consistency:
            losses["consistency"] = self.alpha * L.mean(torch.stack(consistency))
        return losses

    def taught(self, bag: Tensor, high: float = 1.0) -> BagAnswer | None:
        """Return the teacher's answer for a whole bag, without a graph; `None` where neither mask nor loss asks for it.

        Args:
            bag: `[N, D]`.
            high: beta_h now.
        """
        ranked = bool(share(high, len(bag)) or self.low_ratio)
        if not (ranked or self.alpha):
            return None
        model: Any = self.student if self.teacher is None else self.teacher.model
        found: BagAnswer = without_graph(model.answer)(bag, ranked=ranked)
        return found

    def predict(self, batch: Batch) -> Tensor:
        """Return the student's logits of whole bags, `[B, C]`."""
        logits: Tensor = self.student(batch["input"])
        return logits


class PlainMIL(Method):
    """The baseline: a model of bags learns from labels alone.

    Batch:
        input: list of B bags, each float32 `[N_i, D]`.
        label: int64 `[B]`.

    Args:
        student: a model of bags.
    """

    student: BagModel

    def __init__(self, student: BagModel) -> None:
        super().__init__()
        self.student = student

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy as `"classification"`."""
        pairs = zip(batch["input"], batch["label"], strict=True)
        return {"classification": L.mean(torch.stack([bag_loss(self.student.answer(bag, ranked=False), label) for bag, label in pairs]))}


def _copy(source: nn.Module, target: nn.Module) -> None:
    try:
        target.load_state_dict(source.state_dict())
    except RuntimeError as error:
        raise ShapeError(
            f"The baseline does not fit the student ({' '.join(str(error).split())}). "
            "Train a baseline of the same architecture, or set initialise='none'."
        ) from error
