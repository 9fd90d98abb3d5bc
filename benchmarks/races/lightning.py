"""stable-pretraining, which trains by Lightning: a distillation in its module, its moving average and its checkpoints."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.races.runners import Go
from benchmarks.races.tasks import ALPHA, MOMENTUM, RATE, TEMPERATURE, Task


def quiet() -> None:
    """Silence what Lightning and the library log about every run."""
    from loguru import logger

    logger.remove()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def hinton(self: Any, batch: Any, stage: str) -> dict[str, Any]:
    """Return the loss of one batch: the `forward` that users of its module write."""
    x, y = batch["image"], batch["label"]
    logits = self.student(x)
    with torch.no_grad():
        target = F.softmax(self.teacher(x) / TEMPERATURE, dim=1)
    soft = F.kl_div(F.log_softmax(logits / TEMPERATURE, dim=1), target, reduction="batchmean")
    return {"loss": ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(logits, y)}


class Named(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples as dictionaries, as it wants them."""

    def __init__(self, dataset: torch.utils.data.Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> dict[str, Any]:
        image, label = self.dataset[row]
        return {"image": image, "label": label}


def trainer(folder: Path, epochs: int, **more: Any) -> Any:
    """Return Lightning's trainer, without logger and bar."""
    import lightning

    quiet()
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        **more,
    )


def distillation(task: Task, folder: Path) -> Go:
    """Return its run of a distillation, with Lightning's checkpoint of each epoch."""
    import stable_pretraining
    from torch.utils.data import DataLoader

    teacher, student = task.models()
    plain = task.loader()
    loader = DataLoader(Named(task.dataset), task.batch, sampler=plain.sampler, num_workers=0)
    quiet()
    module = stable_pretraining.Module(
        forward=hinton,
        student=student,
        teacher=teacher,
        optim={
            "optimizer": functools.partial(torch.optim.SGD, lr=RATE, momentum=MOMENTUM),
            "scheduler": functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=task.steps),
            "interval": "step",
        },
        hparams={},
    )
    run = trainer(folder, task.epochs)

    def go() -> nn.Module:
        run.fit(module, loader)
        return student

    return go


def average(student: nn.Module) -> Callable[[], object]:
    """Return the update of its teacher-student wrapper."""
    from stable_pretraining.backbone.utils import TeacherStudentWrapper

    wrapper = TeacherStudentWrapper(student, warm_init=True, base_ema_coefficient=0.999, final_ema_coefficient=0.999).train()
    update: Callable[[], object] = wrapper.update_teacher
    return update


def checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> Callable[[], object]:
    """Return Lightning's writing of model and optimizer, by which stable-pretraining saves."""
    import lightning
    from torch.utils.data import DataLoader, TensorDataset

    class Holder(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer

        def training_step(self, batch: Any, number: int) -> None:
            return None

    run = trainer(folder, 1, enable_checkpointing=False)
    run.fit(Holder(), DataLoader(TensorDataset(torch.zeros(1, 1))))
    return functools.partial(run.save_checkpoint, folder / "lightning.ckpt")
