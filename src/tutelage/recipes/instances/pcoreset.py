"""Recipe of PCoreSet: handwritten digits, upright and turned, of which a teacher only knows what they look like in print."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from tutelage.recipes.recipe import Recipe, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from tutelage.data import Arrays, DataSet
    from tutelage.methods.instances.pcoreset import PCoreSet
    from tutelage.models.dual_head import DualHead
    from tutelage.models.zero_shot import ZeroShot
    from tutelage.recipes.lessons import Guide, Learner
    from tutelage.recipes.rounds import Round
    from tutelage.report import Report
    from tutelage.train import Run

OURS, RANDOM, ENTROPY, CORESET, BADGE, BALANCED = "pcoreset", "random", "entropy", "coreset", "badge", "class-balanced"
ALONE = ", no teacher"
"""What is added to a rule's name where nothing is distilled."""
LABELLED, UNLABELLED, FEW_SHOT = f"{OURS}, taught on labelled only", f"{OURS}, taught on unlabelled only", f"{OURS}, few-shot teacher"
TEACHER = "zero-shot teacher"

ROUND = TrainOptions(epochs=1, batch_size=64, optimizer="AdamW", learning_rate=1e-3, weight_decay=0.01, schedule="linear", warmup=0.1)
"""How each round is trained: as published, with torch's default weight decay."""


@dataclass(frozen=True)
class PCoreSetOptions:
    """Options of active learning with a teacher."""

    rule: str = "pcoreset"
    """Query rule: pcoreset, random, entropy, coreset (features), badge, class-balanced."""
    temperature: float = 2.0
    """Temperature of both softmaxes in the distillation term."""
    ce_weight: float = 0.5
    """Weight of the labels."""
    kd_weight: float = 0.5
    """Weight of the teacher."""
    distil: Literal["both", "labelled", "unlabelled", "none"] = "both"
    """Which samples the teacher speaks about; with none the student learns from labels alone."""
    share: float = 0.5
    """Weight of the teacher's head in the student's answer, 0 to 1; 0.6 for ImageNet."""
    sharpness: float = 1.0
    """Divides the logits of the teacher's head in the student's answer; 0.5 for ImageNet."""


