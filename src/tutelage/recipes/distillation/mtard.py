"""Recipe of MTARD: a small network learns digits from a clean and a robust teacher, under attack."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from tutelage.recipes.recipe import Recipe, Setting, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from torch import nn

    from tutelage.data import Batches, DataSet
    from tutelage.methods.distillation.mtard import MTARD
    from tutelage.report import Report
    from tutelage.train import History, Method, Run
    from tutelage.views.adversarial import PGD

CLEAN_TEACHER, ROBUST_TEACHER = "clean teacher", "robust teacher"
TRAINED, ROBUST_ONLY = "PGD adversarial training", "robust teacher only"
EQUAL, WEIGHTED, FULL = "MTARD, equal weights", "MTARD, NLB", "MTARD, NLB and EBB"


@dataclass(frozen=True)
class MTARDOptions:
    """Options of multi-teacher adversarial distillation."""

    robust_teacher: str | None = None
    """Specification of the adversarially trained teacher; without one, a copy of the clean teacher is first tuned on attacked inputs."""
    eps: float = 8 / 255
    """Radius of the attack's l_inf ball, in units of the input, which lies in [0, 1] (paper)."""
    step_size: float = 2 / 255
    """Step of the attack, same unit (paper)."""
    attack_steps: int = 10
    """Steps of the attack on the student (paper)."""
    attack_start: Literal["gaussian", "uniform", "none"] = "gaussian"
    """Where the attack starts: beside the input, anywhere in the ball, at the input."""
    start_scale: float = 0.001
    """Standard deviation of the gaussian start (paper)."""
    temperature_rate: float = 0.001
    """Step of the teachers' temperatures per batch, r_tau; 0 switches the entropy balance off (paper)."""
    temperature_start: float = 1.0
    """Temperature of both teachers at the start (paper)."""
    temperature_low: float = 1.0
    """Smallest temperature (paper)."""
    temperature_high: float = 10.0
    """Largest temperature (paper)."""
    weight_rate: float = 0.025
    """Share of the way that the weights go per batch, r_w; 0 keeps them equal (paper)."""
    beta: float = 1.0
    """Exponent of the relative losses (paper)."""
    variant: Literal["b-mtard", "eccv"] = "b-mtard"
    """b-mtard: the journal's method; eccv: the first release, with temperatures of 1."""
    teachers: Literal["both", "robust"] = "both"
    """Who answers for clean inputs: each teacher for its own view, or the robust one for both (ablation)."""
    divide_by_classes: bool = True
    """Average the divergences over classes too (paper, which trains for 300 epochs; short trainings do better without)."""
    log_offset: float = 1e-5
    """Added to the teachers' probabilities inside their logarithm (the authors' code)."""


