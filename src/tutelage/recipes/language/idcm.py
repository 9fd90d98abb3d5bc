"""Recipe of IDCM: newsgroup posts whose first words are queries, and later passages of them planted into documents of many passages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from tutelage.recipes.recipe import Recipe, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from tutelage.report import Report
    from tutelage.train import Run

Loss = Literal["lambda", "mse", "kl", "ce", "labels"]
ALL, OURS, RANDOM, FIRST, WORDS, LABELS = "all passages", "IDCM", "random", "first", "query words", "document labels"
LOSSES: dict[str, Loss] = {OURS: "lambda", "MSE": "mse", "cross-entropy": "ce", LABELS: "labels"}
"""Students that are compared, by the loss that trains them. KL is left out: its gradient is that of the cross-entropy."""
ALONE, START = "student alone", "first 512 tokens"


STEP = TrainOptions(
    optimizer="Adam",
    schedule="ReduceLROnPlateau",
    schedule_arguments={"factor": 0.25, "patience": 15},
    patience=30,
    keep="best",
    clip=1.0,
)
"""What all steps share, as published: Adam, a quarter of the learning rate after 15 stale validations, the end after 30."""


def at(arm: str, k: int) -> str:
    """Return the name of an arm at k passages."""
    return f"{arm}, k = {k}"


@dataclass(frozen=True)
class IDCMOptions:
    """Options of the cascade's student."""

    k: int = 4
    """Passages of a document that the teacher reads; can be changed without training."""
    loss: Literal["lambda", "mse", "kl", "ce", "labels"] = "lambda"
    """How the student learns: LambdaLoss on the teacher's ranking, scores by MSE, KL or soft cross-entropy, or document labels."""
    weight: float = 1.0
    """Weight of the loss."""
    temperature: float = 1.0
    """Of the softmaxes of loss=kl and ce."""
    sigma: float = 1.0
    """Slope of LambdaLoss's sigmoid."""


@dataclass(frozen=True)
class MarcoFiles:
    """Files of MS MARCO's form, plain or gzipped."""

    passages: str = ""
    """Triples of single passages: query, positive, negative, separated by tabs."""
    documents: str = ""
    """Triples of documents."""
    validation: str = ""
    """Triples of documents that decide which weights are kept."""
    candidates: str = ""
    """Query id, document id, query, document, separated by tabs."""
    qrels: str = ""
    """Judgements of the candidates."""


@dataclass(frozen=True)
class IDCMRecipe(Recipe):
    """A small cross-encoder reads all, or the k best, of about 16 passages of each of 20 documents for a query.

    All sizes are ours. A seed at the default sizes takes about ten minutes of one thread; time grows in proportion to
    `passage_pairs`, `document_pairs` and `queries`, and with the teacher's `layers` and square of `width`.
    """

    default_seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)

    data: Literal["newsgroups", "marco", "synthetic"] = "newsgroups"
    """newsgroups: 20 Newsgroups; marco: the `files`; synthetic: made-up tokens and a teacher that counts the query's."""
    files: MarcoFiles = MarcoFiles()
    """Files of data=marco."""
    read: int | None = None
    """Most lines of each file of triples."""
    teacher: str = "small"
    """small: a transformer trained from nothing; minilm, or the name or folder of a pretrained encoder, such as distilbert-base-uncased."""
    head: Literal["kernels", "cls"] = "kernels"
    """How the small teacher scores: kernels on contextual tokens, or its CLS vector (slower to learn)."""
    width: int = 64
    """Width of the small teacher."""
    layers: int = 2
    """Layers of the small teacher."""
    words: int = 20_000
    """Words that the small teacher knows; others share numbers by their hash."""
    student_width: int = 64
    """Outputs of the student's convolution (128 in the paper's small variant)."""
    student_projection: int | None = None
    """Width of a projection before it (384 in the paper's small variant)."""
    student_initial: Literal["identity", "torch"] = "identity"
    """How the convolution starts: as the token itself, or at random (which finds far fewer of the teacher's passages at these sizes)."""
    passage_scores: int = 3
    """l, passage scores in a document's score."""
    validate_batches: int = 25
    """Batches between two validations (4,000 in the paper): what an epoch of each training is, drawn at random."""
    passage_pairs: int = 8000
    """Pairs of passages in step 1."""
    document_pairs: int = 400
    """Pairs of documents in steps 2 and 3."""
    validation_pairs: int = 60
    """Pairs of documents that decide which weights are kept."""
    queries: int = 100
    """Test queries, each with 20 documents."""
    long_queries: int = 15
    """Test queries with documents of 40 passages, the paper's longest; 0 for none."""
    timed_queries: int = 10
    """Queries on which latency is measured, at every k; 0 for none."""
    ks: tuple[int, ...] = (1, 2, 4)
    """Values of k that are compared."""
    options: IDCMOptions = IDCMOptions()
    """Options of the method."""
    passage_train: TrainOptions = field(
        default_factory=lambda: replace(STEP, epochs=60, batch_size=32, learning_rate=2e-3, monitor="ranknet", minimise=True)
    )
    """How the teacher learns from passages, step 1; the weights with the least RankNet on validation documents are kept."""
    document_train: TrainOptions = field(
        default_factory=lambda: replace(STEP, epochs=12, batch_size=8, learning_rate=3e-4, monitor="ranknet", minimise=True)
    )
    """How it learns from documents, step 2, judged alike."""
    aggregation_rate: float = 2e-2
    """Learning rate of the aggregation's weights, 7e-4 in the paper where the teacher's is 7e-6."""
    student_train: TrainOptions = field(
        default_factory=lambda: replace(STEP, epochs=24, batch_size=16, learning_rate=5e-3, monitor="found")
    )
    """How every student learns, step 3; the best weights by the teacher's passages found on validation documents are kept."""

    def quick(self) -> Self:
        """Return the variant on made-up tokens with an oracle for a teacher."""
        return replace(
            self,
            data="synthetic",
            width=32,
            student_width=32,
            validate_batches=13,
            document_pairs=200,
            validation_pairs=50,
            queries=50,
            long_queries=0,
            timed_queries=0,
            passage_scores=1,
            student_train=replace(self.student_train, epochs=2),
        )

    def run(self, run: Run) -> Report:
        """Train the teacher in two steps, every student in one, and compare what the teacher reads at every k."""
        from tutelage.recipes.language.idcm_lab import one_seed
        from tutelage.recipes.language.idcm_report import tell

        report = report_for(run, "IDCM: intra-document cascading (Hofstaetter et al. 2021)")
        found = [one_seed(self, run, report, seed) for seed in run.seeds]
        tell(report, self, found)
        return report


RECIPE = IDCMRecipe
OPTIONS = IDCMOptions