@dataclass(frozen=True)
class PCoreSetRecipe(Recipe):
    """Six rounds of 20 queries among 1,200 handwritten digits, upright and turned, under five query rules with and without a teacher."""

    data: str = "digits"
    """Data set of square grey digits; fashion-mnist with teacher=efficientnet-lite0."""
    elsewhere: str = "mnist-5k"
    """Data set of larger digits on which PCoreSet and random queries are compared once more; empty for none."""
    teacher: Literal["glyphs", "efficientnet-lite0"] = "glyphs"
    """glyphs: a small network that saw printed digits only, with printed prototypes; efficientnet-lite0: real ImageNet weights, with
    prototypes of ImageNet classes for those of Fashion-MNIST, zero-shot, and refitted to the labels of every round in the arm of the
    few-shot teacher (heavier; needs the extra pretrained). The options that go with it:
    --teacher efficientnet-lite0 --data fashion-mnist --elsewhere '' --side 28 --no-turned, or for a first look
    --quick --teacher efficientnet-lite0 --data fashion-mnist --side 28 --ablations."""
    side: int = 8
    """Side of the images that student and teacher see, in pixels, to which they are averaged down."""
    elsewhere_side: int = 14
    """The same for `elsewhere`."""
    turned: bool = True
    """Whether half of the images are turned by 90 degrees and make classes of their own."""
    pool: int = 1200
    """Samples in the pool."""
    test: int = 400
    """Test images."""
    elsewhere_test: int = 2000
    """Test images of `elsewhere`."""
    rounds: int = 6
    """Trainings; queries are asked between them."""
    queries: int | None = None
    """Queries between two trainings; as many as there are classes by default."""
    steps: int = 300
    """Optimizer steps of each round."""
    rules: tuple[str, ...] = (OURS, RANDOM, ENTROPY, CORESET, BALANCED)
    """Query rules that are compared, each with and without a teacher."""
    alone: bool = True
    """Whether every rule also runs without a teacher."""
    ablations: bool = True
    """Whether to add the BADGE-like rule, distillation on labelled or unlabelled samples only, and the few-shot teacher, whose prototypes
    are refitted to the labels of every round."""
    student_widths: tuple[int, ...] = (8, 16)
    """Channels of the student's convolutions."""
    teacher_widths: tuple[int, ...] = (16, 32)
    """Channels of the convolutions of the teacher of digits."""
    teacher_width: int = 32
    """Features of the teacher of digits."""
    teacher_steps: int = 300
    """Optimizer steps in which the teacher of digits learns print."""
    lite0_size: int = 112
    """Side that images are scaled to for teacher=efficientnet-lite0, in pixels."""
    scale: float = 100.0
    """Of the teacher's cosines."""
    options: PCoreSetOptions = PCoreSetOptions()
    """Options of the method."""
    train: TrainOptions = field(default_factory=lambda: replace(ROUND, learning_rate=5e-3))
    """How each round is trained; five times the published learning rate, which is for pretrained backbones."""

    def quick(self) -> Self:
        """Return the variant on ten upright digits with two rules, three rounds of 60 steps."""
        return replace(
            self,
            data="mnist-5k",
            elsewhere="",
            side=14,
            turned=False,
            pool=400,
            test=1000,
            rounds=3,
            steps=60,
            rules=(OURS, RANDOM),
            ablations=False,
            teacher_widths=(8, 16),
            teacher_steps=120,
        )

    def arms(self) -> dict[str, tuple[PCoreSetOptions, bool]]:
        """Return options of every arm, and whether its teacher is refitted to the labels in every round."""
        found = {rule: (replace(self.options, rule=rule), False) for rule in self.rules}
        if self.alone:
            found |= {f"{rule}{ALONE}": (replace(self.options, rule=rule, distil="none"), False) for rule in self.rules}
        if self.ablations:
            found[BADGE] = replace(self.options, rule=BADGE), False
            found[LABELLED] = replace(self.options, distil="labelled"), False
            found[UNLABELLED] = replace(self.options, distil="unlabelled"), False
            found[FEW_SHOT] = self.options, True
        return found

    def run(self, run: Run) -> Report:
        """Go through all rounds of every arm for every seed, and compare the rules."""
        from tutelage.recipes.instances.pcoreset_report import tell

        report = report_for(run, "PCoreSet: active learning with distillation from vision-language models (Kang et al. 2025)")
        histories = self._all_seeds(run, report, "")
        if self.elsewhere:
            other = replace(
                self,
                data=self.elsewhere,
                side=self.elsewhere_side,
                test=self.elsewhere_test,
                rules=(OURS, RANDOM),
                ablations=False,
                alone=False,
            )
            histories |= other._all_seeds(run, report, f", {self.elsewhere}")
        tell(report, histories, self.rules, self.elsewhere)
        return report

    def _all_seeds(self, run: Run, report: Report, where: str) -> dict[str, list[list[Round]]]:
        """Rounds of every seed by arm; `where` is added to the names of arms."""
        teacher = self._teacher(run, f"teacher{_slug(where)}")  # one for all seeds, as a pretrained one is
        histories: dict[str, list[list[Round]]] = {}
        for seed in run.seeds:
            for arm, history in self._one_seed(run, report, teacher, seed, where).items():
                histories.setdefault(arm, []).append(history)
        return histories

    def _teacher(self, run: Run, name: str = "teacher") -> ZeroShot:
        if self.teacher == "efficientnet-lite0":
            from tutelage.errors import OptionError
            from tutelage.models.pretrained import FASHION_IN_IMAGENET, efficientnet_lite0, imagenet_prototypes
            from tutelage.models.zero_shot import ZeroShot

            if self.data != "fashion-mnist" or self.turned:
                raise OptionError(
                    "teacher=efficientnet-lite0 has prototypes for Fashion-MNIST alone: add "
                    "--data fashion-mnist --elsewhere '' --side 28 --no-turned."
                )
            return ZeroShot(
                efficientnet_lite0(0, size=self.lite0_size), imagenet_prototypes(list(FASHION_IN_IMAGENET.values())), scale=self.scale
            )
        from tutelage.recipes.instances.printed import print_teacher

        return print_teacher(
            run,
            name,
            side=self.side,
            turned=self.turned,
            widths=self.teacher_widths,
            width=self.teacher_width,
            steps=self.teacher_steps,
            scale=self.scale,
        )

    def _one_seed(self, run: Run, report: Report, teacher: ZeroShot, seed: int, where: str) -> dict[str, list[Round]]:
        import torch

        from tutelage import data, evaluate, models
        from tutelage.models.dual_head import dual_head
        from tutelage.recipes.asking import Asked
        from tutelage.recipes.instances.pcoreset_report import draw_simplex
        from tutelage.recipes.lessons import Learner, guide
        from tutelage.recipes.rounds import labelling_rounds

        whole: DataSet = data.load(self.data, validation=0.02, test=self.test, seed=seed)
        pool, test = (self._part(arrays, size, seed) for arrays, size in ((whole.train, self.pool), (whole.test, self.test)))
        classes, shape = pool.num_classes, pool.shape
        count = self.queries or classes
        first = data.few_labels(pool, 1, seed=seed)[0].index
        report.add(f"{TEACHER}{where}", seed, **evaluate.classification(*evaluate.predictions(teacher, test)))

        torch.manual_seed(seed)
        spec = f"tutelage:cnn?widths={','.join(map(str, self.student_widths))}&grid=3"
        student: DualHead = dual_head(spec, num_classes=classes, input_shape=shape)
        guides: dict[bool, Guide] = {}
        done: dict[str, PCoreSet] = {}

        def measure(method: PCoreSet) -> dict[str, float]:
            return evaluate.classification(*evaluate.predictions(method.predict, test))

        histories = {}
        for arm, (options, refit) in self.arms().items():
            if options.distil != "none" and refit not in guides:
                guides[refit] = guide(teacher, pool, refit={} if refit else None, seed=seed)
            learner = Learner(student, guides.get(refit), options, self.train, steps=self.steps, seed=seed)
            # The first round has not asked yet: rules that differ in nothing else share it.
            fit = partial(_fit, run, f"seed-{seed}{_slug(where)}", _slug(arm), learner, "few-shot" if refit else options.distil, done)
            history, _, method = labelling_rounds(
                fit, pool, Asked(None, pool), start=first, count=count, rounds=self.rounds, seed=seed, rule=options.rule, measure=measure
            )
            histories[arm + where] = history
            report.add(arm + where, seed, parameters=models.count_parameters(method.student))
        if self.options.distil in done and seed == run.seeds[0] and not where:
            asked = {arm: history[0].queried for arm, history in histories.items() if arm in (OURS, RANDOM, ENTROPY)}
            draw_simplex(report, done[self.options.distil].answers(pool).probabilities, first, asked)
        return histories

    def _part(self, arrays: Arrays, size: int, seed: int) -> Arrays:
        from tutelage import data
        from tutelage.recipes.instances.printed import turn

        part = data.split(arrays, {"part": min(size, len(arrays))}, seed)["part"]
        return turn(part, seed, side=self.side, turned=self.turned)


def _fit(
    run: Run, folder: str, arm: str, learner: Learner, first: str, done: dict[str, PCoreSet], labelled: Arrays, rest: Arrays, number: int
) -> PCoreSet:
    if number > 1:
        return learner(run, f"{folder}/{arm}/round-{number}", labelled, rest)
    if first not in done:
        done[first] = learner(run, f"{folder}/first/{first}", labelled, rest)
    return done[first]


def _slug(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


RECIPE = PCoreSetRecipe
OPTIONS = PCoreSetOptions
