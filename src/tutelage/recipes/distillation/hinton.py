"""Recipe of classical distillation: real digits, a jittered teacher, a small student, and the paper's omitted class."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import Recipe, Setting, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tutelage.data import Arrays, Batches, DataSet
    from tutelage.report import Report
    from tutelage.train import History, Method, Run

ALONE, DISTILLED, SOFT = "student alone", "distilled", "soft targets only"
TUNED = "student alone, own learning rate"
FEW_HARD, FEW_SOFT = "small set, labels", "small set, soft targets"
OMIT_HARD, OMIT_SOFT = "class omitted, labels", "class omitted, soft targets"


@dataclass(frozen=True)
class HintonOptions:
    """Options of classical distillation."""

    temperature: float = 4.0
    """Temperature of both softmaxes in the soft term (ours; the paper uses 1 to 20)."""
    alpha: float = 0.9
    """Share of the soft term, the labels have the rest (ours; 0 is labels alone, 1 soft targets alone)."""


@dataclass(frozen=True)
class HintonRecipe(Recipe):
    """A teacher trained on shifted digits teaches a student twenty times smaller, which never sees a shifted one."""

    data: str = "mnist-5k"
    """Data set."""
    train_size: int = 1000
    """Training images, for teacher and students alike."""
    validation_size: int = 1000
    """Validation images."""
    test_size: int = 2000
    """Test images."""
    teacher_widths: tuple[int, ...] = (16, 32, 64)
    """Channels of the teacher's convolutions."""
    student_widths: tuple[int, ...] = (4, 8)
    """Channels of the student's convolutions."""
    label_rate: float = 0.05
    """Learning rate that suits labels best on validation data: that of the teacher and of a second student alone."""
    jitter: int = 2
    """Pixels by which the teacher's training images are shifted, as in the paper; the students' are not."""
    temperatures: tuple[float, ...] = (1.0, 2.0, 8.0, 20.0)
    """Other temperatures to compare with."""
    alphas: tuple[float, ...] = (0.5,)
    """Other shares of the soft term to compare with, beside 0 (student alone) and 1 (soft targets only)."""
    fraction: float = 0.2
    """Part of the training data in the small transfer set, on which students take as many steps as on the whole."""
    omitted: int = 3
    """Class that is left out of one transfer set."""
    options: HintonOptions = HintonOptions()
    """Options of the method."""
    train: TrainOptions = field(default_factory=lambda: TrainOptions(epochs=60, learning_rate=0.02, momentum=0.9, batch_size=64))
    """How every network is trained."""

    def quick(self) -> Self:
        """Return the variant on 400 digits of 8x8 pixels, with temperature 1 as the only other setting."""
        return replace(
            self,
            data="digits",
            train_size=400,
            validation_size=300,
            test_size=800,
            jitter=1,
            temperatures=(1.0,),
            alphas=(),
            fraction=0.25,
        )

    def run(self, run: Run) -> Report:
        """Train teacher and students for every seed and check the paper's sentences."""
        report = report_for(run, "Distilling the knowledge in a neural network (Hinton, Vinyals, Dean 2015)")
        histories: dict[str, list[History]] = {}
        for seed in run.seeds:
            for arm, history in self._one_seed(run, report, seed).items():
                histories.setdefault(arm, []).append(history)
        whole = {arm: runs for arm, runs in histories.items() if arm not in (FEW_HARD, FEW_SOFT)}
        report.curve("Validation accuracy", *mean_curves(whole, "accuracy"), "epoch", "accuracy, percent")
        self._claims(report)
        report.note(
            "Temperature and share of the soft term are ours; the paper's dropout in the teacher is left out. "
            "With T^2 in front, soft gradients are larger than those of labels, and want a lower learning rate: students have that of the "
            "training options, the teacher and the student alone with its own have label_rate. "
            "The shift of the omitted class is chosen on the validation part, for both students alike."
        )
        explain(report)
        return report

    def _claims(self, report: Report) -> None:
        report.claim("A distilled student classifies better than the same student trained alone.", DISTILLED, ALONE, "accuracy")
        report.claim("It does so even when the student alone has the learning rate that suits it best.", DISTILLED, TUNED, "accuracy")
        report.claim("Soft targets without any label already classify better than labels alone.", SOFT, ALONE, "accuracy")
        if 1.0 in self.temperatures:
            report.claim("A raised temperature classifies better than temperature 1.", DISTILLED, "temperature 1", "accuracy")
        report.claim(
            "On a small part of the data, soft targets carry what labels cannot: the student classifies better.",
            FEW_SOFT,
            FEW_HARD,
            "accuracy",
        )
        before = list(report.values[OMIT_SOFT]["omitted_recall"].values())
        report.check(
            "A student that never saw a class recognises a part of it from soft targets (recall in percent).", before, at_least=1.0
        )
        after = report.values[OMIT_SOFT]["omitted_recall_shifted"]
        report.check(
            "Once that class's bias is set right, it recognises most of it (recall in percent).", list(after.values()), at_least=80.0
        )
        report.claim(
            "With labels alone and the same setting of the bias it does not come near.",
            OMIT_SOFT,
            OMIT_HARD,
            "omitted_recall_shifted",
            margin=20.0,
        )

    def _one_seed(self, run: Run, report: Report, seed: int) -> dict[str, History]:
        from tutelage import data, evaluate, models, views
        from tutelage.methods.distillation.hinton import Hinton
        from tutelage.teachers import Frozen
        from tutelage.train import Supervised

        parts: DataSet = data.load(self.data, validation=self.validation_size, test=self.test_size, seed=seed)
        whole, options = data.split(parts.train, {"train": self.train_size}, seed)["train"], self.options

        by_label = replace(self.train, learning_rate=self.label_rate)

        def network(widths: tuple[int, ...]) -> nn.Module:
            import torch

            torch.manual_seed(seed)
            return models.small_cnn(num_classes=parts.num_classes, in_channels=parts.shape[0], widths=widths)

        def measure(method: Method) -> dict[str, float]:
            return evaluate.classification(*evaluate.predictions(method.predict, parts.validation))

        def fit(arm: str, method: Method, arrays: Arrays, train: TrainOptions = self.train) -> History:
            batches = data.Batches(arrays, train.batch_size, seed=seed)
            history = run.train(f"seed-{seed}/{arm.replace(', ', '-').replace(' ', '-')}", method, batches, train, measure)
            logits, label = evaluate.predictions(method.predict, parts.test)
            report.add(arm, seed, **evaluate.classification(logits, label), parameters=models.count_parameters(method.student))
            report.reliability(arm, seed, evaluate.reliability(logits, label))
            return history

        jitter = views.random_crop(padding=self.jitter) if self.jitter else None
        master = Supervised(network(self.teacher_widths), view=jitter)
        histories = {"teacher": fit("teacher", master, whole, by_label)}
        teacher = Frozen(master.student)

        def taught(arm: str, arrays: Arrays, temperature: float, alpha: float, train: TrainOptions = self.train) -> Hinton:
            method = Hinton(network(self.student_widths), teacher, temperature=temperature, alpha=alpha)
            histories[arm] = fit(arm, method, arrays, train)
            return method

        def alone(arm: str, arrays: Arrays, train: TrainOptions = self.train) -> Supervised:
            method = Supervised(network(self.student_widths))
            histories[arm] = fit(arm, method, arrays, train)
            return method

        alone(ALONE, whole)
        alone(TUNED, whole, by_label)
        taught(DISTILLED, whole, options.temperature, options.alpha)
        taught(SOFT, whole, options.temperature, 1.0)
        for temperature in self.temperatures:
            taught(f"temperature {temperature:g}", whole, temperature, options.alpha)
        for alpha in self.alphas:
            taught(f"alpha {alpha:g}", whole, options.temperature, alpha)

        few = data.split(whole, {"few": self.fraction}, seed)["few"]
        every = max(round(1 / self.fraction), 1)
        longer = replace(self.train, epochs=self.train.epochs * every, validate_every=every, checkpoint_every=every)
        alone(FEW_HARD, few, longer)
        taught(FEW_SOFT, few, options.temperature, 1.0, longer)

        rest = whole.subset(whole.labels != self.omitted)
        for arm, method in ((OMIT_HARD, alone(OMIT_HARD, rest)), (OMIT_SOFT, taught(OMIT_SOFT, rest, options.temperature, 1.0))):
            shift = best_shift(*evaluate.predictions(method.predict, parts.validation), self.omitted)
            logits, label = evaluate.predictions(method.predict, parts.test)
            shifted = shift_class(logits, self.omitted, shift)
            report.add(
                arm,
                seed,
                omitted_recall=recall(logits, label, self.omitted),
                omitted_recall_shifted=recall(shifted, label, self.omitted),
                accuracy_shifted=evaluate.classification(shifted, label)["accuracy"],
                shift=shift,
            )
        return histories


