"""Recipe of KDRL: a small decoder and its better teacher, both pre-trained on sums in steps, then reward, teacher, or both."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from tutelage.recipes.recipe import Recipe, report_for
from tutelage.train.options import TrainOptions

if TYPE_CHECKING:
    from tutelage.data import Batches
    from tutelage.recipes.recipe import PromptSetting
    from tutelage.report import Report
    from tutelage.train import Method, Run

GRPO, RKL, SFT = "GRPO", "KD-RKL", "SFT on teacher samples"
CONSTANT, ANNEALING = "KDRL", "KDRL-Annealing"
RESPONSE, GROUP = "KDRL-Masking (response)", "KDRL-Masking (group)"
K3, TOP_K, SHAPED = "KDRL, k3", "KDRL, top-k", "reward-shaped"
JOINT = (CONSTANT, ANNEALING, RESPONSE, GROUP)
START, TEACHER = "student before", "teacher"


@dataclass(frozen=True)
class KDRLOptions:
    """Options of unified distillation and reinforcement learning."""

    signal: Literal["joint", "reward", "teacher", "shaped"] = "joint"
    """joint: both; reward: GRPO; teacher: KD-RKL; shaped: the teacher's log-ratio is added to the reward before normalisation."""
    beta: float = 2e-3
    """Weight of the distillation term (ours for long answers of large models; short answers want more)."""
    beta_fall: float = 0.0
    """What beta loses with every optimizer step; the paper's annealing: 5e-5 from 5e-3."""
    beta_min: float = 0.0
    """What beta falls to; the paper's annealing: 1e-3."""
    mask: Literal["none", "response", "group"] = "none"
    """Imitate on all answers, on failed ones, or on questions that were failed throughout."""
    estimator: Literal["k1", "k2", "k3", "exact", "top-k"] = "k2"
    """Of reverse KL on each token: by the drawn token (k1 as a detached reward), over the vocabulary, or over top_k tokens."""
    top_k: int = 16
    """Tokens of estimator=top-k (ours)."""
    top_k_of: Literal["teacher", "student"] = "teacher"
    """Whose best tokens these are."""
    top_k_rest: Literal["drop", "lump"] = "drop"
    """What becomes of the other tokens: left out, or all as one outcome (ours)."""
    group: int = 8
    """Answers to each question (ours)."""
    max_new_tokens: int = 64
    """Longest answer in tokens (ours)."""
    temperature: float = 1.0
    """Of sampling and of all log-probabilities."""
    updates: int = 1
    """Optimizer steps on each batch of answers; 1 is on-policy."""
    clip_low: float = 0.2
    """How far the ratio to the sampling policy may fall."""
    clip_high: float = 0.2
    """How far it may rise."""
    std: Literal["population", "sample", "none"] = "population"
    """The deviation that advantages are divided by."""
    eps: float = 1e-6
    """Added to that deviation."""
    average: Literal["group", "batch"] = "group"
    """Average tokens within each question's answers and then questions, or over all tokens of the batch."""
    mask_end: bool = False
    """Leave the token that ends an answer out of the distillation term."""


@dataclass(frozen=True)
class LabOptions:
    """The task and how both models were pre-trained on its traces."""

    terms: int = 4
    """Numbers in a sum."""
    digits: int = 1
    """Of the largest number."""
    modulus: int = 10
    """Each step's result is taken modulo this."""
    pretraining: int = 3000
    """Questions with traces to pre-train on; none of them comes again."""
    student_width: int = 64
    """Width of the student's hidden states."""
    student_layers: int = 2
    """Layers of the student."""
    teacher_width: int = 128
    """Width of the teacher's."""
    teacher_layers: int = 3
    """Layers of the teacher."""
    student_target: float = 25.0
    """Accuracy in percent at which the student's pre-training ends."""
    hard_target: float = 1.0
    """Share of right traces, in percent, at which that of the student for hard exploration ends; 0 leaves the check out."""
    teacher_target: float = 85.0
    """Accuracy at which the teacher's ends: it is imperfect on purpose."""
    student_round: int = 2
    """Steps of the student's pre-training between two looks at its accuracy, which rises at once when it does."""
    teacher_round: int = 10
    """Steps of the teacher's."""
    rounds: int = 200
    """Most such looks."""
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(epochs=1, batch_size=64, optimizer="AdamW", learning_rate=3e-3, schedule="constant", clip=1.0)
    )
    """How both are pre-trained."""


