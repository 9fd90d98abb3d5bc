"""Recipe of SeFAR: digits in motion whose class is the order of two moves, five labelled clips of each and many without labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import Recipe, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from tutelage.data import Arrays, Batches
    from tutelage.methods.semi_supervised.sefar import SeFAR
    from tutelage.report import Report
    from tutelage.train import History, Run

SUPERVISED, FIXMATCH, NO_ETA, SHUFFLED, FULL = "supervised only", "FixMatch", "SeFAR, no eta", "SeFAR, full shuffle", "SeFAR"
CURVES = {
    "accuracy": ("Validation accuracy of the student", "accuracy, percent"),
    "pseudo_label_accuracy": ("Pseudo-labels that are right", "share, percent"),
    "weight": ("Mean weight of pseudo-labels", "weight"),
}


@dataclass(frozen=True)
class SeFAROptions:
    """Options of semi-supervised learning on temporal elements."""

    warmup_epochs: int = 5
    """Epochs of supervised learning, at whose end the teacher becomes a copy of the student."""
    momentum: float = 0.9999
    """Share of the teacher that stays in each step."""
    count: int = 10
    """Passes of the teacher with dropout."""
    dropout: bool = True
    """Whether the teacher's dropout is on; otherwise it answers once and is never in doubt."""
    perturbation: Literal["reverse", "reverse-all", "shuffle", "none"] = "reverse"
    """Order of frames in strong views: fine elements reversed, all reversed, all shuffled, or as they are."""
    channel_drop: float = 0.2
    """Probability of blanking a channel of a strong view."""
    weighting: Literal["adaptive", "none", "threshold"] = "adaptive"
    """adaptive: from the teacher's confidence and spread (eta); none: all count; threshold: the confident ones."""
    threshold: float = 0.95
    """Least mean probability, for weighting=threshold."""
    gamma_unlabelled: float = 2.0
    """Weight of the loss with hard pseudo-labels."""
    gamma_mixed: float = 2.0
    """Weight of the loss on mixed clips."""
    mix_alpha: float = 10.0
    """Alpha of the symmetric Beta distribution of the mixture."""
    mix_output: Literal["logits", "softmax"] = "logits"
    """What of the student is compared with mixed distributions."""
    eval_draws: int = 1
    """Random draws of frames that an answer averages; 0 for the frames in the middle of the bins."""


