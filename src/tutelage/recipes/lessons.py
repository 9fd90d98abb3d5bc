"""One round of active learning: its teacher, from memory where it can be, and the training of a fresh student."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from tutelage.data import Arrays, Batches
from tutelage.errors import OptionError
from tutelage.methods.instances.pcoreset import PCoreSet
from tutelage.models.dual_head import DualHead
from tutelage.models.zero_shot import ZeroShot, few_shot
from tutelage.recipes.instances.pcoreset import PCoreSetOptions
from tutelage.teachers import Frozen, Memory, Stored, Teacher
from tutelage.train.options import TrainOptions
from tutelage.train.run import Run
from tutelage.views import View

Guide = Callable[[Arrays], "tuple[Teacher, View | None]"]
"""The teacher of a round and the view that its answers fit, from the labelled samples."""


def guide(
    teacher: nn.Module, pool: Arrays, *, view: View | None = None, cached_views: int = 0, refit: dict[str, Any] | None = None, seed: int = 0
) -> Guide:
    """Return what makes the teacher of each round, asking the network as seldom as possible.

    Without a view, or with `cached_views`, the network runs once over the pool and is read from memory in all rounds; refitted
    prototypes are applied to its stored features.

    Args:
        teacher: answers logits `[N, C]`; a `ZeroShot` where it is to be refitted.
        pool: all samples.
        view: augmentation that both networks see.
        cached_views: number of views of each sample to keep answers to; 0 to ask the network at every step.
        refit: arguments of `models.few_shot` by which the prototypes are fitted anew in every round; `None` for a teacher that stays.
        seed: seed of the views.

    Raises:
        OptionError: if a teacher that is no `ZeroShot` is to be refitted.
    """
    if refit is not None and not isinstance(teacher, ZeroShot):
        raise OptionError(f"A few-shot teacher is fitted from prototypes: give a models.ZeroShot in place of a {type(teacher).__name__}.")
    teacher.eval()
    live = view is not None and not cached_views
    if refit is None:
        if live:
            frozen = Frozen(teacher)
            return lambda labelled: (frozen, view)
        stored = _stored(Memory.of(teacher, pool, view=view, views=cached_views, view_seed=seed), view)
        return lambda labelled: (stored, stored.view)
    assert isinstance(teacher, ZeroShot)
    features = Memory.of(teacher.encoder, pool)
    seen = None if live else features if view is None else Memory.of(teacher.encoder, pool, view=view, views=cached_views, view_seed=seed)

    def fitted(labelled: Arrays) -> tuple[Teacher, View | None]:
        model = few_shot(teacher, features.read("", labelled.index), labelled.labels, seed=seed, **refit)
        if seen is None:
            return Frozen(model), view
        stored = _stored(seen.map(model.classify), view)
        return stored, stored.view

    return fitted


def _stored(memory: Memory, view: View | None) -> Stored:
    return Stored(memory, view if memory.views else None)


@dataclass(frozen=True)
class Learner:
    """Trains one round after the other, each from the same student.

    Args:
        student: the untrained (or pretrained) student, which is copied.
        guide: makes the teacher of a round; `None` without distillation.
        options: of the method.
        train: how to train.
        passes: labelled samples are drawn with replacement, so many times their number in a round.
        steps: optimizer steps of a round in place of `passes`.
        unlabelled_batch: unlabelled samples per step; as many as labelled ones if `None`.
        seed: seed of data order and views.
    """

    student: DualHead
    guide: Guide | None
    options: PCoreSetOptions
    train: TrainOptions
    passes: int = 200
    steps: int | None = None
    unlabelled_batch: int | None = None
    seed: int = 0

    def __call__(self, run: Run, name: str, labelled: Arrays, unlabelled: Arrays) -> PCoreSet:
        """Train a fresh copy of the student and return its method.

        Args:
            run: the run.
            name: the training's path inside it.
            labelled: with labels.
            unlabelled: the others.
        """
        teacher, view = (None, None) if self.guide is None else self.guide(labelled)
        method = PCoreSet(copy.deepcopy(self.student), teacher, view, **asdict(self.options))
        size = self.train.batch_size
        companions = {}
        if method.distil in ("both", "unlabelled"):
            companions["unlabelled"] = Batches(unlabelled, self.unlabelled_batch or size, seed=self.seed)
        draws = self.passes * len(labelled) if self.steps is None else self.steps * size
        run.train(name, method, Batches(labelled, size, seed=self.seed, companions=companions, draws=draws), self.train)
        return method
