"""What a recipe is: a frozen dataclass of options that runs a method against its baselines.

Modules of recipes import nothing heavy at their top: the command line reads their options without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from torch import nn

    from tutelage.data import Arrays, DataSet
    from tutelage.report import Report
    from tutelage.train.run import Run

PROMPT_TRAIN = TrainOptions(epochs=1, batch_size=16, optimizer="AdamW", learning_rate=1e-6, schedule="constant", clip=1.0)
"""How a language model is trained on the user's prompts unless the user says otherwise; the learning rate is that of large models."""


def report_for(run: Run, title: str) -> Report:
    """Return an empty report that bears a run's name, seeds and configuration.

    Args:
        run: the run.
        title: heading of the report.
    """
    from tutelage.report import Report

    return Report(run.name, title, run.seeds, config=run.config)


@dataclass(frozen=True)
class Recipe:
    """A method, its data, its models and its baselines: `run` does the work, `quick` is a variant of at most a minute."""

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)

    def run(self, run: Run) -> Report:
        """Train every arm for every seed of `run` and return the report with its claims.

        Args:
            run: the run directory, its seeds and its trainer.

        Returns:
            The report, which the caller saves.
        """
        raise TypeError(f"{type(self).__name__} must define run(run)")

    def quick(self) -> Self:
        """Return a variant of this recipe that runs within 60 seconds on two cores."""
        raise TypeError(f"{type(self).__name__} must define quick()")


@dataclass(frozen=True)
class Setting:
    """The user's own teacher, student and data, from which a recipe's `distil` builds its method.

    Args:
        teacher: trained teacher, which takes `batch["input"]` and returns logits `[N, C]`.
        student: untrained student of the same contract.
        data: data set with its train, validation and test parts.
        train: how to train.
        seed: seed of data order and initialisation.
        run: the run, for recipes that need a training of their own first.
        view: augmentation of training images `(images, generator) -> images`, or `None`.
    """

    teacher: nn.Module
    student: nn.Module
    data: DataSet
    train: TrainOptions
    seed: int
    run: Run
    view: Any = None


@dataclass(frozen=True)
class PretrainSetting:
    """The user's own backbone and images, from which a recipe's `pretrain` builds its method.

    Args:
        backbone: network without a head, from images to flat features `[N, width]`; the method's student.
        width: number of its features.
        images: the training images, column `input` (and `label` only where `num_classes` is not 0).
        train: how to train.
        seed: seed of data order and initialisation.
        run: the run.
        num_classes: number of classes that the labels of the images name; 0 where they have none.
        view: augmentation `(images, generator) -> images` that replaces the method's own, or `None`.
    """

    backbone: nn.Module
    width: int
    images: Arrays
    train: TrainOptions
    seed: int
    run: Run
    num_classes: int = 0
    view: Any = None


@dataclass(frozen=True)
class SemiSetting:
    """The user's own student and images with few labels, from which a recipe's `semi` builds its method.

    Args:
        student: untrained student; logits `[N, C]`.
        labelled: the few samples with labels.
        unlabelled: the many without.
        train: how to train; its batch size is that of labelled and unlabelled samples, each.
        seed: seed of data order and initialisation.
        run: the run.
        view: augmentation of what the student sees `(images, generator) -> images`, or `None`.
    """

    student: nn.Module
    labelled: Arrays
    unlabelled: Arrays
    train: TrainOptions
    seed: int
    run: Run
    view: Any = None


@dataclass(frozen=True)
class PromptSetting:
    """The user's own language models and prompts, from which a recipe's `prompts` builds its method.

    Args:
        student: causal language model of transformers that learns; with adapters where they were asked for.
        teacher: the one that teaches it; `None` where the method's options need none.
        tokenizer: the student's.
        alignment: of the student's tokens with the teacher's, `tutelage.models.language.Alignment`; `None` where the numbers are the same.
        questions: columns `input` (prompts as texts), `answer` and others that the reward may ask for.
        reward: `(response, row) -> number`.
        train: how to train; its batch size counts prompts.
        seed: seed of data order and sampling.
        run: the run.
    """

    student: Any
    teacher: Any
    tokenizer: Any
    alignment: Any
    questions: Arrays
    reward: Any
    train: TrainOptions
    seed: int
    run: Run
