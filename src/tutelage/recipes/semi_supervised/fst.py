"""Recipe of FST: scenes of digits, from a clean source to a textured target and from few labels; or pictures of your own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from tutelage.errors import OptionError
from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import Recipe, SemiSetting, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from torch import nn

    from tutelage.data import Arrays, Batches
    from tutelage.methods.semi_supervised.fst import FST
    from tutelage.recipes.semi_supervised.fst_data import Domains
    from tutelage.report import Report
    from tutelage.train import History, Method, Run
    from tutelage.views.pairs import JointView

SOURCE, ST, LONG, STEP, DEEP, WIDE = "source only", "ST", "ST, 4 times the steps", "FST, K=1", "FST-D", "FST-W"
FEW, FEW_ST, FEW_DEEP = "few labels only", "few labels, ST", "few labels, FST-D"


@dataclass(frozen=True)
class FSTOptions:
    """Options of learning from future."""

    future: Literal["none", "step", "deep", "wide"] = "deep"
    """Where the teacher goes before it labels: nowhere (self-training), one virtual step ahead, several in a row, several side by side."""
    virtual_steps: int = 3
    """Virtual steps of deep, virtual students of wide (paper)."""
    momentum: float = 0.999
    """Momentum of the teacher (paper, for adaptation; 0.99 from few labels)."""
    restore_optimizer: bool = False
    """Put the optimizer's state back after virtual steps (the authors' code does not)."""
    threshold: float = 0.968
    """Probability from which a pixel is confident, for adaptation (paper)."""
    drop: float = 0.2
    """Share of the most uncertain pixels that is dropped, for few labels (paper)."""
    mix: Literal["classmix", "cutmix", "cutout", "none"] = "classmix"
    """What is pasted into the student's view of unlabelled images."""
    mix_probability: float = 1.0
    """Share of batches that are mixed, for few labels (the authors' code: 0.5)."""
    teacher_norm: Literal["batch", "running"] = "running"
    """Whose statistics normalise in the teacher: the batch's (the authors' adaptation code) or running ones."""
    ignore_rows: tuple[int, int] = (0, 0)
    """Rows at the top and bottom of unlabelled images whose pseudo-labels have no weight (15 and 120 on Cityscapes in the paper)."""


