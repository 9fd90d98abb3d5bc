"""Recipe of LLKD: news and posts whose labels come from an imperfect labeller, of which a small student uses the part that pays.

The full size has both data sets with their whole pools (9,900 and 4,800 texts), five seeds and nine students each. `--teacher minilm`
adds a few minutes a seed, in which the encoder reads the pools; `--teacher smollm2`, a prompted language model as in the paper, about two
seconds for each text of the pools and the test parts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from tutelage.recipes.recipe import Recipe, Setting, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from tutelage.data import Batches
    from tutelage.report import Report
    from tutelage.train import Method, Run

ALL, RANDOM, CONFIDENT, UNSURE = "all pseudo-labels", "random, as many", "teacher confidence only", "student entropy only"
OPPOSITE, UNWEIGHTED, COMMON, FULL = "opposite (teacher unsure)", "LLKD, no weights", "LLKD, one bar for all classes", "LLKD"
TEACHER, TRUE = "teacher", "true labels"


@dataclass(frozen=True)
class LLKDOptions:
    """Options of learning from selected pseudo-labels."""

    teacher_criterion: Literal["high", "low", "off"] = "high"
    """Keep where the labeller is sure (high), where it is not (low), or wherever (off)."""
    student_criterion: Literal["high", "low", "off"] = "high"
    """Keep where the student is uncertain (high), where it is sure (low), or wherever (off)."""
    weighting: Literal["product", "sum", "confidence", "uncertainty", "none"] = "product"
    """How kept samples are weighed: by both signals, by one of them, or alike (ours)."""
    per_class: bool = True
    """Scale both thresholds by class."""
    momentum: float = 0.9
    """Share of the thresholds' moving averages that stays in each step (ours; 0.999 for long runs)."""
    normalised: bool = False
    """Divide entropies by log C; this changes logged values alone."""
    scoring: Literal["eval", "train"] = "eval"
    """Take the student's entropy from a pass in eval mode, or re-use its training pass."""
    keep_share: float = 1.0
    """Share of what passed that is kept at random."""


@dataclass(frozen=True)
class LLKDRecipe(Recipe):
    """A labeller fitted on a few texts of each class labels a pool once; students learn from all, some, or the right part of it."""

    data: tuple[str, ...] = ("20newsgroups", "reuters-r8")
    """Data sets of texts."""
    per_class: int = 15
    """Labelled texts of each class from which the labeller is made; they are not in the pool."""
    validation: float = 0.1
    """Share of the training part whose true labels choose the best epoch, of every arm alike."""
    pool_size: int | None = None
    """Most texts of the pool; by default all that are left, 9,900 and 4,800."""
    teacher: Literal["tfidf", "minilm", "smollm2"] = "tfidf"
    """The labeller: TF-IDF and logistic regression, or class means of MiniLM's embeddings, both calibrated; or SmolLM2, prompted."""
    vocabulary: int = 20_000
    """Words that the student knows."""
    length: int = 128
    """Words of a text that the student reads."""
    dim: int = 64
    """Length of the student's word vectors."""
    hidden: int = 64
    """Units of the student's hidden layer."""
    epoch_batches: int = 60
    """Batches of an epoch, drawn from the pool with replacement: every arm on every data set is shown as many."""
    options: LLKDOptions = LLKDOptions()
    """Options of the method."""
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(
            epochs=30,
            batch_size=64,
            optimizer="Adam",
            learning_rate=3e-3,
            optimizer_arguments={"fused": True},
            schedule="constant",
            monitor="macro_f1",
            keep="best",
            checkpoint_every=1000,
        )
    )
    """How every student is trained; the learning rate is, of 0.001, 0.003 and 0.01, the one best for all pseudo-labels on validation."""

    def quick(self) -> Self:
        """Return the variant on 1,500 stories of R8."""
        return replace(self, data=("reuters-r8",), pool_size=1500, vocabulary=4000, epoch_batches=20, train=replace(self.train, epochs=14))

    def arms(self) -> dict[str, LLKDOptions]:
        """Return the options of every arm that learns from pseudo-labels, the random one (whose share is LLKD's) last."""
        ours = self.options
        everything = replace(ours, teacher_criterion="off", student_criterion="off", weighting="none")
        return {
            FULL: ours,
            ALL: everything,
            CONFIDENT: replace(ours, student_criterion="off", weighting="none"),
            UNSURE: replace(ours, teacher_criterion="off", weighting="none"),
            OPPOSITE: replace(ours, teacher_criterion="low", weighting="none"),
            UNWEIGHTED: replace(ours, weighting="none"),
            COMMON: replace(ours, per_class=False),
            RANDOM: everything,
        }

    def run(self, run: Run) -> Report:
        """Label the pools, train all arms for every seed and compare."""
        from tutelage.recipes.language import llkd_report
        from tutelage.recipes.language.llkd_lab import Lab

        report = report_for(run, "LLKD: learning with less from unlabelled data (Li et al. 2025)")
        for name in self.data:
            histories = [Lab.of(self, run, name, seed).train_all(report) for seed in run.seeds]
            llkd_report.curves(report, name, histories)
        for name in self.data:
            llkd_report.claims(report, name)
        llkd_report.notes(report, self)
        return report


def distil(setting: Setting, options: LLKDOptions) -> tuple[Method, Batches]:
    """Return LLKD of the user's own student from what the labeller said once about each training text (or picture).

    A stored labeller is read, any other is asked about the whole training part first. Samples for which a stored chat model named no
    class are left out; the true labels are only watched.
    """
    from tutelage.data import Batches
    from tutelage.methods.language.llkd import LLKD
    from tutelage.selection import UseCounter
    from tutelage.store.pseudo import AsClassifier, from_answers, read_pseudo_labels, with_pseudo_labels
    from tutelage.teachers import Stored
    from tutelage.teachers.memory import Memory

    pool = setting.data.train
    teacher = setting.teacher
    if isinstance(teacher, Stored) and isinstance(teacher.store, AsClassifier):
        found = read_pseudo_labels(teacher.store.store, pool)
    elif isinstance(teacher, Stored):
        found = from_answers(teacher.store.read("train", pool.index))
    else:
        found = from_answers(Memory.of(teacher, pool).read("train", pool.index))
    if found.malformed:
        setting.run.say(f"[yellow]{found.malformed} of {len(pool)} replies name no class and are left out")
    labelled = with_pseudo_labels(pool, found)
    method = LLKD(setting.student, setting.data.num_classes, **asdict(options), counter=UseCounter(int(pool.index.max()) + 1))
    return method, Batches(labelled, setting.train.batch_size, seed=setting.seed)


RECIPE = LLKDRecipe
OPTIONS = LLKDOptions
STORED = ("logits", "top-k", "text")