def shift_class(logits: Tensor, number: int, shift: float) -> Tensor:
    """Return logits `[N, C]` with `shift` added to one class, as a change of its bias would."""
    shifted = logits.clone()
    shifted[:, number] += shift
    return shifted


def recall(logits: Tensor, label: Tensor, number: int) -> float:
    """Return the percentage of one class's samples that are recognised.

    Args:
        logits: `[N, C]`.
        label: int64 `[N]`.
        number: the class.
    """
    return 100 * (logits[label == number].argmax(-1) == number).float().mean().item()


def best_shift(logits: Tensor, label: Tensor, number: int) -> float:
    """Return what, added to one class's logit, classifies best; the first of several equally good ones.

    Args:
        logits: `[N, C]`.
        label: int64 `[N]`.
        number: the class.

    Returns:
        A shift between 0 and 30 in steps of 0.1, in units of logits.
    """
    shifts = [step / 10 for step in range(301)]
    right = [(shift_class(logits, number, shift).argmax(-1) == label).sum().item() for shift in shifts]
    return shifts[right.index(max(right))]


def distil(setting: Setting, options: HintonOptions) -> tuple[Method, Batches]:
    """Return classical distillation from the user's teacher into the user's student."""
    from tutelage import data
    from tutelage.methods.distillation.hinton import Hinton
    from tutelage.teachers import Frozen, Teacher

    teacher = setting.teacher if isinstance(setting.teacher, Teacher) else Frozen(setting.teacher)
    method = Hinton(setting.student, teacher, setting.view, temperature=options.temperature, alpha=options.alpha)
    return method, data.Batches(setting.data.train, setting.train.batch_size, seed=setting.seed)


def explain(report: Report) -> None:
    """Add a sentence on why, where soft targets alone do not beat labels.

    Args:
        report: with its claims.
    """
    claim = next((claim for claim in report.claims if claim.text.startswith("Soft targets without any label")), None)
    if claim is None or claim.held:
        return
    soft, alone = report.values[SOFT]["accuracy"], report.values[ALONE]["accuracy"]
    lost = [seed for seed in report.seeds if soft[seed] < alone[seed] - 5]
    others = [soft[seed] - alone[seed] for seed in report.seeds if seed not in lost]
    if lost and others:
        report.note(
            f"Of the students of soft targets alone {len(lost)} of {len(report.seeds)} broke down "
            f"({', '.join(f'{soft[seed]:.1f} %' for seed in lost)}), as others do at high temperatures; the rest are "
            f"{sum(others) / len(others):+.1f} points from labels. Likely the learning rate, which labels beside the soft targets would "
            "bear, is too high for them: nothing clips gradients here, and T^2 enlarges them."
        )


RECIPE = HintonRecipe
OPTIONS = HintonOptions
STORED = ("logits", "top-k")