@dataclass(frozen=True)
class MTARDRecipe(Recipe):
    """A small student of 3,000 digits under attacks of radius 0.2, beside adversarial training and every ablation."""

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)

    data: str = "mnist-10k"
    """Data set."""
    train_size: int = 3000
    """Training images."""
    validation: int = 1000
    """Validation images, on which the best weights are chosen."""
    test: int = 2000
    """Test images."""
    network: Literal["cnn", "mlp"] = "cnn"
    """Kind of all networks."""
    teacher_widths: tuple[int, ...] = (16, 32, 64)
    """Channels (or units) of both teachers' layers."""
    student_widths: tuple[int, ...] = (6, 12)
    """Channels (or units) of the student's layers."""
    clean_epochs: int = 10
    """Epochs of the clean teacher."""
    robust_epochs: int = 15
    """Epochs of the robust teacher."""
    growth: float = 0.5
    """Share of the baseline's PGD training over which its attack grows; met in full at once, the student stays at a constant answer."""
    test_step_size: float = 0.02
    """Step of the iterated attacks at test time, in units of the input."""
    test_steps: int = 20
    """Steps of PGD at test time; CW takes half as many again."""
    auto_attack: int = 100
    """Test images that AutoAttack attacks, for each network; 0 leaves it out."""
    options: MTARDOptions = MTARDOptions(eps=0.2, step_size=0.05, attack_steps=5, divide_by_classes=False)
    """Options of the method; divergences are not divided by the classes, which at this learning rate would take ten times the epochs."""
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(
            epochs=15, batch_size=64, learning_rate=0.05, weight_decay=2e-4, monitor="w_pgd_sat", keep="best"
        )
    )
    """How every network is trained; teachers for their own number of epochs."""

    def quick(self) -> Self:
        """Return the variant with perceptrons on digits of 8x8 pixels."""
        return replace(
            self,
            data="digits",
            train_size=1000,
            validation=297,
            test=500,
            network="mlp",
            teacher_widths=(128,),
            student_widths=(32,),
            clean_epochs=5,
            robust_epochs=5,
            auto_attack=0,
            options=replace(self.options, eps=0.15, temperature_rate=0.01),
            train=replace(self.train, epochs=5, batch_size=32),
        )

    def arms(self) -> dict[str, MTARDOptions]:
        """Return the options of every arm that learns from teachers: the method and its ablations."""
        ours = self.options
        return {
            ROBUST_ONLY: replace(ours, teachers="robust", temperature_rate=0.0, weight_rate=0.0),
            EQUAL: replace(ours, temperature_rate=0.0, weight_rate=0.0),
            WEIGHTED: replace(ours, temperature_rate=0.0),
            FULL: ours,
        }

    def run(self, run: Run) -> Report:
        """Train the teachers and all arms for every seed, attack them, and compare."""
        report = report_for(run, "MTARD: balanced multi-teacher adversarial distillation (Zhao et al. 2023)")
        histories: dict[str, list[History]] = {}
        for seed in run.seeds:
            for arm, history in self._one_seed(run, report, seed).items():
                histories.setdefault(arm, []).append(history)
        epochs = range(1, self.train.epochs + 1)
        lines = {arm: _mean_series(many, "w_pgd_sat") for arm, many in histories.items()}
        report.curve("Validation W under PGD", epochs, lines, "epoch", "W, percent")
        for quantity, unit in {"temperature": "temperature", "entropy": "entropy, nats", "weight": "weight"}.items():
            lines = {name: _mean_series(histories[FULL], f"{quantity}_{name}") for name in ("clean", "adversarial")}
            report.curve(f"{quantity.capitalize()} of the two teachers", epochs, lines, "epoch", unit)
        self._claims(report, histories[FULL])
        report.note(
            f"W is the mean of clean and robust accuracy; pgd_sat is PGD-{self.test_steps} from a random start, radius "
            f"{self.options.eps:g}. In the arm with the robust teacher only, it answers for both views, with equal weights and without "
            "temperatures. Every network keeps the epoch with the best W on the validation part, attacked as in training but from a random "
            "start (the clean teacher: with the best accuracy). The attack of the arm with PGD adversarial training grows over the first "
            f"{self.growth:.0%} of its steps: met in full at once, the small student was seen to stay at a constant answer."
        )
        accuracy = {teacher: report.mean(teacher, "clean") for teacher in (CLEAN_TEACHER, ROBUST_TEACHER)}
        if accuracy[ROBUST_TEACHER] >= accuracy[CLEAN_TEACHER]:
            report.note(
                f"Here the robust teacher is not the weaker one on clean images ({accuracy[ROBUST_TEACHER]:.1f}% against "
                f"{accuracy[CLEAN_TEACHER]:.1f}%): attacked digits act as augmentation, and no clean accuracy is lost that a clean "
                "teacher could make good."
            )
        if self.auto_attack:
            report.note(
                f"auto_attack: what AutoAttack leaves of the first {self.auto_attack} test images; clean_subset: accuracy on these."
            )
        return report

    def _claims(self, report: Report, histories: list[History]) -> None:
        report.claim("MTARD beats the robust teacher alone in W under PGD, by 0.3.", FULL, ROBUST_ONLY, "w_pgd_sat", margin=0.3)
        report.claim("MTARD beats the robust teacher alone on clean images, by 0.5.", FULL, ROBUST_ONLY, "clean", margin=0.5)
        last = [{name: values[-1] for name, values in _balances(history).items()} for history in histories]
        first = [{name: values[0] for name, values in _balances(history).items()} for history in histories]
        warmer = [row["temperature_clean"] - row["temperature_adversarial"] for row in last]
        report.check("The clean teacher ends warmer than the robust one.", warmer, at_least=1e-6)
        closer = [_gap(a) - _gap(b) for a, b in zip(first, last, strict=True)]
        report.check("The teachers' entropies end closer to each other than they began, as |H_adv / H_nat - 1|.", closer, at_least=1e-6)
        report.claim("Balancing the losses beats equal weights in W under PGD.", WEIGHTED, EQUAL, "w_pgd_sat")
        report.claim("Balancing the entropies too beats balancing the losses alone in W under PGD.", FULL, WEIGHTED, "w_pgd_sat")
        report.claim("MTARD beats PGD adversarial training in W under PGD.", FULL, TRAINED, "w_pgd_sat")

    def _one_seed(self, run: Run, report: Report, seed: int) -> dict[str, History]:
        from tutelage import data
        from tutelage.evaluate.robustness import auto_attack, robustness, weighted_robust_accuracy
        from tutelage.methods.distillation.mtard import AdversarialTraining
        from tutelage.models import count_parameters
        from tutelage.train import Supervised

        parts: DataSet = data.load(self.data, validation=self.validation, test=self.test, seed=seed)
        batches = data.Batches(data.split(parts.train, {"train": self.train_size}, seed)["train"], self.train.batch_size, seed=seed)
        ours, subset = self.options, parts.test.subset(range(self.auto_attack))
        attacked = partial(
            robustness, eps=ours.eps, step_size=self.test_step_size, steps=self.test_steps, cw_steps=3 * self.test_steps // 2
        )

        def measure(method: Method) -> dict[str, float]:
            return _validation_w(method, parts, ours)

        def fit(arm: str, method: Method, train: TrainOptions) -> History:
            history = run.train(f"seed-{seed}/{arm.replace(', ', '-').replace(' ', '-').lower()}", method, batches, train, measure)
            found = attacked(method.student, parts.test)
            if self.auto_attack:
                found["clean_subset"] = robustness(method.student, subset, attacks=())["clean"]
                found["auto_attack"] = auto_attack(method.student, subset, eps=ours.eps, seed=seed)
                found["w_auto_attack"] = weighted_robust_accuracy(found["clean_subset"], found["auto_attack"])
            report.add(arm, seed, **found, parameters=count_parameters(method.student))
            return history

        clean, robust = (self._network(self.teacher_widths, parts, seed) for _ in range(2))
        fit(CLEAN_TEACHER, Supervised(clean), replace(self.train, epochs=self.clean_epochs, monitor="clean"))
        fit(
            ROBUST_TEACHER,
            AdversarialTraining(robust, adversary=_adversary(ours)),
            replace(self.train, epochs=self.robust_epochs),
        )

        def student() -> nn.Module:
            return self._network(self.student_widths, parts, seed)

        histories = {TRAINED: fit(TRAINED, AdversarialTraining(student(), adversary=_adversary(ours), growth=self.growth), self.train)}
        for arm, options in self.arms().items():
            histories[arm] = fit(arm, _method(student(), clean, robust, options, self.train), self.train)
        return histories

    def _network(self, widths: tuple[int, ...], parts: DataSet, seed: int) -> nn.Module:
        import torch

        from tutelage import models

        torch.manual_seed(seed)
        if self.network == "mlp":
            return models.mlp(num_classes=parts.num_classes, input_shape=parts.train.shape, widths=widths)
        network = models.small_cnn(num_classes=parts.num_classes, in_channels=parts.train.shape[0], widths=widths, grid=7)
        for parameter in network.parameters():  # channels last, with which an attack takes two thirds of the time on a CPU
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return network


