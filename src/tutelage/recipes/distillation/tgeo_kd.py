"""Recipe of TGeo-KD: noisy digits, an under-trained teacher, and a ratio per sample learned on a few clean ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from tutelage.errors import OptionError
from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import Recipe, Setting, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tutelage.data import Arrays, Batches, DataSet
    from tutelage.methods.distillation.tgeo_kd import TGeoKD
    from tutelage.report import Report
    from tutelage.teachers import Teacher
    from tutelage.train import History, Method, Run

TEACHER, LABELS, ANNEALED, FULL = "teacher", "labels alone", "annealed ratio", "TGeo-KD"
NOISY = ", noisy only"
INTRA, NO_EDGE, SHORT = "TGeo-KD, intra only", "TGeo-KD, no S-T edge", "TGeo-KD, short virtual step"


@dataclass(frozen=True)
class TGeoKDOptions:
    """Options of distillation with a learned ratio per sample."""

    temperature: float = 4.0
    """Temperature of both softmaxes in the soft term."""
    ratio: float | None = None
    """Share of the soft term for every sample, in [0, 1]; None learns it per sample."""
    edges: Literal["sq", "dist", "dist_only"] = "sq"
    """sq: squared differences per class; dist: lengths beside the vertices; dist_only: lengths alone, for many classes."""
    intra: bool = True
    """Use the triangle of student, teacher and label."""
    inter: bool = True
    """Use the triangle of student, class mean and label."""
    student_teacher_edge: bool = True
    """Use the edge between student and teacher."""
    hidden: tuple[int, ...] = (32, 16)
    """Widths of the ratio network's hidden layers."""
    ratio_learning_rate: float = 1e-3
    """Learning rate of the ratio network's Adam (ours)."""
    ratio_weight_decay: float = 0.0
    """Weight decay of the ratio network's Adam (ours)."""
    inner_learning_rate: float | None = None
    """Length of the virtual step of the student; None takes its learning rate of the moment."""
    outer_every: int = 1
    """Steps of the student between steps of the ratio network."""
    first_order: bool = False
    """Take the held-out gradient before the virtual step, without a graph of gradients."""


