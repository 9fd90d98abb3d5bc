"""What LLKD's recipe says: curves, claims and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tutelage.recipes.curves import mean_curves
from tutelage.recipes.language.llkd import ALL, CONFIDENT, FULL, RANDOM, TEACHER, TRUE, UNSURE, UNWEIGHTED, LLKDRecipe
from tutelage.recipes.language.llkd_lab import arm_of

if TYPE_CHECKING:
    from tutelage.report import Report
    from tutelage.train import History

CURVES = {
    "macro_f1": ("Validation macro-F1", "macro-F1, percent"),
    "used": ("Samples used of a batch", "samples"),
    "uses": ("Samples used so far, repeats counted", "samples"),
    "right_kept": ("Used pseudo-labels that are right", "share, percent"),
    "threshold_student": ("Threshold of the student's entropy, mean over classes", "nats"),
}


def curves(report: Report, name: str, histories: Sequence[Mapping[str, History]]) -> None:
    """Draw what was measured while training on a data set, averaged over seeds.

    Args:
        report: where they go.
        name: data set.
        histories: of every arm, one mapping for each seed.
    """
    by_arm = {arm: [each[arm] for each in histories] for arm in histories[0]}
    for quantity, (title, unit) in CURVES.items():
        report.curve(f"{title} ({name})", *mean_curves(by_arm, quantity), "epoch", unit)


def claims(report: Report, name: str) -> None:
    """Check the paper's sentences on a data set.

    Args:
        report: with all arms' numbers.
        name: data set.
    """

    def f1(text: str, versus: str, margin: float = 0.0) -> None:
        report.claim(f"{name}: {text}", arm_of(FULL, name), arm_of(versus, name), "macro_f1", margin=margin)

    def mean(arm: str, metric: str) -> float:
        return report.mean(arm_of(arm, name), metric)

    def per_seed(arm: str, metric: str) -> dict[int, float]:
        return report.values[arm_of(arm, name)][metric]

    f1("LLKD beats as many samples drawn at random, by 1 point of macro-F1.", RANDOM, 1.0)
    f1("LLKD is at most 0.5 points of macro-F1 below learning from all pseudo-labels.", ALL, -0.5)
    used = per_seed(FULL, "used_share")
    report.check(f"{name}: LLKD uses at most half of the samples presented (50 minus its share, points).", [50 - v for v in used.values()])
    ours, pool, entropy = (per_seed(arm, "right_used") for arm in (FULL, TEACHER, UNSURE))
    better = [ours[seed] - pool[seed] for seed in ours]
    right = report.check(f"{name}: pseudo-labels that LLKD uses are right more often than the pool's, by 3 points.", better, at_least=3.0)
    doubtful = [ours[seed] - entropy[seed] for seed in ours]
    report.check(f"{name}: they are right more often than those that the student's entropy alone chooses.", doubtful)
    f1("Leaving out the student's criterion (and weights) lowers macro-F1.", CONFIDENT)
    f1("Leaving out the teacher's criterion (and weights) lowers macro-F1.", UNSURE)
    f1("Leaving out the weights lowers macro-F1.", UNWEIGHTED)
    f1("The student beats its labeller.", TEACHER)
    parts = {"the student's criterion": CONFIDENT, "the teacher's criterion": UNSURE, "the weights": UNWEIGHTED}
    for (part, arm), found in zip(parts.items(), report.claims[-4:-1], strict=True):
        if not found.held:
            report.note(
                f"{name}: without {part} macro-F1 is {-found.value:.1f} points higher, with {mean(arm, 'used_share'):.0f} percent of the "
                f"samples used and not {mean(FULL, 'used_share'):.0f}: over these seeds that part saves samples, or does nothing, but does "
                "not raise macro-F1."
            )
    if not right.held:
        report.note(
            f"{name}: labels that LLKD used are right by {right.value:.1f} points more often than the pool's, not by 3. The teacher's bar "
            f"alone gives {mean(CONFIDENT, 'right_used') - mean(TEACHER, 'right_used'):.1f}; but of what a trained student is still unsure "
            "about, more is labelled wrongly, and that is what the student's bar asks for: "
            f"{mean(UNSURE, 'right_used') - mean(TEACHER, 'right_used'):.1f} by itself."
        )
    if not report.claims[-1].held:
        report.note(
            f"{name}: the labeller reads whole texts and pairs of words and reaches {mean(TEACHER, 'macro_f1'):.1f} points of macro-F1, "
            f"a bag of words from scratch {mean(TRUE, 'macro_f1'):.1f} with true labels. The paper's student is a pretrained encoder, "
            "which brings knowledge of its own."
        )


def notes(report: Report, recipe: LLKDRecipe) -> None:
    """Say what the numbers are of.

    Args:
        report: where they go.
        recipe: the recipe.
    """
    report.note(
        f"The labeller ({recipe.teacher}) is fitted on {recipe.per_class} texts of each class outside the pool, and calibrated; it stands "
        "where the paper has a prompted language model, and a bag of words where it has RoBERTa. So this tests the selection rule with a "
        "real, imperfect teacher, not the paper's numbers. Formulas of thresholds and weights, and all constants, are our completion."
    )
    report.note(
        "All arms see the same batches; the best epoch by validation macro-F1 (true labels) is tested. used_share is the share of "
        "samples presented that entered the loss, distinct_share of those that did so at least once, right_used how many of the "
        "pseudo-labels used, repeats counted, are right (for the labeller: of all); all to the last epoch. Ablations of a criterion "
        "have no weights, which would bring its signal back."
    )