def _mean_series(histories: list[History], name: str) -> list[float]:
    return [sum(values) / len(values) for values in zip(*(history.series(name) for history in histories), strict=True)]


def _balances(history: History) -> dict[str, list[float]]:
    names = [f"{quantity}_{name}" for quantity in ("temperature", "entropy") for name in ("clean", "adversarial")]
    return {name: history.series(name) for name in names}


def _gap(row: dict[str, float]) -> float:
    return abs(row["entropy_adversarial"] / row["entropy_clean"] - 1)


def _validation_w(method: Method, parts: DataSet, options: MTARDOptions) -> dict[str, float]:
    """Return clean accuracy, robust accuracy and W on the validation part, attacked as in training but from anywhere in the ball."""
    from tutelage.evaluate.robustness import robustness

    return robustness(
        method.student,
        parts.validation,
        attacks=("pgd_sat",),
        eps=options.eps,
        step_size=options.step_size,
        steps=options.attack_steps,
    )


def _adversary(options: MTARDOptions) -> PGD:
    from tutelage.views.adversarial import PGD

    return PGD(
        eps=options.eps,
        step_size=options.step_size,
        steps=options.attack_steps,
        start=options.attack_start,
        start_scale=options.start_scale,
    )


def _method(student: nn.Module, clean: nn.Module, robust: nn.Module, options: MTARDOptions, train: TrainOptions, view: Any = None) -> MTARD:
    """Return the method; both rates fall by steps where the learning rate does, as the paper has it."""
    from tutelage import schedules
    from tutelage.methods.distillation.mtard import MTARD

    chosen = asdict(options) | {"robust_teacher": robust}
    if train.schedule == "step":
        for name in ("temperature_rate", "weight_rate"):
            chosen[name] = schedules.step(chosen[name], at=train.milestones, factor=train.gamma)
    return MTARD(student, clean, view, **chosen)