@dataclass(frozen=True)
class TGeoKDRecipe(Recipe):
    """A student learns from 1,500 images with wrong labels and noise among them, and from a teacher that errs."""

    data: str = "mnist-10k"
    """Data set."""
    train_size: int = 1500
    """Training images, before noise."""
    held_out: int = 300
    """Clean images on which ratios are learned; arms that learn no ratio train on them too."""
    teacher_size: int = 3000
    """Other clean images, the teacher's."""
    validation: int = 1200
    """Images in the validation part."""
    test: int = 4000
    """Images in the test part."""
    flipped: float = 0.2
    """Share of training labels that are replaced by another class."""
    outliers: float = 0.1
    """Share of training images that are replaced by Gaussian noise."""
    teacher: str = "tutelage:small-cnn?widths=16,32"
    """The teacher's network."""
    student: str = "tutelage:small-cnn?widths=10,20&batch_norm=true"
    """The student's network."""
    fixed: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Fixed ratios to compare with."""
    annealed: tuple[float, float] = (0.9, 0.1)
    """Ratio at the start and at the end of the annealed baseline."""
    options: TGeoKDOptions = TGeoKDOptions(inner_learning_rate=0.5)
    """Options of the method; its virtual step is as long as momentum makes a step, 0.05 / (1 - 0.9), chosen on the validation part."""
    train: TrainOptions = field(default_factory=lambda: TrainOptions(epochs=25, learning_rate=0.05, momentum=0.9, batch_size=64))
    """How every student is trained."""
    teacher_train: TrainOptions = field(default_factory=lambda: TrainOptions(epochs=8, learning_rate=0.05, momentum=0.9, batch_size=64))
    """How the teacher is trained: too short, so that it errs (about 93 percent)."""

    def quick(self) -> Self:
        """Return the variant on 8x8 digits, with a faster ratio network for its few steps."""
        return replace(
            self,
            data="digits",
            train_size=600,
            held_out=120,
            teacher_size=300,
            validation=200,
            test=500,
            teacher="tutelage:mlp?widths=32",
            student="tutelage:small-cnn?widths=8,16&batch_norm=true&grid=2",
            options=replace(self.options, ratio_learning_rate=0.01),
            train=replace(self.train, epochs=min(self.train.epochs, 15)),
            teacher_train=replace(self.teacher_train, epochs=20, learning_rate=0.1),
        )

    def learned(self) -> dict[str, TGeoKDOptions]:
        """Return the options of every arm that learns its ratios: the paper's ablation, each adding to the one before, and ours."""
        ours = self.options
        return {
            NO_EDGE: replace(ours, student_teacher_edge=False, inter=False),
            INTRA: replace(ours, inter=False),
            FULL: ours,
            SHORT: replace(ours, inner_learning_rate=None),
        }

    def run(self, run: Run) -> Report:
        """Train all arms for every seed, and compare accuracy and what the ratios follow."""
        if self.options.ratio is not None:
            raise OptionError(
                f"options.ratio is {self.options.ratio}, but this recipe learns it; fixed ratios are arms of their own: set fixed."
            )
        report = report_for(run, "TGeo-KD: less or more from teacher (Hu et al. 2024)")
        histories: dict[str, list[History]] = {}
        for seed in run.seeds:
            for arm, history in self._one_seed(run, report, seed).items():
                histories.setdefault(arm, []).append(history)
        self._curves(report, histories)
        self._claims(report)
        report.note(
            "How the paper solves its bilevel problem and what form its edges have is not published: one unrolled step and squared "
            "differences are ours. Arms without learned ratios train on the held-out images too, so that all see the same data, but for "
            "those named 'noisy only'."
        )
        report.note(
            f"'{SHORT}' looks ahead by the student's learning rate alone. Seen so closely, the teacher's soft term, which lowers the "
            "held-out loss soonest, earns larger ratios. A longer look asks whether the label can be believed: clean samples then get "
            "the smallest ratio although the teacher is mostly right on them too, and the ratio falls where the teacher is right."
        )
        report.note(
            "ratio_rank is the rank correlation, over training images that are digits, of a sample's ratio with whether the teacher "
            "names the true class; ratio_rank_all is over all training images."
        )
        return report

    def _curves(self, report: Report, histories: dict[str, list[History]]) -> None:
        axis, lines = mean_curves(histories, "accuracy")
        report.curve("Validation accuracy", axis, lines, "epoch", "accuracy, percent")
        shares: dict[str, list[float]] = {}
        for what, name in (("noise images", "ratio_outliers"), ("digits", "ratio_others")):
            axis, lines = mean_curves({arm: histories[arm] for arm in (FULL, NO_EDGE)}, name)
            shares |= {f"{arm}: {what}": line for arm, line in lines.items()}
        report.curve("Learned ratio of training images", axis, shares, "epoch", "mean ratio")

    def _claims(self, report: Report) -> None:
        fixed = sorted((fixed_arm(ratio) for ratio in self.fixed), key=lambda arm: report.mean(arm, "accuracy"))
        best, worst = fixed[-1], fixed[0]
        report.claim(f"TGeo-KD is at most 0.2 points below the best fixed ratio ({best}).", FULL, best, "accuracy", margin=-0.2)
        report.claim(f"TGeo-KD is at least 1 point above the worst fixed ratio ({worst}).", FULL, worst, "accuracy", margin=1.0)
        ours = report.values[FULL]
        gap = [ours["ratio_clean"][seed] - ours["ratio_outliers"][seed] for seed in report.seeds]
        report.check("Noise images get a smaller ratio than clean samples, by 0.05.", gap, at_least=0.05)
        rank = [ours["ratio_rank"][seed] for seed in report.seeds]
        report.check("The ratio rises with whether the teacher is right (rank correlation).", rank)
        doubt = [ours["ratio_flipped"][seed] - ours["ratio_clean"][seed] for seed in report.seeds]
        report.check("Mislabelled digits get a larger ratio than clean samples, by 0.05 (ours).", doubt, at_least=0.05)
        same = max((fixed_arm(ratio, NOISY) for ratio in self.fixed), key=lambda arm: report.mean(arm, "accuracy"))
        text = f"Where nobody trains on the held-out images, TGeo-KD is at most 0.2 points below the best fixed ratio ({same})."
        report.claim(text, FULL, same, "accuracy", margin=-0.2)
        report.claim("TGeo-KD classifies better than an annealed ratio.", FULL, ANNEALED, "accuracy")
        report.claim("TGeo-KD classifies better than labels alone.", FULL, LABELS, "accuracy")
        report.claim("The edge between student and teacher helps.", INTRA, NO_EDGE, "accuracy")
        report.claim("The inter-sample triangle helps.", FULL, INTRA, "accuracy")

    def _one_seed(self, run: Run, report: Report, seed: int) -> dict[str, History]:
        import torch

        from tutelage import data, evaluate, models, schedules
        from tutelage.methods.distillation.tgeo_kd import TGeoKD
        from tutelage.teachers import Frozen
        from tutelage.train import Supervised

        parts: DataSet = data.load(self.data, validation=self.validation, test=self.test, seed=seed)
        sizes = {"train": self.train_size, "held_out": self.held_out, "teacher": self.teacher_size}
        pool = data.split(parts.train, sizes, seed)
        noisy, _ = data.noise.noise_images(data.noise.flip_labels(pool["train"], self.flipped, seed), self.outliers, seed)

        def network(spec: str, role: Literal["student", "teacher"]) -> nn.Module:
            torch.manual_seed(seed)
            return models.build(spec, num_classes=parts.num_classes, input_shape=parts.shape, role=role)

        def measure(method: Method) -> dict[str, float]:
            return evaluate.classification(*evaluate.predictions(method.predict, parts.validation))

        def fit(arm: str, method: Method, batches: Batches, train: TrainOptions = self.train) -> History:
            history = run.train(f"seed-{seed}/{arm.replace(', ', '-').replace(' ', '-')}", method, batches, train, measure)
            logits, label = evaluate.predictions(method.predict, parts.test)
            report.add(arm, seed, **evaluate.classification(logits, label), parameters=models.count_parameters(method.student))
            report.reliability(arm, seed, evaluate.reliability(logits, label))
            return history

        master = Supervised(network(self.teacher, "teacher"))
        fit(TEACHER, master, data.Batches(pool["teacher"], self.teacher_train.batch_size, seed=seed), self.teacher_train)
        teacher = Frozen(master.student)
        means = class_mean_table(teacher, noisy)

        size = self.train.batch_size
        everything = data.Batches(joined(noisy, pool["held_out"]), size, seed=seed)
        bilevel = data.Batches(noisy, size, seed=seed, companions={"held_out": data.Batches(pool["held_out"], size, seed=seed)})

        def baseline(ratio: Any) -> TGeoKD:
            return TGeoKD(network(self.student, "student"), teacher, means, temperature=self.options.temperature, ratio=ratio)

        histories = {LABELS: fit(LABELS, Supervised(network(self.student, "student")), everything)}
        for ratio in self.fixed:
            for where, batches in (("", everything), (NOISY, data.Batches(noisy, size, seed=seed))):
                arm = fixed_arm(ratio, where)
                histories[arm] = fit(arm, baseline(ratio), batches)
        histories[ANNEALED] = fit(ANNEALED, baseline(schedules.linear(*self.annealed)), everything)
        for arm, options in self.learned().items():
            method = TGeoKD(network(self.student, "student"), teacher, means, **asdict(options))
            histories[arm] = fit(arm, method, bilevel)
            report.add(arm, seed, **ratio_groups(method, noisy))
        return histories