@dataclass(frozen=True)
class SeFARRecipe(Recipe):
    """Twelve orders of two moves, learned from five labelled clips of each."""

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)

    moves: tuple[str, ...] = ("up", "down", "left", "right")
    """Moves, every ordered pair of which is a class."""
    per_class: int = 5
    """Labelled clips of each class."""
    unlabelled: int = 600
    """Clips without labels."""
    validation: int = 300
    """Validation clips."""
    test: int = 600
    """Test clips, of digits by other hands."""
    ratio: int = 3
    """Unlabelled clips in a batch for each labelled one."""
    width: int = 64
    """Features of a frame and of an element."""
    options: SeFAROptions = SeFAROptions(momentum=0.99)
    """Options of the method; the momentum is 0.99 because steps are few."""
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(
            epochs=30,
            batch_size=8,
            optimizer="AdamW",
            learning_rate=1e-3,
            weight_decay=1e-3,
            schedule="step",
            milestones=(25 / 30, 28 / 30),
            gamma=0.1,
            validate_every=2,
        )
    )
    """How every network is trained; the batch size is that of labelled clips, an epoch one pass over the unlabelled ones."""

    def quick(self) -> Self:
        """Return the variant with the six orders of three moves, a longer warm-up and fewer epochs."""
        options = replace(self.options, warmup_epochs=8, momentum=0.97)
        train = replace(self.train, epochs=20)
        return replace(self, moves=self.moves[:3], unlabelled=480, validation=60, test=240, options=options, train=train)

    def arms(self) -> dict[str, dict[str, Any]]:
        """Return what each arm is built with: the method, its ablations and its baselines."""
        ours = asdict(self.options)
        return {
            SUPERVISED: ours | {"gamma_unlabelled": 0.0, "gamma_mixed": 0.0},
            FIXMATCH: ours
            | {"weighting": "threshold", "threshold": 0.95, "perturbation": "none", "momentum": 0.0, "dropout": False}
            | {"gamma_unlabelled": 1.0, "gamma_mixed": 0.0, "ramp": 1.0},
            NO_ETA: ours | {"weighting": "none"},
            SHUFFLED: ours | {"perturbation": "shuffle"},
            FULL: ours,
        }

    def run(self, run: Run) -> Report:
        """Train all arms for every seed and compare students, and teachers beside them."""
        report = report_for(run, "SeFAR: semi-supervised fine-grained action recognition with temporal perturbation (Huang et al. 2025)")
        histories: dict[str, list[History]] = {}
        for seed in run.seeds:
            for arm, history in self._one_seed(run, report, seed).items():
                histories.setdefault(arm, []).append(history)
        for name, (title, unit) in CURVES.items():
            report.curve(title, *mean_curves(histories, name), "epoch", unit)
        report.claim("SeFAR beats learning from the labels alone, by 5 points.", FULL, SUPERVISED, "accuracy", margin=5.0)
        report.claim("SeFAR is at least as accurate as FixMatch.", FULL, FIXMATCH, "accuracy")
        report.claim("Weighing pseudo-labels by eta is at least as good as believing all.", FULL, NO_ETA, "accuracy")
        report.claim("Reversing sparse pairs is at least as good as shuffling every element.", FULL, SHUFFLED, "accuracy")
        self._picture(report)
        report.note(
            "teacher_accuracy is that of the moving average (of FixMatch: the student itself). An epoch is a pass over the unlabelled "
            "clips. No clip is mirrored: that would change its class. FixMatch has weight 1, no ramp, no mixing, labels without dropout."
        )
        if report.mean(FIXMATCH, "accuracy") > report.mean(FULL, "accuracy"):
            report.note(
                "Where claims do not hold: confident pseudo-labels are right here (FixMatch reaches "
                f"{report.mean(FIXMATCH, 'accuracy'):.0f} percent of the test clips), so that a threshold without a ramp gains more in "
                "these few epochs than soft weights that rise to the end; learning from the labels alone leaves little room above it in "
                "some seeds."
            )
        return report

    def _picture(self, report: Report) -> None:
        """Show one clip, and the elements that the student sees of it."""
        import torch

        from tutelage.data.clips import moving_digits
        from tutelage.report import figures
        from tutelage.views import Elements, perturb

        clips = moving_digits(1, seed=1, moves=self.moves)
        sampler, frames = Elements(), clips.column("input")
        seen = sampler(frames, torch.Generator().manual_seed(0))
        strong = perturb(seen, self.options.perturbation, context=sampler.context, generator=torch.Generator().manual_seed(0))
        rows = {f"every second frame of a clip ({clips.classes[int(clips.labels[0])]})": frames[0, ::2].float() / 255}
        names = [f"{'context' if i == sampler.context else 'fine'} element, bins {place}" for i, place in enumerate(sampler.places)]
        rows |= {name: element[0] for name, element in zip(names, strong, strict=True)}
        report.picture("What the student sees of a clip", figures.filmstrip(rows), "One clip, and the elements of a strong view of it.")

    def parts(self, seed: int) -> dict[str, Arrays]:
        """Return the clips of a seed: labelled, unlabelled, validation and test.

        Args:
            seed: seed of the clips.
        """
        from tutelage.data.clips import moving_digits

        classes = len(self.moves) * (len(self.moves) - 1)
        return {
            "labelled": moving_digits(self.per_class * classes, seed=4 * seed, moves=self.moves),
            "unlabelled": moving_digits(self.unlabelled, seed=4 * seed + 1, moves=self.moves),
            "validation": moving_digits(self.validation, seed=4 * seed + 2, moves=self.moves),
            "test": moving_digits(self.test, seed=4 * seed + 3, moves=self.moves, part="test"),
        }

    def _one_seed(self, run: Run, report: Report, seed: int) -> dict[str, History]:
        import torch

        from tutelage import data, evaluate, models
        from tutelage.methods.semi_supervised.sefar import SeFAR
        from tutelage.views import random_affine, random_crop

        parts = self.parts(seed)
        labelled = data.Batches(parts["labelled"], self.train.batch_size, seed=seed)
        batches: Batches = data.Batches(
            parts["unlabelled"], self.ratio * self.train.batch_size, seed=seed, drop_last=True, companions={"labelled": labelled}
        )

        def build(options: dict[str, Any]) -> SeFAR:
            torch.manual_seed(seed)
            student = models.VideoCNN(num_classes=parts["test"].num_classes, input_shape=parts["test"].shape, width=self.width)
            weak, strong = random_crop(2), random_affine(degrees=0.0, shift=0.08, scale=0.15)
            return SeFAR(student, weak, weak, strong, epochs=self.train.epochs, **options)

        def measure(method: Any) -> dict[str, float]:
            return evaluate.classification(*evaluate.predictions(method.predict, parts["validation"]))

        histories: dict[str, History] = {}
        for arm, options in self.arms().items():
            method = build(options)
            name = f"seed-{seed}/{arm.replace(', ', '-').replace(' ', '-')}"
            histories[arm] = run.train(name, method, batches, self.train, measure)
            found = evaluate.classification(*evaluate.predictions(method.predict, parts["test"]))
            report.add(arm, seed, **found, parameters=models.count_parameters(method.student))
            teacher = evaluate.classification(*evaluate.predictions(method.predict_teacher, parts["test"]))
            report.add(arm, seed, teacher_accuracy=teacher["accuracy"])
        return histories


RECIPE = SeFARRecipe
OPTIONS = SeFAROptions