@dataclass(frozen=True)
class FSTRecipe(Recipe):
    """A small U-Net learns scenes of digits on textures from clean ones with labels, and from thirty labelled ones; or your pictures."""

    default_seeds = (0, 1, 2)

    data: str = "scenes"
    """Pictures with labels of pixels: scenes, or your own: gta5:DIR, synthia:DIR, cityscapes:DIR, voc:DIR, python:file.py:factory."""
    target: str = ""
    """Your unlabelled pictures of another domain, such as cityscapes:DIR; empty to learn from the few labels of data."""
    crop: int = 512
    """Side of the windows that are cut out of your pictures in training, in pixels; 0 for whole pictures."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Least and largest factor by which your pictures are scaled before (the authors' code: 0.5 to 2 from few labels)."""
    network: str = ""
    """Your network for your pictures, python:file.py:factory; empty for the U-Net."""
    skip_bad: bool = False
    """Leave out those of your pictures that cannot be used."""
    labelled: int = 600
    """Labelled clean scenes (the source)."""
    unlabelled: int = 600
    """Unlabelled textured scenes (the target)."""
    few: int = 30
    """Labelled textured scenes (or pictures of data, where it has no list) of the arms with few labels; 0 leaves these arms out."""
    validation: int = 100
    """Textured scenes (or unlabelled pictures whose labels are known) of the curves."""
    test: int = 200
    """Textured test scenes, of digits that no training scene holds (or pictures, where they have no test part)."""
    size: int = 48
    """Height and width of a scene, in pixels."""
    classes: int = 5
    """Digits that occur."""
    inverted: float = 0.2
    """Share of textured scenes whose contrast is inverted."""
    roughness: float = 0.5
    """Factor of the textures' own contrast."""
    widths: tuple[int, ...] = (8, 16, 32)
    """Channels of the U-Net's levels."""
    batch: int = 8
    """Labelled and unlabelled scenes of a batch, each."""
    long: int = 4
    """Factor of the steps of the arm of equal compute."""
    every_arm: bool = True
    """Also train K=1, FST-W and the arm of equal compute."""
    options: FSTOptions = FSTOptions(momentum=0.99, threshold=0.9)
    """Options of the method; the teacher's memory is short because the training is."""
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(
            epochs=6, batch_size=8, optimizer="AdamW", learning_rate=3e-3, weight_decay=0.01, schedule="linear", warmup=0.05
        )
    )
    """How every network is trained; epochs are those of the unlabelled scenes."""

    def quick(self) -> Self:
        """Return the variant with small scenes of two digits."""
        return replace(
            self,
            labelled=160,
            unlabelled=160,
            few=0,
            validation=40,
            test=100,
            size=24,
            classes=2,
            widths=(8, 16),
            every_arm=False,
            options=replace(self.options, momentum=0.95),
            train=replace(self.train, epochs=3),
        )

    def arms(self) -> dict[str, FSTOptions]:
        """Return the options of every arm that adapts from the source."""
        ours = self.options
        arms = {ST: replace(ours, future="none"), DEEP: replace(ours, future="deep")}
        if self.every_arm:
            arms |= {LONG: arms[ST], STEP: replace(ours, future="step"), WIDE: replace(ours, future="wide")}
        return arms

    def run(self, run: Run) -> Report:
        """Train all arms for every seed and compare intersection over union on the target."""
        from tutelage.recipes.semi_supervised import fst_data

        pictures = None if self.data == "scenes" else fst_data.Pictures.read(self)
        if pictures is None and self.target:
            raise OptionError(
                f"--target is '{self.target}', but the source is generated: give labelled pictures with --data gta5:DIR, say."
            )
        report = report_for(run, "FST: learning from future (Du et al. 2022)")
        histories: dict[str, list[History]] = {}
        for seed in run.seeds:
            domains = fst_data.scenes(self, seed) if pictures is None else pictures.cut(self, seed)
            for arm, history in self._one_seed(run, report, seed, domains).items():
                histories.setdefault(arm, []).append(history)
        short = {arm: many for arm, many in histories.items() if arm != LONG}
        for name, (title, unit) in {
            "pseudo_label_accuracy": ("Pixels that the teacher labels rightly when the student learns from them", "percent"),
            "miou": ("Validation intersection over union", "mIoU, percent"),
        }.items():
            epochs, lines = mean_curves(short, name)
            if lines:
                report.curve(title, epochs, lines, "epoch", unit)
        self._claims(report, histories)
        what = "textured test scenes" if pictures is None else f"{len(domains.test):,} test pictures"
        report.note(
            f"miou is that of the student, teacher_miou that of its moving average, both on {what} after the last step; "
            "nothing was chosen on them."
        )
        if domains.few is not None:
            kind = "textured scenes" if pictures is None else "pictures"
            report.note(f"Arms with few labels learn from {len(domains.few):,} labelled and {len(domains.unlabelled):,} unlabelled {kind}.")
        if DEEP in histories and pictures is None and report.mean(SOURCE, "miou") > report.mean(ST, "miou"):
            report.note(
                "Where claims do not hold: seeds differ by ten points of mIoU and more, because a small network on these scenes now and "
                "then loses a class for good; at this length self-training itself is still below the source alone, and what FST moves "
                "forward is a teacher that is not yet right. On the way to equal compute, four times the real steps help more than three "
                "virtual ones."
            )
        return report

    def _claims(self, report: Report, histories: dict[str, list[History]]) -> None:
        if DEEP in histories:
            text = "FST-D beats ordinary self-training of equally many real steps, by 1 point of mIoU."
            report.claim(text, DEEP, ST, "miou", margin=1.0)
            gains = [report.values[DEEP]["miou"][seed] - report.values[ST]["miou"][seed] for seed in report.seeds]
            report.check("It does so on at least two thirds of the seeds (share).", [float(gain > 0) for gain in gains], at_least=2 / 3)
            pairs = list(zip(histories[DEEP], histories[ST], strict=True))
            if all(history.series("pseudo_label_accuracy") for pair in pairs for history in pair):
                halves = [_first_half(deep) - _first_half(plain) for deep, plain in pairs]
                report.check("Over the first half its teacher labels more pixels rightly (points).", halves)
            report.claim("Self-training beats the source alone.", ST, SOURCE, "miou")
        if LONG in histories:
            report.claim("FST-D is not below ordinary self-training of equal compute.", DEEP, LONG, "miou")
            report.claim("FST-D beats one virtual step.", DEEP, STEP, "miou")
            report.claim("Deep beats wide.", DEEP, WIDE, "miou")
        if FEW_DEEP in histories:
            report.claim("From few labels too, FST-D beats ordinary self-training.", FEW_DEEP, FEW_ST, "miou")

    def _one_seed(self, run: Run, report: Report, seed: int, domains: Domains) -> dict[str, History]:
        from tutelage import evaluate, models
        from tutelage.data import Batches
        from tutelage.models.memory import channels_last, overrun
        from tutelage.recipes.semi_supervised import fst_data
        from tutelage.train import Supervised
        from tutelage.views.pairs import joint_crop

        unlabelled, test, validation = domains.unlabelled, domains.test, domains.validation
        own = self.data != "scenes"
        view = joint_crop(self.crop or None, scale=self.scale) if own else None

        def score(network: nn.Module, arrays: Arrays) -> dict[str, float]:
            return evaluate.segmentation(network, arrays, test.num_classes, batch_size=self.batch if own else 64)

        def measure(method: Method) -> dict[str, float]:
            assert validation is not None
            return score(method.student, validation)

        def fit(arm: str, method: Method, batches: Batches, train: TrainOptions = self.train) -> History:
            name = f"seed-{seed}/{arm.replace(', ', '-').replace(' ', '-').lower()}"
            history = run.train(name, method, batches, train, measure if validation is not None else None)
            found = score(method.student, test)
            if hasattr(method, "teacher"):
                found["teacher_miou"] = score(method.get_submodule("teacher"), test)["miou"]
            report.add(arm, seed, **found, parameters=models.count_parameters(method.student))
            return history

        def network() -> nn.Module:
            made = fst_data.network(self, test, seed)
            if overrun(made) is None:
                channels_last(made)
            return made

        def alone(arm: str, labelled: Arrays) -> History:
            # For as many steps: their epoch is as long as that of the unlabelled ones.
            method = Supervised(network()) if view is None else fst_data.Seen(network(), view)
            return fit(arm, method, Batches(_stretched(labelled, len(unlabelled)), self.batch, seed=seed))

        def taught(options: FSTOptions, labelled: Arrays, task: Literal["adaptation", "semi"]) -> tuple[FST, Batches]:
            method = _method(network(), options, test.num_classes, task, view)
            return method, streams(labelled, unlabelled, self.batch, seed=seed, virtual=options.virtual_steps * (options.future == "wide"))

        histories: dict[str, History] = {}
        if domains.source is not None:
            histories[SOURCE] = alone(SOURCE, domains.source)
            for arm, options in self.arms().items():
                train = replace(self.train, epochs=self.long * self.train.epochs, validate_every=self.long) if arm == LONG else self.train
                histories[arm] = fit(arm, *taught(options, domains.source, "adaptation"), train)
        if domains.few is not None:
            histories[FEW] = alone(FEW, domains.few)
            for arm, future in ((FEW_ST, "none"), (FEW_DEEP, "deep")):
                histories[arm] = fit(arm, *taught(replace(self.options, future=future), domains.few, "semi"))  # type: ignore[arg-type]
        return histories


