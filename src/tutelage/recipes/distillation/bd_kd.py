"""Recipe of BD-KD: two networks co-trained on few digits with wrong labels, so that calibration matters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import Recipe, Setting, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from torch import nn

    from tutelage.data import Batches, DataSet
    from tutelage.report import Report
    from tutelage.train import History, Method, Run

ALONE, MUTUAL, REVERSE, UNWEIGHTED, BALANCED = "student alone", "deep mutual learning", "reverse only", "unweighted sum", "BD-KD"
SMOOTH, OFFLINE, TEACHER = "BD-KD, smooth", "offline KD", "teacher alone"
CURVES = {
    "teacher_more_uncertain": ("Samples on which the teacher is the more uncertain", "share"),
    "ece": ("Validation calibration error", "ECE"),
    "nll": ("Validation negative log-likelihood", "NLL, nats"),
    "accuracy": ("Validation accuracy", "accuracy, percent"),
}


@dataclass(frozen=True)
class BDKDOptions:
    """Options of balanced-divergence distillation."""

    delta: float = 2.0
    """Weight of the emphasised divergence; 1 is the unweighted sum (ours)."""
    beta: float = 1.0
    """Weight of the distillation terms (ours)."""
    temperature: float = 1.0
    """Temperature of the softmaxes inside the divergences (ours)."""
    weighting: Literal["threshold", "smooth", "forward", "reverse"] = "threshold"
    """threshold: by the sign of the entropy gap; smooth: by its sigmoid; forward (deep mutual learning), reverse: that one alone."""
    sharpness: float = 10.0
    """Slope of the sigmoid of weighting=smooth, per nat (ours)."""
    entropies: Literal["plain", "tempered"] = "plain"
    """Whether entropies are compared at temperature 1 or at the option's."""
    online: bool = True
    """Whether the teacher learns too; otherwise it is trained already and held still."""


