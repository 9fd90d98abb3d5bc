"""What every arm of the user's own distillation is measured by, and what is kept and shipped of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from tutelage import deploy, evaluate, models
from tutelage.recipes import roles
from tutelage.recipes.trained import save
from tutelage.report import Report, figures
from tutelage.teachers import Stored
from tutelage.train.log import History

if TYPE_CHECKING:
    from tutelage.data import DataSet
    from tutelage.train.run import Run


class Bench:
    """Measures every arm on the test part and keeps what the page shows."""

    def __init__(self, data: DataSet, report: Report, teacher: nn.Module) -> None:
        self.data, self.report = data, report
        self.histories: dict[str, History] = {}
        self.logits: dict[str, Tensor] = {}
        if isinstance(teacher, Stored):
            self.teacher_logits, self.labels = roles.stored_logits(teacher, data, "test"), data.test.labels.cpu()
        else:
            self.teacher_logits, self.labels = evaluate.predictions(teacher, data.test)

    def measure(self, arm: str, seed: int, model: nn.Module, history: History | None = None) -> None:
        """Put an arm's test metrics, size and latency into the report."""
        if arm == "teacher":
            logits = self.teacher_logits
        else:
            logits, _ = evaluate.predictions(model, self.data.test)
        values = evaluate.classification(logits, self.labels)
        if arm != "teacher":
            values["agreement"] = evaluate.agreement(logits, self.teacher_logits)
        if not isinstance(model, Stored):
            values["parameters"] = float(models.count_parameters(model))
            values["size_kb"] = deploy.size_bytes(model) / 1000
            values["latency_ms"] = deploy.latency(model, self.data.test.gather([0])["input"])
        self.report.add(arm, seed, **values)
        self.report.reliability(arm, seed, evaluate.reliability(logits, self.labels, 15))
        self.logits.setdefault(arm, logits)
        if history is not None:
            self.histories.setdefault(arm, history)

    def draw(self) -> None:
        """Draw the validation curves, and where student and teacher disagree."""
        if self.histories:
            curves = {arm: history.series("accuracy") for arm, history in self.histories.items()}
            longest = max(len(line) for line in curves.values())
            padded = {arm: line + [math.nan] * (longest - len(line)) for arm, line in curves.items()}
            self.report.curve("Validation accuracy", range(1, longest + 1), padded, "epoch", "accuracy (%)")
        arm = list(self.histories)[-1]
        rows = (self.logits[arm].argmax(1) != self.teacher_logits.argmax(1)).nonzero()[:, 0]
        if len(self.data.shape) != 3 or self.data.shape[0] not in (1, 3) or len(rows) == 0:
            return
        images = self.data.test.gather(rows)["input"]
        figure = figures.disagreements(
            images, self.labels[rows], self.logits[arm][rows], self.teacher_logits[rows], classes=self.data.classes
        )
        self.report.picture(
            "Where student and teacher disagree", figure, f"Test images on which '{arm}' and the teacher answer differently."
        )


def keep(run: Run, trained: nn.Module, given: Any, data: DataSet) -> None:
    """Give the caller's live student its weights, and write the student into the run's directory."""
    if isinstance(given, nn.Module):
        given.load_state_dict(trained.state_dict())
    if run.directory is not None:
        save(run.directory, "student", trained, given, data)


def ship_student(run: Run, student: nn.Module, data: DataSet, report: Report, arm: str) -> None:
    """Export the student beside the report, and put each format's size, latency and accuracy into the table."""
    assert run.directory is not None
    if data.shape == ():
        report.note("The student takes text; its tokenizer does not go into ONNX, so only student.safetensors was written.")
        return
    outputs = {"onnx": run.directory / "student.onnx", "int8": run.directory / "student-int8.onnx"}
    for row in deploy.ship(student, outputs, test=data.test, calibration=data.train):
        if row.path is None:  # the student in PyTorch is in the table already
            continue
        report.add(f"{arm}, {row.format}", run.seeds[0], accuracy=row.accuracy, size_kb=row.size_bytes / 1000, latency_ms=row.latency_ms)
        report.note(f"{row.path.name}: the largest difference of a logit from PyTorch on the test data is {row.max_difference:.2g}.")
