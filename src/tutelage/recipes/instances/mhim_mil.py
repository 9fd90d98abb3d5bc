"""Recipe of MHIM-MIL: bags with easy and hard positives, on which attention fastens on the easy ones; and real bags."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from tutelage.recipes.bags import Aggregator, aggregator, answers, attention_shares, standardised, threshold
from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import Recipe, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from tutelage.data import Arrays
    from tutelage.models.attention_mil import BagModel
    from tutelage.report import Report
    from tutelage.train import History, Method, Run

AB, GATED, MEAN, MAX, DS, TRANS = "AB-MIL", "gated AB-MIL", "mean pooling", "max pooling", "DSMIL", "TransMIL"
RANDOM, MHIM, MHIM_DS, MHIM_TRANS = "random mask only", "MHIM", "MHIM (DSMIL)", "MHIM (TransMIL)"
HAM, L_HAM, LR_HAM = "MHIM, HAM only", "MHIM, L-HAM", "MHIM, LR-HAM"
ITSELF, SIAMESE = "masking by the model itself", "MHIM, no consistency"
COPY, FIXED, FRESH = "MHIM, student as teacher", "MHIM, frozen teacher", "MHIM, teacher not initialised"
OTHERS: dict[str, Aggregator] = {MEAN: "mean", MAX: "max"}
LOW = 0.2
"""beta_l of the arms that hide the least salient instances, as on TCGA."""


@dataclass(frozen=True)
class MHIMOptions:
    """Options of masked hard instance mining."""

    high_ratio: float = 0.01
    """beta_h at the start: share of a bag's instances that the hard-instance mask hides (paper, CAMELYON16)."""
    high_randomness: float = 0.5
    """hr: they are drawn at random among beta_h / hr of the instances, the most salient; 1 hides the most salient (paper, CAMELYON16)."""
    low_ratio: float = 0.0
    """beta_l: share of the least salient instances to hide (paper, CAMELYON16 with AB-MIL)."""
    random_ratio: float = 0.5
    """beta_r: share of instances to hide at random (paper, CAMELYON16 with AB-MIL)."""
    decay: bool = True
    """Whether beta_h falls to 0 as a cosine over the training (paper)."""
    fusion: Literal["vote", "mean"] = "vote"
    """How several attention heads agree on the salient instances."""
    alpha: float = 0.1
    """Weight of the consistency of the bag's embeddings; 0 is the ablation without it (paper, CAMELYON16)."""
    tau: float = 0.1
    """Temperature of the teacher's embedding (paper)."""
    teacher: Literal["momentum", "student", "frozen"] = "momentum"
    """momentum: the student's moving average; student: the student itself; frozen: the baseline, held still."""
    momentum: float = 0.9999
    """m of the moving average (paper)."""
    momentum_schedule: Literal["constant", "cosine"] = "constant"
    """Whether m stays, or goes to 1 as a cosine over the training."""
    initialise: Literal["both", "teacher", "front", "none"] = "both"
    """What begins with the baseline's weights: the teacher and the student's front layer, one of them, or nothing."""


PRESETS: dict[tuple[str, str], MHIMOptions] = {
    ("camelyon16", "ab-mil"): MHIMOptions(),
    ("camelyon16", "trans-mil"): MHIMOptions(high_ratio=0.03, low_ratio=0.8, random_ratio=0.0, momentum_schedule="cosine"),
    ("tcga", "ab-mil"): MHIMOptions(
        high_ratio=0.02, high_randomness=1.0, random_ratio=0.7, low_ratio=0.2, alpha=0.5, momentum_schedule="cosine"
    ),
    ("tcga", "trans-mil"): MHIMOptions(high_ratio=0.02, high_randomness=1.0, random_ratio=0.6, low_ratio=0.2, alpha=0.5),
}
"""The paper's settings; gated AB-MIL and DSMIL take those of AB-MIL."""


