"""One seed of LLKD's recipe on one data set: the labeller, the pool with its pseudo-labels, and every arm."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor, nn

from tutelage import data, evaluate, models, store
from tutelage.data.words import Vocabulary, tokenised
from tutelage.methods.language.llkd import LLKD
from tutelage.models.word_bag import WordBag
from tutelage.recipes.language.llkd import FULL, RANDOM, TEACHER, TRUE, LLKDOptions, LLKDRecipe
from tutelage.schedules import Schedule
from tutelage.selection import UseCounter
from tutelage.store.pseudo import from_answers, read_pseudo_labels, with_pseudo_labels
from tutelage.teachers.memory import Memory

if TYPE_CHECKING:
    from tutelage.data import Arrays
    from tutelage.report import Report
    from tutelage.train import History, Run


def arm_of(arm: str, name: str) -> str:
    """Return what the report calls an arm on a data set."""
    return f"{arm} ({name})"


@dataclass(frozen=True)
class Lab:
    """A pool with pseudo-labels and what students are measured on, all as ids of words.

    Args:
        recipe: the recipe.
        run: the run.
        name: data set.
        seed: seed of everything.
        vocabulary: of the pool.
        pool: columns `input`, `label`, `confidence`, `true_label`.
        validation: true labels that choose epochs.
        test: true labels of reported numbers.
        teacher_metrics: of the labeller on the test part.
    """

    recipe: LLKDRecipe
    run: Run
    name: str
    seed: int
    vocabulary: Vocabulary
    pool: Arrays
    validation: Arrays
    test: Arrays
    teacher_metrics: dict[str, float]

    @classmethod
    def of(cls, recipe: LLKDRecipe, run: Run, name: str, seed: int) -> Lab:
        """Load a data set, make the labeller and let it label the pool once.

        Args:
            recipe: the recipe.
            run: the run; with a directory, the pseudo-labels are kept there in a label store.
            name: data set.
            seed: seed of the cut and the labeller.
        """
        parts = data.load(name, validation=recipe.validation, seed=seed)
        few, pool = data.few_labels(parts.train, recipe.per_class, seed=seed)
        if recipe.pool_size is not None and recipe.pool_size < len(pool):
            pool = data.split(pool, {"train": recipe.pool_size}, seed)["train"]
        teacher = _teacher(recipe, few, parts.num_classes, seed)
        run.say(f"The labeller labels {len(pool):,} texts of {name}, seed {seed}")
        if run.directory is None:
            found = from_answers(Memory.of(teacher, pool).read("train", pool.index))
        else:
            place = run.directory / f"seed-{seed}" / name / "labels"
            quiet = Console(quiet=True)
            kept = store.label(
                teacher, pool, place, keep="top-k:1", dtype="fp32", resume=run.resume, console=quiet, teacher_name=recipe.teacher
            )
            found = read_pseudo_labels(kept, pool)
        # The pool has no true labels: they only tell how often the labeller is right.
        labelled = with_pseudo_labels(pool, found)
        vocabulary = Vocabulary.of(pool.column("input"), recipe.vocabulary)
        pool, validation, test = (tokenised(part, vocabulary, recipe.length) for part in (labelled, parts.validation, parts.test))
        return cls(recipe, run, name, seed, vocabulary, pool, validation, test, _metrics(*evaluate.predictions(teacher, parts.test)))

    def train_all(self, report: Report) -> dict[str, History]:
        """Train every arm, put what it reached on the test part into the report, and return what it measured on the way.

        Args:
            report: where numbers go.
        """
        right = (self.pool.labels == self.pool.column("true_label")).float()
        report.add(arm_of(TEACHER, self.name), self.seed, **self.teacher_metrics, right_used=100 * float(right.mean()))
        histories: dict[str, History] = {}
        arms = self.recipe.arms()
        for arm, options in arms.items():
            share = self._shares(histories[FULL]) if arm == RANDOM else options.keep_share
            histories[arm] = self._train(report, arm, options, self.pool, share)
        truth = self.pool.replace(label=self.pool.column("true_label"), confidence=torch.ones(len(self.pool)))
        histories[TRUE] = self._train(report, TRUE, arms[RANDOM], truth, 1.0)
        return histories

    def _train(self, report: Report, arm: str, options: LLKDOptions, pool: Arrays, share: float | Schedule) -> History:
        recipe = self.recipe
        torch.manual_seed(self.seed)
        student = WordBag(num_classes=pool.num_classes, words=self.vocabulary, dim=recipe.dim, hidden=recipe.hidden, length=recipe.length)
        counter = UseCounter(int(pool.index.max()) + 1)
        method = LLKD(student, pool.num_classes, **asdict(options) | {"keep_share": share}, counter=counter)
        right = torch.zeros(len(counter.uses), dtype=torch.float64)
        right[pool.index] = (pool.labels == pool.column("true_label")).double()

        def measure(trained: Any) -> dict[str, float]:
            found = {"macro_f1": evaluate.macro_f1(*evaluate.predictions(trained.predict, self.validation))}
            uses = counter.uses.cpu().double()
            return found | counter.summary() | {"right_used": 100 * float((uses * right).sum() / uses.sum().clamp_min(1))}

        size = recipe.train.batch_size
        batches = data.Batches(pool, size, seed=self.seed, draws=recipe.epoch_batches * size)
        name = f"seed-{self.seed}/{self.name}/{'-'.join(re.findall(r'[A-Za-z]+', arm))}"
        history = self.run.train(name, method, batches, recipe.train, measure)
        # The method holds its best epoch again; what was used is what was used to the end.
        last = {key: history.epochs[-1][key] for key in ("uses", "used_share", "distinct_share", "right_used")}
        found = _metrics(*evaluate.predictions(method.predict, self.test))
        report.add(arm_of(arm, self.name), self.seed, **found, **last, parameters=models.count_parameters(student))
        return history

    def _shares(self, history: History) -> Schedule:
        """The share of each epoch's samples that LLKD used, so that a random choice uses as many in every epoch."""
        shares = [used / self.recipe.train.batch_size for used in history.series("used")]
        return lambda progress: shares[min(int(progress * len(shares)), len(shares) - 1)]


def _metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    return evaluate.classification(logits, labels) | {"macro_f1": evaluate.macro_f1(logits, labels)}


def _teacher(recipe: LLKDRecipe, few: Arrays, num_classes: int, seed: int) -> nn.Module:
    if recipe.teacher == "tfidf":
        from tutelage.models.tfidf import tfidf_teacher

        return tfidf_teacher(few.column("input"), few.labels.tolist(), num_classes, seed=seed)
    if recipe.teacher == "smollm2":
        from tutelage.models.label_prompt import LabelPrompt
        from tutelage.models.label_scorer import LabelScorer
        from tutelage.models.language.loading import smollm2

        shown = [int((few.labels == c).nonzero()[0, 0]) for c in range(num_classes)]
        prompt = LabelPrompt(few.classes, [(few.column("input")[row], c) for c, row in enumerate(shown)], most_words=50)
        return LabelScorer(*smollm2(), prompt, content_free="N/A")
    from tutelage.models.pretrained import minilm
    from tutelage.models.prototype_labeller import prototype_teacher

    return prototype_teacher(minilm(max_length=128), few.column("input"), few.labels)