@dataclass(frozen=True)
class KDRLRecipe(Recipe):
    """Sums of four digits in steps: what a student of 30 % learns from the verifier, from a teacher of 85 %, and from both.

    Three seeds take about 35 minutes of one core, the same again for twice the epochs. Sums of two digits modulo 100 (`--lab.digits 2
    --lab.modulus 100`) need some twenty times the steps of pre-training, two minutes of one core.
    """

    questions: int = 4000
    """Questions to learn from, without traces."""
    validation: int = 200
    """Questions by which beta is chosen, and the curves drawn."""
    test: int = 500
    """Questions that are only reported."""
    samples: int = 2
    """Answers to each test question."""
    epochs: int = 15
    """Looks at the validation accuracy during learning."""
    steps: int = 10
    """Optimizer steps between two looks; each has batch_size questions with `group` answers."""
    betas: tuple[float, ...] = (0.01, 0.05, 0.2)
    """Values among which beta is chosen on validation questions, with the first seed; one value is taken as it is."""
    arms: tuple[str, ...] = (GRPO, RKL, SFT, CONSTANT, ANNEALING, RESPONSE, GROUP, K3, TOP_K, SHAPED)
    """What is compared."""
    lab: LabOptions = LabOptions()
    """The task and the pre-training."""
    options: KDRLOptions = KDRLOptions(max_new_tokens=12, top_k=4)
    """Options of the method; each arm changes what it is named after."""
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(batch_size=32, optimizer="AdamW", learning_rate=3e-4, schedule="constant", clip=1.0)
    )
    """How every arm is trained; epochs are those of the recipe."""
    hard_learning_rate: float = 1e-3
    """Learning rate from the student for hard exploration, who has more to learn in the same steps."""

    default_seeds = (0, 1, 2)

    def arm(self, name: str, beta: float) -> KDRLOptions:
        """Return the options of an arm.

        Args:
            name: the arm.
            beta: what was chosen for it. Annealing begins there and falls to a fifth over the first 2/7 of the steps, as in the paper.
        """
        total = self.epochs * self.steps
        ours = replace(self.options, beta=beta)
        changes: dict[str, dict[str, object]] = {
            GRPO: {"signal": "reward"},
            RKL: {"signal": "teacher"},
            CONSTANT: {},
            ANNEALING: {"beta_fall": 0.8 * beta / max(total * 2 / 7, 1.0), "beta_min": 0.2 * beta},
            RESPONSE: {"mask": "response"},
            GROUP: {"mask": "group"},
            K3: {"estimator": "k3"},
            TOP_K: {"estimator": "top-k"},
            SHAPED: {"signal": "shaped"},
        }
        return replace(ours, **changes[name])  # type: ignore[arg-type]

    def quick(self) -> Self:
        """Return the variant with sums of digits modulo 10, smaller models, and few arms, beside the bandit."""
        lab = replace(
            self.lab,
            terms=3,
            pretraining=400,
            student_width=32,
            student_layers=1,
            teacher_width=64,
            teacher_layers=2,
            hard_target=0.0,
        )
        return replace(
            self, questions=300, validation=100, test=200, epochs=6, steps=6, betas=(0.2,), arms=(GRPO, RKL, CONSTANT, ANNEALING), lab=lab
        )

    def run(self, run: Run) -> Report:
        """Pre-train the teacher and each seed's student, choose beta with the first, train all arms, check the paper's sentences."""
        from tutelage.recipes.language import kdrl_lab as lab
        from tutelage.recipes.language.kdrl_report import tell

        report = report_for(run, "KDRL: unified knowledge distillation and reinforcement learning (Xu et al. 2025)")
        common = lab.task(self, run)
        betas: dict[str, float] = {}
        found = {}
        for seed in run.seeds:
            begin = lab.students(self, run, common, seed)
            betas = betas or lab.choose(self, run, common, begin.usual, seed)
            found[seed] = lab.learn(self, run, report, common, begin, betas, seed)
        tell(report, self, betas, found)
        return report


def prompts(setting: PromptSetting, options: KDRLOptions) -> tuple[Method, Batches]:
    """Return KDRL of the user's own language models on the user's own prompts."""
    from tutelage import data
    from tutelage.methods.language.kdrl import KDRL

    method = KDRL(setting.student, setting.teacher, setting.tokenizer, setting.reward, setting.alignment, **asdict(options))
    return method, data.Batches(setting.questions, setting.train.batch_size, seed=setting.seed)


RECIPE = KDRLRecipe
OPTIONS = KDRLOptions