@dataclass(frozen=True)
class MHIMRecipe(Recipe):
    """Generated bags with easy and hard positives, real bags by cross-validation, or bags of your own."""

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)

    data: str = "generated"
    """Bags: generated, or your own: a folder of features `FOLDER?labels=FILE.csv`, musk1, musk2, ucsb, python:file.py:factory."""
    model: Literal["ab-mil", "gated", "dsmil", "trans-mil"] = "ab-mil"
    """Aggregator of your own bags."""
    preset: Literal["none", "camelyon16", "tcga"] = "none"
    """The paper's ratios, widths and training for your own bags, in place of those given here: 200 epochs at most, width 512."""
    shift: float = 3.0
    """How far hard positives lie from other instances, in standard deviations."""
    weak_shift: float = 2.0
    """The same of a second, harder set, on which fewer arms are run; 0 leaves it out."""
    train_bags: int = 60
    """Generated training bags."""
    validation_bags: int = 60
    """Generated validation bags, which choose thresholds."""
    test_bags: int = 200
    """Generated test bags, of the training's law (A) and with hard positives only (B)."""
    ablations: bool = True
    """Whether other aggregators and every ablation are run on the generated bags."""
    digits: str = "mnist-10k"
    """Digits for bags of images, of which 9 is positive: clean is easy, under noise is hard; empty leaves them out."""
    real: tuple[str, ...] = ("musk1", "musk2", "ucsb")
    """Real sets of bags, cross-validated."""
    real_epochs: int = 15
    """Epochs on the real sets and the bags of digits."""
    folds: int = 5
    """Folds of a cross-validation; each seed cuts its own."""
    standardise: bool = True
    """Bring features of real bags to mean 0 and standard deviation 1, by the training bags of each fold."""
    width: int = 64
    """Units of the front layer."""
    attention: int = 32
    """Hidden units of the attention."""
    initial: Literal["xavier", "torch"] = "torch"
    """Weights at the start: Xavier-normal (paper) or PyTorch's own."""
    options: MHIMOptions = MHIMOptions(high_ratio=0.08, high_randomness=1.0, momentum=0.99)
    """Options of the method; ratios and momentum suit bags of 100 and 2,400 steps."""
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(
            epochs=40,
            batch_size=1,
            optimizer="Adam",
            optimizer_arguments={"fused": True},
            learning_rate=5e-4,
            weight_decay=1e-5,
            schedule="constant",
            monitor="auc",
            validate_every=4,
            checkpoint_every=40,
        )
    )
    """How every model is trained; a baseline as long as its student."""

    def quick(self) -> Self:
        """Return the variant with the three arms of the main claim and no other data."""
        return replace(self, weak_shift=0.0, ablations=False, digits="", real=(), train_bags=40, test_bags=100)

    def arms(self) -> dict[str, MHIMOptions]:
        """Return the options of every masking arm with AB-MIL."""
        ours = self.options
        chosen = {RANDOM: replace(ours, high_ratio=0.0), MHIM: ours}
        if not self.ablations:
            return chosen
        return chosen | {
            HAM: replace(ours, random_ratio=0.0),
            L_HAM: replace(ours, random_ratio=0.0, low_ratio=LOW),
            LR_HAM: replace(ours, low_ratio=LOW),
            ITSELF: replace(ours, teacher="student", alpha=0.0),
            SIAMESE: replace(ours, alpha=0.0),
            COPY: replace(ours, teacher="student"),
            FIXED: replace(ours, teacher="frozen"),
            FRESH: replace(ours, initialise="front"),
        }

    def preset_applied(self) -> Self:
        """Return the recipe with the paper's settings where a preset is asked for."""
        if self.preset == "none":
            return self
        kind = "trans-mil" if self.model == "trans-mil" else "ab-mil"
        patience = 30 if self.preset == "camelyon16" else 20
        train = replace(self.train, epochs=200, learning_rate=2e-4, schedule="cosine", validate_every=1, patience=patience, keep="best")
        options = PRESETS[self.preset, kind]
        return replace(self, options=options, train=train, width=512, attention=128, initial="xavier", standardise=False, real_epochs=200)

    def run(self, run: Run) -> Report:
        """Train all arms for every seed; on data of the user's, the baseline, the random mask and the method."""
        report = report_for(run, "MHIM-MIL: masked hard instance mining for bags (Tang et al. 2023)")
        if self.data != "generated":
            self._own(run, report)
            return report
        histories: dict[str, list[History]] = {}
        spreads: dict[str, list[list[float]]] = {}
        for seed in run.seeds:
            self._generated(run, report, seed, self.shift, "", histories, spreads)
            if self.weak_shift:
                few = replace(self, ablations=False)
                few._generated(run, report, seed, self.weak_shift, _weak(self.weak_shift), {}, {})
            if self.digits:
                self._digits(run, report, seed)
            for name in self.real:
                self._cross_validated(run, report, seed, _whole(name), f"_{name}", "ab-mil", (AB, MHIM))
        main = {arm: histories[arm] for arm in (AB, RANDOM, MHIM)}
        for name, title in {
            "auc_hard": "Validation AUC, hard positives only",
            "auc": "Validation AUC",
            "masked": "Share of hidden instances",
        }.items():
            report.curve(title, *mean_curves(main, name), "epoch", "AUC" if "auc" in name else "share")
        lines = {arm: [sum(v) / len(v) for v in zip(*many, strict=True)] for arm, many in spreads.items()}
        report.curve("Attention weights of a positive bag in falling order", range(1, len(lines[AB]) + 1), lines, "rank", "weight")
        self._claims(report)
        report.note(
            f"A: test bags of the training's law; B: positive bags without easy instances. Hard positives lie {self.shift:g} standard "
            "deviations off, easy ones 4. Accuracy and F1 at the threshold that validation bags choose by Youden's index. Every arm "
            f"has the same number of steps; masked arms begin with the trained {AB} as their teacher, as in the paper. Linear layers begin "
            "with PyTorch's weights, as in the experiment whose thresholds the claims keep."
        )
        if self.ablations and report.mean(FIXED, "auc_b") > report.mean(MHIM, "auc_b"):
            easy, hard = (report.mean(FIXED, f"{kind}_attention") for kind in ("easy", "hard"))
            report.note(
                "Why a frozen teacher does better on hard-only positives here: it hides the same easy instances from the first step to the "
                f"last, so that the student hardly looks at them (easy {easy:.0f}%, hard {hard:.0f}% of its attention); on bags of the "
                f"training's law it reaches an AUC of {report.mean(FIXED, 'auc_a'):.3f}, MHIM {report.mean(MHIM, 'auc_a'):.3f}."
            )
        if not all(claim.held for claim in report.claims):
            report.note(
                "Where claims do not hold: at a shift of 2 hard positives can hardly be told from other instances (every arm is close to "
                "an AUC of 0.5), and with this many positives the students agree with their teachers anyway, so that the consistency "
                "term changes little; differences of a few hundredths are within the spread of seeds."
            )
        if self.real:
            report.note(
                f"Real sets: {self.folds}-fold cross-validation, cut anew by each seed; AUC is the mean over folds, accuracy over all "
                f"bags at thresholds from an eighth of each fold's training bags; {self.real_epochs} epochs. With bags of a handful of "
                "instances (musk1: 5 on average) a mask hides much of what there is."
            )
        return report

    def _claims(self, report: Report) -> None:
        gain = _differences(report, MHIM, AB, "auc_b")
        report.claim("MHIM finds hard-only positives better than AB-MIL, by 0.10 of AUC.", MHIM, AB, "auc_b", margin=0.10)
        report.check("It does so in every seed (smallest difference).", [min(gain)], at_least=1e-9)
        report.claim("MHIM finds hard-only positives better than a random mask alone, by 0.04 of AUC.", MHIM, RANDOM, "auc_b", margin=0.04)
        report.claim("On bags of the training's law MHIM is at most 0.03 of AUC behind AB-MIL.", MHIM, AB, "auc_a", margin=-0.03)
        text = "MHIM attends to both kinds of positives, AB-MIL to one: more attention lies on the kind that gets less."
        report.claim(text, MHIM, AB, "lesser_attention", higher_is_better=True)
        if self.weak_shift:
            name = _weak(self.weak_shift)
            weak = _differences(report, MHIM + name, AB + name, "auc_b")
            report.check(
                f"At a shift of {self.weak_shift:g} MHIM is above AB-MIL on hard-only positives in every seed (smallest difference).",
                [min(weak)],
                at_least=1e-9,
            )
        if self.ablations:
            for text, arm, versus in (
                ("A momentum teacher beats masking by the model itself.", SIAMESE, ITSELF),
                ("The consistency term helps.", MHIM, SIAMESE),
                ("A momentum teacher beats a frozen one.", MHIM, FIXED),
                ("A momentum teacher beats the student as its own teacher.", MHIM, COPY),
                ("A teacher initialised by the baseline beats one that is not.", MHIM, FRESH),
                ("HAM with a random mask beats HAM alone.", MHIM, HAM),
                ("MHIM helps DSMIL.", MHIM_DS, DS),
                ("MHIM helps TransMIL.", MHIM_TRANS, TRANS),
            ):
                report.claim(f"{text[:-1]} on hard-only positives.", arm, versus, "auc_b")
        if self.digits:
            report.claim("On bags of digits MHIM finds noisy positives better than AB-MIL.", MHIM, AB, "auc_b_digits")
        for name in self.real:
            report.claim(f"MHIM beats AB-MIL on {name}, in AUC.", MHIM, AB, f"auc_{name}")

    def _network(self, kind: Aggregator, part: Arrays, seed: int) -> BagModel:
        import torch

        torch.manual_seed(seed)
        sizes = {"width": self.width, "attention": self.attention}
        return aggregator(kind, num_classes=part.num_classes, input_shape=part.shape, initial=self.initial, **sizes)

    def _generated(
        self,
        run: Run,
        report: Report,
        seed: int,
        shift: float,
        suffix: str,
        histories: dict[str, list[History]],
        spreads: dict[str, list[list[float]]],
    ) -> None:
        from tutelage.data.bag_makers import hard_easy_bags

        def bags(count: int, number: int, easy: int = 4) -> Arrays:
            return hard_easy_bags(count, shift=shift, easy=easy, seed=1000 * seed + number, name="generated bags")

        parts = {
            "train": bags(self.train_bags, 0),
            "a": bags(self.test_bags, 1),
            "b": bags(self.test_bags, 2, easy=0),
            "validation": bags(self.validation_bags, 3),
            "hard": bags(self.validation_bags, 4, easy=0),
        }
        found = self._arms(run, seed, parts, f"seed-{seed}/{'generated' + suffix.replace(', ', '-').replace(' ', '-')}", self.train)
        for arm, (method, history) in found.items():
            histories.setdefault(arm, []).append(history)
            self._tested(report, arm + suffix, seed, method, parts)
            if arm not in (MEAN, MAX):
                shares, falling = attention_shares(method.student, parts["a"])
                report.add(arm + suffix, seed, **shares)
                if arm in (AB, RANDOM, MHIM):
                    spreads.setdefault(arm, []).append(falling)

    def _digits(self, run: Run, report: Report, seed: int) -> None:
        from tutelage import data
        from tutelage.data.bag_makers import mnist_bags

        digits = data.load(self.digits, validation=0.2, test=0.4, seed=seed)
        parts = {
            "train": mnist_bags(digits.train, self.train_bags, seed=1000 * seed),
            "a": mnist_bags(digits.test, self.test_bags, seed=1000 * seed + 1),
            "b": mnist_bags(digits.test, self.test_bags, easy=0, hard=2, seed=1000 * seed + 2),
            "validation": mnist_bags(digits.validation, self.validation_bags, seed=1000 * seed + 3),
            "hard": mnist_bags(digits.validation, self.validation_bags, easy=0, hard=2, seed=1000 * seed + 4),
        }
        train = replace(self.train, epochs=self.real_epochs)
        for arm, (method, _) in replace(self, ablations=False)._arms(run, seed, parts, f"seed-{seed}/digits", train).items():
            self._tested(report, arm, seed, method, parts, "_digits")

    def _arms(self, run: Run, seed: int, parts: Mapping[str, Arrays], place: str, train: TrainOptions) -> dict[str, tuple[Method, History]]:
        """Train every arm on the train part and return it with its history; validation bags are only watched."""
        from tutelage.data import Batches
        from tutelage.evaluate.bags import bag_metrics
        from tutelage.methods.instances.mhim_mil import MHIMMIL, PlainMIL

        batches = Batches(parts["train"], train.batch_size, seed=seed)
        found: dict[str, tuple[Method, History]] = {}

        def measure(method: Method) -> dict[str, float]:
            named = {"auc": parts["validation"], "auc_hard": parts["hard"]}
            return {name: bag_metrics(*answers(method, part))["auc"] for name, part in named.items()}

        def fit(arm: str, method: Method) -> None:
            name = arm.replace(", ", "-").replace(" ", "-").replace("(", "").replace(")", "").lower()
            found[arm] = method, run.train(f"{place}/{name}", method, batches, train, measure)

        def plain(arm: str, kind: Aggregator) -> BagModel:
            model = self._network(kind, parts["train"], seed)
            fit(arm, PlainMIL(model))
            return model

        baseline = plain(AB, "ab-mil")
        for arm, options in self.arms().items():
            fit(arm, MHIMMIL(self._network("ab-mil", parts["train"], seed), baseline, **asdict(options)))
        if self.ablations:
            for arm, kind in OTHERS.items():
                plain(arm, kind)
            others: tuple[tuple[str, str, Aggregator], ...] = ((DS, MHIM_DS, "dsmil"), (TRANS, MHIM_TRANS, "trans-mil"))
            for arm, masked, kind in others:
                trained = plain(arm, kind)
                fit(masked, MHIMMIL(self._network(kind, parts["train"], seed), trained, **asdict(self.options)))
        return found

    def _tested(self, report: Report, arm: str, seed: int, method: Method, parts: Mapping[str, Arrays], suffix: str = "") -> None:
        from tutelage.evaluate.bags import bag_metrics
        from tutelage.models import count_parameters

        at = threshold(method, parts["validation"])
        for test in ("a", "b"):
            measured = bag_metrics(*answers(method, parts[test]), threshold=at)
            kept = measured if test == "a" and not suffix else {"auc": measured["auc"]}
            report.add(arm, seed, **{f"{name}_{test}{suffix}": value for name, value in kept.items()})
        if not suffix:
            report.add(arm, seed, parameters=count_parameters(method.student))

    def _cross_validated(
        self, run: Run, report: Report, seed: int, arrays: Arrays, suffix: str, kind: Aggregator, arms: tuple[str, ...]
    ) -> list[tuple[str, str, str, str, float]]:
        """Cross-validate arms, the first of them the plain model; return arm, bag, label, prediction and score of each bag."""
        import torch

        from tutelage import data
        from tutelage.evaluate.bags import bag_metrics, margin
        from tutelage.methods.instances.mhim_mil import MHIMMIL, PlainMIL

        group = "group" if "group" in arrays.columns else None
        areas: dict[str, list[float]] = {arm: [] for arm in arms}
        right: dict[str, list[float]] = {arm: [] for arm in arms}
        rows: list[tuple[str, str, str, str, float]] = []
        train = replace(self.train, epochs=self.real_epochs)
        for number, test_rows in enumerate(data.folds(arrays, self.folds, seed=seed, group=group)):
            rest = arrays.subset([row for row in range(len(arrays)) if row not in set(test_rows.tolist())])
            names = rest.index.tolist() if group is None else rest.column(group)
            held = data.folds(rest, min(8, len(set(names))), seed=seed, group=group)[0]
            kept = [row for row in range(len(rest)) if row not in set(held.tolist())]
            parts = (rest.subset(kept), rest.subset(held), arrays.subset(test_rows))
            learn, validation, test = standardised(*parts) if self.standardise else parts
            batches = data.Batches(learn, train.batch_size, seed=seed)

            def measure(method: Method, validation: Arrays = validation) -> dict[str, float]:
                return {"auc": _auc(method, validation)}

            plain: BagModel | None = None
            for arm in arms:
                model = self._network(kind, learn, seed)
                options = asdict(self.options if arm == MHIM else replace(self.options, high_ratio=0.0))
                method: Method = PlainMIL(model) if plain is None else MHIMMIL(model, plain, **options)
                place = f"seed-{seed}/{arrays.name}/fold-{number}/{arm.replace(' ', '-').lower()}"
                run.train(place, method, batches, train, measure)
                plain = model if plain is None else plain
                logits, label = answers(method, test)
                at = threshold(method, validation)
                called = logits.argmax(1) if at is None else (margin(logits) >= at).long()
                right[arm] += (called == label).double().tolist()
                if len(torch.unique(label)) == arrays.num_classes:
                    areas[arm].append(bag_metrics(logits, label)["auc"])
                score = torch.softmax(logits, 1)
                bags = test.columns.get("name", [str(int(i)) for i in test.index])
                rows += [
                    (arm, str(bags[i]), arrays.classes[int(label[i])], arrays.classes[int(called[i])], float(score[i, -1]))
                    for i in range(len(label))
                ]
        for arm in arms:
            report.add(arm, seed, **{f"accuracy{suffix}": 100 * sum(right[arm]) / len(right[arm])})
            if areas[arm]:
                report.add(arm, seed, **{f"auc{suffix}": sum(areas[arm]) / len(areas[arm])})
        return rows

    def _own(self, run: Run, report: Report) -> None:
        from tutelage import files

        recipe = self.preset_applied()
        recipe = replace(recipe, real_epochs=recipe.train.epochs)
        arrays = _whole(self.data)
        plain = {"ab-mil": AB, "gated": GATED, "dsmil": DS, "trans-mil": TRANS}[self.model]
        table = [("seed", "arm", "bag", "label", "prediction", "score")]
        for seed in run.seeds:
            rows = recipe._cross_validated(run, report, seed, arrays, "", self.model, (plain, RANDOM, MHIM))
            table += [(str(seed), *row[:4], f"{row[4]:.6g}") for row in rows]
        metric = "auc" if "auc" in report.values[MHIM] else "accuracy"
        report.claim(f"MHIM beats {plain} on '{arrays.name}', in {metric}.", MHIM, plain, metric)
        sizes = arrays.column("input").sizes
        report.note(
            f"'{arrays.name}': {len(arrays)} bags of {int(sizes.min())} to {int(sizes.max())} instances with {arrays.shape} features; "
            f"{self.folds}-fold cross-validation, cut anew by each seed. AUC is the mean over folds that hold every class, accuracy at "
            "thresholds from an eighth of each fold's training bags."
        )
        if run.directory is not None:
            text = io.StringIO()
            csv.writer(text).writerows(table)
            files.write_bytes(run.directory / "predictions.csv", text.getvalue().encode())
            report.note(
                "predictions.csv holds what each arm said of every bag while it was held out; score is the probability of the last class."
            )


def _auc(method: Method, part: Arrays) -> float:
    """Return the AUC of a part; a validation part without a bag of every class is judged by its likelihood instead."""
    import torch

    from tutelage.evaluate import nll
    from tutelage.evaluate.bags import bag_metrics

    logits, label = answers(method, part)
    return bag_metrics(logits, label)["auc"] if len(torch.unique(label)) == part.num_classes else -nll(logits, label)


def _weak(shift: float) -> str:
    return f", shift {shift:g}"


def _whole(spec: str) -> Arrays:
    """Load all bags of a specification, whatever parts it has."""
    from tutelage import data
    from tutelage.errors import DataError

    parts = data.load(spec)
    arrays = data.join([parts.train, parts.validation, parts.test])
    if not isinstance(arrays.column("input"), data.Bags):
        raise DataError(f"'{spec}' holds single samples, not bags: give a folder of features as FOLDER?labels=FILE.csv, or data.Bags.")
    return arrays


def _differences(report: Report, arm: str, versus: str, metric: str) -> list[float]:
    ours, theirs = report.values[arm][metric], report.values[versus][metric]
    return [ours[seed] - theirs[seed] for seed in ours]


RECIPE = MHIMRecipe
OPTIONS = MHIMOptions