def _method(
    student: nn.Module, options: FSTOptions, num_classes: int, task: Literal["adaptation", "semi"], view: JointView | None = None
) -> FST:
    from tutelage import views
    from tutelage.methods.semi_supervised.fst import FST

    jitter = views.Sometimes(views.colour_jitter(0.2, 0.2, 0.2, 0.2), 0.8)
    blur = views.Sometimes(views.gaussian_blur((0.15, 1.15), kernel=5), 0.5)
    return FST(student, view, views.Compose([jitter, blur]), num_classes=num_classes, task=task, **asdict(options))


def streams(labelled: Arrays, unlabelled: Arrays, batch: int, *, seed: int, virtual: int = 0, ratio: float = 1.0) -> Batches:
    """Return unlabelled batches with labelled ones beside them, and, for `future="wide"`, such a pair for each virtual student.

    Args:
        labelled: samples with labels.
        unlabelled: samples whose labels, if any, are only watched.
        batch: labelled samples of a batch.
        seed: seed of all orders.
        virtual: number of virtual students.
        ratio: unlabelled samples of a batch for each labelled one.
    """
    from tutelage.data import Batches

    def pair(seed: int, companions: dict[str, Batches]) -> Batches:
        few = Batches(labelled, min(batch, len(labelled)), seed=seed, drop_last=True)
        return Batches(unlabelled, round(batch * ratio), seed=seed, drop_last=True, companions={"labelled": few, **companions})

    return pair(seed, {f"virtual_{number}": pair(seed + 7919 * (number + 1), {}) for number in range(virtual)})


def _stretched(arrays: Arrays, length: int) -> Arrays:
    """Repeat samples until there are as many as given, so that an epoch has as many steps."""
    import torch

    return arrays.subset(torch.arange(length) % len(arrays))


def _first_half(history: History) -> float:
    values = history.series("pseudo_label_accuracy")
    half = values[: max(1, len(values) // 2)]
    return sum(half) / len(half)


def semi(setting: SemiSetting, options: FSTOptions) -> tuple[Method, Batches]:
    """Return FST for whole images: the future teacher's most certain labels teach the student, who sees them augmented."""
    from tutelage.methods.semi_supervised.fst import FST

    chosen = asdict(options) | {"mix": "none"}
    method = FST(setting.student, None, setting.view, num_classes=setting.labelled.num_classes, task="semi", **chosen)
    wide = options.virtual_steps * (options.future == "wide")
    return method, streams(setting.labelled, setting.unlabelled, setting.train.batch_size, seed=setting.seed, virtual=wide)


RECIPE = FSTRecipe
OPTIONS = FSTOptions
SEMI = FSTOptions(momentum=0.99)
