"""Recipe of LeJEPA: features of real digits without labels, with and without SIGReg, and points on an X."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from tutelage.recipes.curves import mean_curves
from tutelage.recipes.recipe import PretrainSetting, Recipe, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tutelage.data import Arrays, Batches, DataSet
    from tutelage.methods.self_supervised.lejepa import LeJEPA
    from tutelage.report import Report
    from tutelage.train import History, Method, Run
    from tutelage.views import View

RANDOM, TEACHER, TEACHER_ALONE = "random init", "averaged teacher", "averaged teacher, no SIGReg"
MOMENT_WEIGHT = 0.5
"""Share of the test of moments where it is an arm: it has no factor N, so that the weight of the others would be nothing."""
CURVES = {
    "knn": ("Validation accuracy of nearest neighbours", "accuracy, percent"),
    "embedding_std": ("Standard deviation of the embeddings", "mean over dimensions"),
    "effective_rank": ("Effective rank of the features", "dimensions"),
    "rank_me": ("RankMe of the features", "dimensions"),
    "corrected": ("Corrected loss", "loss / weight^0.4"),
}


@dataclass(frozen=True)
class LeJEPAOptions:
    """Options of joint-embedding prediction with SIGReg, its views and its projector."""

    weight: float = 0.05
    """Share of SIGReg in the loss, lambda: 0.05 (paper), 0.02 with few views; the more views, the larger."""
    test: Literal["epps-pulley", "moments", "jarque-bera", "cramer-von-mises", "anderson-darling", "watson"] = "epps-pulley"
    """Univariate test on the slices; all but epps-pulley are ablations."""
    slices: int = 1024
    """Random directions per step (paper's recommendation)."""
    knots: int = 17
    """Points of the quadrature of epps-pulley (paper)."""
    reach: float = 3.0
    """Largest t of the quadrature (the authors' package; 5 in the paper's pseudo-code)."""
    line: Literal["half", "full"] = "half"
    """half: knots on [0, reach]; full: on [-reach, reach], as in the paper's pseudo-code."""
    target: Literal["live", "detached", "teacher"] = "live"
    """Where the centre of the views comes from: the live embeddings, the same without gradient, or an averaged encoder."""
    momentum: float = 0.99
    """Momentum of the averaged encoder (ours)."""
    global_views: int = 2
    """Global views of each image (paper)."""
    local_views: int = 6
    """Local views of each image (paper: 6 to 8); 0 for none."""
    local_size: int | None = None
    """Height and width of local views in pixels; three sevenths of the image's height by default (96 of 224)."""
    hidden: tuple[int, ...] = (2048, 2048)
    """Hidden layers of the projector (paper)."""
    width: int = 64
    """Dimensions of the embeddings (paper: 16 to 1024)."""
    predictor: int = 0
    """Hidden units of a predictor between embeddings and centre; 0 for none, as in the method (an ablation)."""
    online_probe: bool = False
    """Train a linear probe beside, on detached features, where there are labels."""


@dataclass(frozen=True)
class LeJEPARecipe(Recipe):
    """A small network learns features of 2,000 unlabelled digits; a linear probe judges them."""

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)

    data: str = "mnist-10k"
    """Data set."""
    train_size: int = 2000
    """Training images; their labels fit the probe only."""
    validation_size: int = 1000
    """Validation images."""
    test_size: int = 1000
    """Test images."""
    pooling: int = 2
    """Pixels per side that are averaged into one."""
    widths: tuple[int, ...] = (32, 64, 64)
    """Channels of the encoder's convolutions, averaged over the image at the end."""
    views: int = 4
    """Views of each image, all global."""
    weights: tuple[float, ...] = (0.0, 0.02, 0.05, 0.2, 1.0)
    """Shares of SIGReg to compare; 0.02, 0.05 and 0.2 are what the claims are about."""
    tests: tuple[str, ...] = ("moments", "jarque-bera", "cramer-von-mises", "anderson-darling", "watson")
    """Other univariate tests to compare with, on the first seed only, to save time."""
    points: int = 100
    """Points of the second experiment."""
    point_steps: int = 500
    """Steps of the second experiment."""
    options: LeJEPAOptions = LeJEPAOptions(weight=0.02, slices=256, global_views=4, local_views=0, hidden=(256,), width=16)
    """Options of the method; the weight is that of all arms but the comparison of weights."""
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(
            epochs=8, batch_size=256, optimizer="AdamW", learning_rate=2e-3, weight_decay=5e-4, schedule="constant", monitor="knn"
        )
    )
    """How every encoder is trained."""

    def quick(self) -> Self:
        """Return the variant on 1,000 digits of 8x8 pixels, with three weights and no other test."""
        return replace(
            self,
            data="digits",
            train_size=1000,
            validation_size=300,
            test_size=400,
            pooling=1,
            widths=(16, 32, 32),
            weights=(0.0, 0.02, 0.05),
            tests=(),
            points=60,
            point_steps=200,
            train=replace(self.train, batch_size=128),
        )

    def arms(self) -> dict[str, LeJEPAOptions]:
        """Return the options of every trained arm."""
        ours = self.options
        named = {weight_arm(weight): replace(ours, weight=weight) for weight in self.weights}
        named[TEACHER] = replace(ours, target="teacher")
        named[TEACHER_ALONE] = replace(ours, target="teacher", weight=0.0)
        tests: dict[str, Any] = {name: {"test": name, "weight": MOMENT_WEIGHT if name == "moments" else 0.05} for name in self.tests}
        return named | {name: replace(ours, **changes) for name, changes in tests.items()}

    def run(self, run: Run) -> Report:
        """Train every arm for every seed, probe it, and check the paper's sentences."""
        report = report_for(run, "LeJEPA: self-supervised learning without the heuristics (Balestriero, LeCun 2025)")
        histories: dict[str, list[History]] = {}
        for seed in run.seeds:
            for arm, history in self._one_seed(run, report, seed).items():
                histories.setdefault(arm, []).append(history)
            self._points(report, seed, picture=seed == run.seeds[0])
        for name, (title, unit) in CURVES.items():
            report.curve(title, *mean_curves(histories, name), "epoch", unit)
        self._claims(report, histories)
        report.note(
            "accuracy is that of a linear layer on layer-normalised features, trained for 100 epochs of AdamW (the paper's protocol); "
            "best_linear that of the best linear classifier on standardised features, which undoes much of a collapse. "
            "Views follow the sheet's small experiment; the learning rate is constant, for the training has 64 steps only. "
            f"The test of moments has a weight of {MOMENT_WEIGHT:g}, since it lacks the factor N; the other tests have 0.05. "
            "Arms of other tests ran with the first seed only."
        )
        return report

    def _claims(self, report: Report, histories: dict[str, list[History]]) -> None:
        def series(arm: str, metric: str) -> list[float]:
            return list(report.values[arm][metric].values())

        def smallest_gain(arm: str, versus: str) -> float:
            return min(a - b for a, b in zip(series(arm, "accuracy"), series(versus, "accuracy"), strict=True))

        nothing, spread = weight_arm(0.0), [weight_arm(w) for w in self.weights if w > 0]
        usual = [weight_arm(w) for w in (0.02, 0.05) if w in self.weights]
        for arm in usual:
            report.check(
                f"In every seed SIGReg ({arm}) beats training without it by 6 points.", [smallest_gain(arm, nothing)], at_least=6.0
            )
            report.check(f"In every seed it ({arm}) beats random weights by 5 points.", [smallest_gain(arm, RANDOM)], at_least=5.0)
        stds = [[min(s - 0.8, 1.1 - s) for s in series(arm, "embedding_std")] for arm in spread]
        report.check("With SIGReg embeddings have a standard deviation of 0.8 to 1.1: distance from either bound.", _least(stds))
        report.check(
            "Without it they collapse: how far their standard deviation is below 0.1.", [0.1 - s for s in series(nothing, "embedding_std")]
        )
        compared = [series(weight_arm(w), "accuracy") for w in (0.02, 0.05, 0.2) if w in self.weights]
        ranges = [4 - (max(each) - min(each)) for each in zip(*compared, strict=True)]
        report.check("The weight matters little from 0.02 to 0.2: how far the accuracies' range is below 4 points.", ranges)
        report.claim(
            "Without any teacher it is not worse by more than 1 point than with an averaged one.",
            usual[0],
            TEACHER,
            "accuracy",
            margin=-1.0,
        )
        report.claim(
            "A teacher in place of SIGReg does not keep this encoder from collapsing: SIGReg is 6 points better.",
            usual[0],
            TEACHER_ALONE,
            "accuracy",
            margin=6.0,
        )
        if len(spread) > 2:
            ranks = [self._rank_agreement(report, histories, spread, number) for number in range(len(series(RANDOM, "accuracy")))]
            report.check("The corrected training loss ranks the weights as the probe does, labels unseen: Spearman of its negative.", ranks)
        report.check(
            "SIGReg makes the X of the points vanish: its slices' statistic falls by a factor of 5.",
            series("X, epps-pulley", "drop"),
            at_least=5.0,
        )
        report.check("A penalty of variances leaves it: what is left of the statistic.", series("X, moments", "left"), at_least=0.8)

    def _rank_agreement(self, report: Report, histories: dict[str, list[History]], arms: list[str], number: int) -> float:
        import torch

        accuracy = torch.tensor([list(report.values[arm]["accuracy"].values())[number] for arm in arms])
        loss = torch.tensor([histories[arm][number].series("corrected")[-1] for arm in arms])
        return spearman(-loss, accuracy)

    def _one_seed(self, run: Run, report: Report, seed: int) -> dict[str, History]:
        import torch

        from tutelage import data, evaluate, models

        parts: DataSet = data.load(self.data, validation=self.validation_size, test=self.test_size, seed=seed)
        train = pooled(data.split(parts.train, {"train": self.train_size}, seed)["train"], self.pooling)
        validation, test = pooled(parts.validation, self.pooling), pooled(parts.test, self.pooling)
        batches = data.Batches(train, self.train.batch_size, seed=seed)
        watch = evaluate.Watch(train, validation, embedding=lambda method: method.embedding())
        spec = f"tutelage:cnn?grid=1&widths={','.join(map(str, self.widths))}"

        def note(arm: str, method: Method) -> None:
            found, other = (evaluate.features(method.student, part.gather()["input"]) for part in (train, test))
            label, truth = train.labels.to(found.device), test.labels.to(found.device)
            report.add(
                arm,
                seed,
                accuracy=evaluate.trained_probe(found, label, other, truth),
                best_linear=evaluate.linear_probe(found, label, other, truth),
                **{name: value for name, value in watch(method).items() if name in ("knn", "embedding_std", "effective_rank", "rank_me")},
            )

        histories: dict[str, History] = {}
        for arm, options in self.arms().items():
            if arm in self.tests and seed != run.seeds[0]:
                continue
            torch.manual_seed(seed)
            network, width = models.backbone(spec, train.shape)
            method = built(network, width, options, affine(), self.views)
            if not histories:
                note(RANDOM, method)
            name = arm.replace(", ", "-").replace(" ", "-")
            histories[arm] = run.train(f"seed-{seed}/{name}", method, batches, self.train, watch)
            note(arm, method)
        return histories

    def _points(self, report: Report, seed: int, *, picture: bool) -> None:
        from tutelage.recipes.self_supervised import points as x

        start = x.x_points(self.points, 8, seed)
        before, clouds = x.diagonal_statistic(start), {"start": start}
        for test in ("epps-pulley", "moments"):
            end = x.moved(start, test, slices=10, steps=self.point_steps, rate=0.1, seed=seed)
            after = x.diagonal_statistic(end)
            report.add(f"X, {test}", seed, drop=before / max(after, 1e-9), left=after / before)
            clouds[f"after SIGReg, {test}"] = end
        if picture:
            report.picture(
                "Points on an X",
                x.drawn(clouds),
                "The first two of 8 coordinates of whitened points on the diagonals of a square, before and after moving them by SIGReg "
                "with 10 fresh directions per step: Epps-Pulley makes them Gaussian, the test of means and variances leaves them.",
            )