@dataclass(frozen=True)
class BDKDRecipe(Recipe):
    """Student and teacher learn together from 1,000 digits of which a fifth is labelled wrongly."""

    data: str = "mnist-10k"
    """Data set."""
    train_size: int = 1000
    """Training images."""
    validation_size: int = 1000
    """Validation images."""
    test_size: int = 4000
    """Test images."""
    noise: float = 0.2
    """Share of training labels that are replaced by another class; validation and test labels stay true."""
    teacher_widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the teacher's convolutions."""
    student_widths: tuple[int, ...] = (4, 8)
    """Channels of the student's convolutions."""
    options: BDKDOptions = BDKDOptions()
    """Options of the method."""
    train: TrainOptions = field(default_factory=lambda: TrainOptions(epochs=30, learning_rate=0.05, momentum=0.9, batch_size=64))
    """How every network is trained."""

    def quick(self) -> Self:
        """Return the variant on 600 digits of 8x8 pixels."""
        return replace(
            self,
            data="digits",
            train_size=600,
            validation_size=300,
            test_size=800,
            teacher_widths=(16, 32, 64),
        )

    def arms(self) -> dict[str, BDKDOptions]:
        """Return the options of every arm that has a teacher: the method and its ablations."""
        ours = self.options
        return {
            MUTUAL: replace(ours, weighting="forward"),
            REVERSE: replace(ours, weighting="reverse"),
            UNWEIGHTED: replace(ours, delta=1.0, weighting="threshold"),
            BALANCED: ours,
            SMOOTH: replace(ours, weighting="smooth"),
            f"{BALANCED}, temperature 4": replace(ours, temperature=4.0),
            OFFLINE: replace(ours, weighting="forward", online=False),
        }

    def run(self, run: Run) -> Report:
        """Train all arms for every seed and compare accuracy and calibration."""
        report = report_for(run, "BD-KD: balancing the divergences for online knowledge distillation (Amara et al. 2022)")
        histories: dict[str, list[History]] = {}
        for seed in run.seeds:
            for arm, history in self._one_seed(run, report, seed).items():
                histories.setdefault(arm, []).append(history)
        for name, (title, unit) in CURVES.items():
            report.curve(title, *mean_curves(histories, name), "epoch", unit)
        shares = [history.series("teacher_more_uncertain") for history in histories[BALANCED]]
        self._claims(report, [max(share) - min(share) for share in shares])
        report.note(
            "The weights' formula, delta, beta and temperature are our completion: the paper's were not readable. "
            "Labels of the validation and test parts are true, so a network calibrated to its noisy labels is under-confident there; "
            "ece_noisy is the calibration error against test labels with the training labels' noise."
        )
        explain(report, self.options.delta)
        return report

    def _claims(self, report: Report, swing: list[float]) -> None:
        report.claim("BD-KD is better calibrated than deep mutual learning, by 0.005 of ECE.", BALANCED, MUTUAL, "ece", margin=0.005)
        report.claim("BD-KD is at most 0.3 points less accurate than deep mutual learning.", BALANCED, MUTUAL, "accuracy", margin=-0.3)
        report.claim("A student co-trained by BD-KD classifies better than the student alone.", BALANCED, ALONE, "accuracy")
        report.claim("Balancing sample by sample is better calibrated than the unweighted sum.", BALANCED, UNWEIGHTED, "ece")
        report.claim("BD-KD is better calibrated than the reverse divergence alone.", BALANCED, REVERSE, "ece")
        report.claim("BD-KD is better calibrated than distillation from a trained, frozen teacher.", BALANCED, OFFLINE, "ece")
        report.claim("BD-KD classifies better than distillation from a trained, frozen teacher.", BALANCED, OFFLINE, "accuracy")
        report.check("The share of samples on which the teacher is the more uncertain moves during training, by 0.1.", swing, at_least=0.1)

    def _one_seed(self, run: Run, report: Report, seed: int) -> dict[str, History]:
        import torch

        from tutelage import data, evaluate, models
        from tutelage.methods.distillation.bd_kd import BDKD
        from tutelage.train import Supervised

        parts: DataSet = data.load(self.data, validation=self.validation_size, test=self.test_size, seed=seed)
        clean = data.split(parts.train, {"train": self.train_size}, seed)["train"]
        batches = data.Batches(data.noise.flip_labels(clean, self.noise, seed), self.train.batch_size, seed=seed)

        noisy_label = data.noise.flip_labels(parts.test, self.noise, seed).labels

        def network(widths: tuple[int, ...]) -> nn.Module:
            torch.manual_seed(seed)
            return models.small_cnn(num_classes=parts.num_classes, in_channels=parts.shape[0], widths=widths)

        def measure(method: Method) -> dict[str, float]:
            return evaluate.classification(*evaluate.predictions(method.predict, parts.validation))

        def note(arm: str, model: nn.Module) -> None:
            logits, label = evaluate.predictions(model, parts.test)
            report.add(arm, seed, **evaluate.classification(logits, label), parameters=models.count_parameters(model))
            report.add(arm, seed, ece_noisy=evaluate.classification(logits, noisy_label)["ece"])
            report.reliability(arm, seed, evaluate.reliability(logits, label))

        def fit(arm: str, method: Method) -> History:
            history = run.train(f"seed-{seed}/{arm.replace(', ', '-').replace(' ', '-')}", method, batches, self.train, measure)
            note(arm, method.student)
            return history

        trained = network(self.teacher_widths)
        histories = {TEACHER: fit(TEACHER, Supervised(trained)), ALONE: fit(ALONE, Supervised(network(self.student_widths)))}
        for arm, options in self.arms().items():
            teacher = network(self.teacher_widths) if options.online else trained
            method = BDKD(network(self.student_widths), teacher, **asdict(options))
            histories[arm] = fit(arm, method)
            if arm in (MUTUAL, BALANCED):
                note(f"{arm}: its teacher", teacher)
        return histories


def distil(setting: Setting, options: BDKDOptions) -> tuple[Method, Batches]:
    """Return BD-KD between copies of the user's networks: the teacher goes on learning in a copy and stays as it was."""
    import copy

    from tutelage import data
    from tutelage.methods.distillation.bd_kd import BDKD
    from tutelage.teachers import Teacher

    frozen = isinstance(setting.teacher, Teacher)
    teacher = setting.teacher if frozen else copy.deepcopy(setting.teacher).requires_grad_(options.online)
    method = BDKD(setting.student, teacher, setting.view, **asdict(options))
    return method, data.Batches(setting.data.train, setting.train.batch_size, seed=setting.seed)


def explain(report: Report, delta: float) -> None:
    """Add sentences on what cannot be told apart, and on why a frozen teacher's student may be calibrated better.

    Args:
        report: with its claims.
        delta: the weight that was used.
    """
    gap, offline = report.claims[3], report.claims[5]
    if gap.interval is None or gap.interval[0] <= 0 <= gap.interval[1]:
        report.note(f"In this regime delta = {delta:g} cannot be told from delta = 1 in calibration over these seeds.")
    if not offline.held:
        report.note(
            "Why the frozen teacher's student is better calibrated here: networks are under-confident on true labels, and a teacher "
            f"trained alone is sharper (ECE {report.mean(TEACHER, 'ece'):.3f}) than one co-trained by {BALANCED}, which its small peer "
            f"holds back ({report.mean(f'{BALANCED}: its teacher', 'ece'):.3f})."
        )


RECIPE = BDKDRecipe
OPTIONS = BDKDOptions
TRAINS_TEACHER = "online"