def distil(setting: Setting, options: MTARDOptions) -> tuple[Method, Batches]:
    """Return MTARD with the user's teacher as the clean one.

    The robust teacher is the option's; without one, a copy of the clean teacher is first trained on attacked inputs as the
    student will be, at a tenth of its learning rate, and the epoch with the best W on the validation part is kept.

    Args:
        setting: the user's teacher, student and data; inputs must lie in [0, 1].
        options: options of the method.

    Raises:
        DataError: if inputs are text or leave [0, 1].
        OptionError: if there is no robust teacher and the given one has nothing to train.
    """
    from tutelage import data, models
    from tutelage.errors import DataError

    sample = setting.data.train.gather(range(min(256, len(setting.data.train))))["input"]
    if isinstance(sample, list) or not (float(sample.min()) >= 0 and float(sample.max()) <= 1):
        raise DataError(f"'{setting.data.name}' does not have inputs in [0, 1], where an attack could move them. MTARD takes images.")
    if options.divide_by_classes:
        setting.run.say(
            f"MTARD divides its losses by the {setting.data.num_classes} classes, as published for 300 epochs at a learning rate of 0.1. "
            "In a shorter training the student may stay behind: --no-divide-by-classes, or raise the learning rate."
        )
    batches = data.Batches(setting.data.train, setting.train.batch_size, seed=setting.seed)
    if options.robust_teacher is None:
        robust = _tuned(setting, options, batches)
    else:
        classes, shape = setting.data.num_classes, setting.data.train.shape
        robust = models.build(options.robust_teacher, num_classes=classes, input_shape=shape, role="teacher")
    return _method(setting.student, setting.teacher, robust, options, setting.train, setting.view), batches


def _tuned(setting: Setting, options: MTARDOptions, batches: Batches) -> nn.Module:
    import copy

    from tutelage.errors import OptionError
    from tutelage.methods.distillation.mtard import AdversarialTraining

    if not any(p.is_floating_point() for p in setting.teacher.parameters()):
        raise OptionError("The teacher has no parameters to tune a robust one from. Name a robust teacher with --robust-teacher SPEC.")
    setting.run.say("No robust teacher was given: a copy of the teacher is first trained on attacked inputs.")
    method = AdversarialTraining(copy.deepcopy(setting.teacher).requires_grad_(True), setting.view, adversary=_adversary(options))

    train = replace(
        setting.train, learning_rate=0.1 * setting.train.learning_rate, keep="best", monitor="w_pgd_sat", minimise=False, patience=None
    )
    setting.run.train("robust-teacher", method, batches, train, lambda trained: _validation_w(trained, setting.data, options))
    return method.student


RECIPE = MTARDRecipe
OPTIONS = MTARDOptions