def weight_arm(weight: float) -> str:
    """Return the name of the arm of a weight."""
    return f"lambda {weight:g}"


def _least(rows: list[list[float]]) -> list[float]:
    """Return the least value of each seed over the arms."""
    return [min(each) for each in zip(*rows, strict=True)]


def spearman(a: Tensor, b: Tensor) -> float:
    """Return the rank correlation of two vectors without ties in ranks that matter, from -1 to 1."""
    import torch

    ranks = [x.argsort().argsort().double() for x in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def pooled(arrays: Arrays, side: int) -> Arrays:
    """Return images whose pixels are averages over squares."""
    from torch.nn import functional

    return arrays.replace(input=functional.avg_pool2d(arrays.gather()["input"], side)) if side > 1 else arrays


def affine() -> View:
    """Return the view of the small experiment: rotation, shift, scale, brightness and noise."""
    from tutelage import views

    # 0.35 rad; a shift of a quarter of half the image.
    turned = views.random_affine(degrees=20.05, shift=0.125, scale=(0.7, 1.1))
    return views.Compose([turned, views.colour_jitter(0.3, 0, 0, 0), views.gaussian_noise(0.15)])


def built(
    network: nn.Module, width: int, options: LeJEPAOptions, view: View | None, count: int, *, shape: Any = None, classes: int = 0
) -> LeJEPA:
    """Return the method around a backbone.

    Args:
        network: the backbone.
        width: number of its features.
        options: the method's options.
        view: the one view of all global views, or `None` for global and local crops.
        count: how many views there are where `view` is given.
        shape: shape of one image, for the size of local crops.
        classes: number of classes for a probe; 0 for none.
    """
    from torch import nn

    from tutelage import models, views
    from tutelage.methods.self_supervised.lejepa import LeJEPA

    if view is not None:
        crops = views.MultiCrop(view, wide_count=count, narrow_count=0)
    else:
        small = options.local_size or max(round(shape[-2] * 3 / 7), 4)
        narrow = views.crop_and_colour(small, scale=views.LOCAL_SCALE) if options.local_views else None
        crops = views.MultiCrop(views.crop_and_colour(), narrow, wide_count=options.global_views, narrow_count=options.local_views)
    return LeJEPA(
        network,
        models.Projector(width, options.width, hidden=options.hidden),
        crops,
        models.Projector(options.width, options.width, hidden=(options.predictor,)) if options.predictor else None,
        nn.Linear(width, classes) if options.online_probe and classes else None,
        weight=options.weight,
        test=options.test,
        slices=options.slices,
        knots=options.knots,
        reach=options.reach,
        line=options.line,
        target=options.target,
        momentum=options.momentum,
    )


def pretrain(setting: PretrainSetting, options: LeJEPAOptions) -> tuple[Method, Batches]:
    """Return LeJEPA on the user's own backbone and images.

    Raises:
        OptionError: if the backbone does not take views of the sizes that the options ask for.
    """
    from tutelage import data
    from tutelage.recipes.pretrain import check_views

    images = setting.images
    count = options.global_views + options.local_views
    method = built(setting.backbone, setting.width, options, setting.view, count, shape=images.shape, classes=setting.num_classes)
    seen = method.views(images.gather(range(min(2, len(images))))["input"], None)
    check_views(setting.backbone, seen.groups(), f"Give --local-size {images.shape[-2]}, or --local-views 0.")
    size = min(setting.train.batch_size, len(images))
    return method, data.Batches(images, size, seed=setting.seed, drop_last=True)


RECIPE = LeJEPARecipe
OPTIONS = LeJEPAOptions
PRETRAIN = TrainOptions(
    epochs=100, batch_size=256, optimizer="AdamW", learning_rate=2e-3, weight_decay=5e-4, warmup=0.1, monitor="effective_rank"
)
"""How `tutelage pretrain` trains unless told otherwise: the paper's minimal recipe for convolutional networks."""