def fixed_arm(ratio: float, where: str = "") -> str:
    """Return the name of the arm with a fixed ratio.

    Args:
        ratio: the ratio.
        where: `NOISY` for the arm that does not train on the held-out images.
    """
    return f"fixed ratio {ratio:g}" + where


def joined(first: Arrays, second: Arrays) -> Arrays:
    """Return the samples of both, inputs and labels only."""
    import torch

    from tutelage.data import Arrays

    columns = {name: torch.cat([first.column(name), second.column(name)]) for name in ("input", "label")}
    return Arrays(columns, first.classes, first.name, first.device)


def class_mean_table(teacher: Teacher, arrays: Arrays) -> Tensor:
    """Return the teacher's mean prediction over the samples of each label, [C, C]."""
    from tutelage import evaluate
    from tutelage.targets.class_means import class_means

    logits, labels = evaluate.predictions(teacher, arrays)
    return class_means(logits.softmax(dim=1), labels, arrays.num_classes)


def ratio_groups(method: TGeoKD, arrays: Arrays) -> dict[str, float]:
    """Return the mean learned ratio of clean, mislabelled and noise samples, and how it follows whether the teacher is right.

    Args:
        method: trained.
        arrays: training samples with the columns `label`, `clean_label` and `is_outlier`.

    Returns:
        Means by group, and rank correlations with "the teacher names the true class".
    """
    import torch

    from tutelage import evaluate

    place = method.class_means.device
    student, label = evaluate.predictions(method.predict, arrays)
    teacher, _ = evaluate.predictions(method.teacher, arrays)
    with torch.no_grad():
        ratios = method.ratios(student.to(place), teacher.to(place), label.to(place)).cpu()
    truth, outlier = arrays.column("clean_label").cpu(), arrays.column("is_outlier").cpu()
    right = teacher.argmax(dim=1) == truth
    groups = {
        "clean": ~outlier & (label == truth),
        "flipped": ~outlier & (label != truth),
        "outliers": outlier,
        "teacher_right": ~outlier & right,
        "teacher_wrong": ~outlier & ~right,
    }
    found = {f"ratio_{name}": float(ratios[chosen].mean()) for name, chosen in groups.items()}
    return found | {
        "ratio_rank": rank_correlation(ratios[~outlier], right[~outlier]),
        "ratio_rank_all": rank_correlation(ratios, right),
    }


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Return Spearman's rank correlation of two vectors, equal values sharing their mean rank; 0 where one is constant.

    Args:
        first: `[N]`.
        second: `[N]`.
    """
    import torch

    def ranks(values: Tensor) -> Tensor:
        _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
        centred: Tensor = (count.cumsum(0) - (count - 1) / 2.0)[place].double()
        return centred - centred.mean()

    a, b = ranks(first), ranks(second)
    norm = float(torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b))
    return float(a @ b) / norm if norm else 0.0


def distil(setting: Setting, options: TGeoKDOptions) -> tuple[Method, Batches]:
    """Return TGeo-KD from the user's teacher into the user's student; a tenth of the training samples is held out for the ratios."""
    from tutelage import data
    from tutelage.methods.distillation.tgeo_kd import TGeoKD
    from tutelage.teachers import Frozen, Teacher

    teacher = setting.teacher if isinstance(setting.teacher, Teacher) else Frozen(setting.teacher)
    arrays, size, seed = setting.data.train, setting.train.batch_size, setting.seed
    companions = {}
    if options.ratio is None:
        parts = data.split(arrays, {"train": 0.9, "held_out": 0.1}, seed)
        arrays, companions = parts["train"], {"held_out": data.Batches(parts["held_out"], size, seed=seed)}
    method = TGeoKD(setting.student, teacher, class_mean_table(teacher, arrays), setting.view, **asdict(options))
    return method, data.Batches(arrays, size, seed=seed, companions=companions)


RECIPE = TGeoKDRecipe
OPTIONS = TGeoKDOptions
