"""What the numbers of IDCM's recipe say about the paper's sentences."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.recipes.language.idcm import ALL, ALONE, FIRST, LABELS, LOSSES, OURS, RANDOM, START, WORDS, IDCMRecipe, at
from tutelage.recipes.language.idcm_lab import LENGTHS, Cost
from tutelage.report import Report


def tell(report: Report, recipe: IDCMRecipe, costs: Sequence[Sequence[Cost]]) -> None:
    """Put claims, curves and notes into a report that has the arms' numbers.

    Args:
        report: the report.
        recipe: what was run.
        costs: of every seed, by length.
    """
    k = recipe.options.k
    ours, least = at(OURS, k), min(recipe.ks)
    report.claim(f"Reading {k} passages is as good as reading all: nDCG@10 lower by 0.02 at most.", ours, ALL, "ndcg", margin=-0.02)
    for arm in (RANDOM, FIRST):
        report.claim(f"It is better than reading {k} {arm} passages, by 0.10 of nDCG@10.", ours, at(arm, k), "ndcg", margin=0.10)
    text = f"The teacher reads {k} passages of a document whatever its length, {LENGTHS[0]} to {LENGTHS[-1]} (minus the largest difference)"
    report.check(f"{text}.", [-max(abs(cost.calls - k) for cost in found) for found in costs])
    if recipe.timed_queries:
        saved = [0.5 - report.values[ours]["latency_share"][seed] for seed in report.seeds]
        report.check("A query takes less than half the time of reading all passages (0.5 minus the share).", saved, at_least=1e-9)
        speed_up = [1 / found[-1].share for found in costs]
        report.check(f"At {LENGTHS[-1]} passages (2,000 tokens) latency is over four times lower (times).", speed_up, at_least=4.0)
    if f"{ALL}, long" in report.values:
        text = f"At that length reading {k} passages is as good as reading all: nDCG@10 lower by 0.02 at most."
        report.claim(text, f"{ours}, long", f"{ALL}, long", "ndcg", margin=-0.02)
    report.claim(f"The student finds more of the teacher's best {k} passages than chance.", ours, at(RANDOM, k), "found", margin=1e-6)
    report.claim("By LambdaLoss it finds as many as by MSE, within 0.02.", ours, at("MSE", k), "found", margin=-0.02)
    report.claim("Distilled from the teacher it finds more than trained on document labels.", ours, at(LABELS, k), "found", margin=1e-6)
    report.claim("Its choice is worth more nDCG@10 than that of a student of document labels.", ours, at(LABELS, k), "ndcg", margin=1e-6)
    report.claim("The cascade ranks better than the student alone, by nDCG@10.", ours, ALONE, "ndcg", margin=1e-6)
    text = f"Reading {least} passage of a document is better than the teacher on its first 512 tokens (10 passages), by nDCG@10."
    report.claim(text, at(OURS, least), START, "ndcg", margin=1e-6)
    _curves(report, recipe, costs)
    _notes(report, recipe)


def _curves(report: Report, recipe: IDCMRecipe, costs: Sequence[Sequence[Cost]]) -> None:
    arms = (*LOSSES, WORDS, FIRST, RANDOM)
    lines = {arm: [report.mean(at(arm, k), "ndcg") for k in recipe.ks] for arm in arms}
    lines[ALL] = [report.mean(ALL, "ndcg")] * len(recipe.ks)
    report.curve("Quality against passages read", recipe.ks, lines, "passages read of a document", "nDCG@10")
    if recipe.timed_queries:
        columns = list(zip(*costs, strict=True))
        means = {
            at(OURS, recipe.options.k): [sum(cost.milliseconds for cost in column) / len(column) for column in columns],
            ALL: [sum(cost.all_milliseconds for cost in column) / len(column) for column in columns],
        }
        report.curve("Latency against length", LENGTHS, means, "passages of a document", "ms for a query of 20 documents")


def _notes(report: Report, recipe: IDCMRecipe) -> None:
    k = recipe.options.k
    report.note(
        "Columns: ndcg (at 10), mrr (at 10) and map on test queries; found: share of the teacher's best k passages that are among the k "
        "read; teacher_calls: passages of a document that the teacher reads; latency_ms: median of a query on one thread; latency_share: "
        "of that of reading all passages, query by query, both taking turns. 'long': documents of 40 passages, the paper's longest."
    )
    train = recipe.passage_train
    if train.schedule == "ReduceLROnPlateau":
        report.note(
            f"Every step is validated after each {recipe.validate_batches} batches (4,000 in the paper), with a quarter of the learning "
            f"rate after {train.schedule_arguments['patience']:g} stale validations, and ends after {train.patience} of them or "
            f"{recipe.passage_train.epochs}, {recipe.document_train.epochs} and {recipe.student_train.epochs} validations in steps 1 to 3; "
            "the best weights are kept."
        )
    if recipe.data == "synthetic":
        report.note("The teacher counts words and costs less than the student here, so latency is not measured.")
    if recipe.data == "newsgroups":
        ours, words = report.mean(at(OURS, k), "ndcg"), report.mean(at(WORDS, k), "ndcg")
        report.note(
            "A query is a post's first 6 to 8 words. Of 8 later passages of the post the one that shares most with it is planted: one "
            "drawn blindly mostly shares nothing, and counting shared rare words then ranks no better than chance. Documents of a query "
            "are of its newsgroup, 19 of about 50 chosen by BM25, without posts of the query's thread. This tests the cascade, how the "
            "choice is distilled, and its cost; not effectiveness on MS MARCO."
        )
        report.note(
            f"Counting shared words picks passages for {words:.3f} nDCG@10 at k = {k}, against {ours:.3f} of the student. Queries and "
            "passages share words by construction here, so this baseline, which needs no training, is stronger than on real questions."
        )
    explain(report, k)


def explain(report: Report, k: int) -> None:
    """Add a sentence on why, for claims that do not hold.

    Args:
        report: with its claims.
        k: passages of a document that the teacher reads.
    """
    held = {claim.text: claim.held for claim in report.claims}
    if any(text.startswith("At that length") and not good for text, good in held.items()):
        found, usual = (report.mean(at(OURS, k) + suffix, "found") for suffix in (", long", ""))
        report.note(
            f"At 40 passages the student finds {found:.2f} of the teacher's best {k}, against {usual:.2f} at the lengths it learned from "
            "(12 to 20 passages): more passages compete, and it saw no document that long. The few long queries cannot tell the loss from "
            "the bound."
        )
    if any("student of document labels" in text and not good for text, good in held.items()):
        ours, labels, all_read = (report.mean(arm, "ndcg") for arm in (at(OURS, k), at(LABELS, k), ALL))
        shares = [report.mean(at(arm, k), "found") for arm in (OURS, LABELS)]
        report.note(
            f"The student finds {shares[0]:.2f} of the teacher's best {k} passages and one of document labels {shares[1]:.2f}, yet their "
            f"choices rank alike ({ours:.3f} and {labels:.3f}): this teacher is weak ({all_read:.3f} where it reads all), so that "
            "agreeing with it is worth little, and a choice made by another view of the question corrects some of its mistakes."
        )
    if any("512" in text and not good for text, good in held.items()):
        report.note(
            "The first 512 tokens are ten of about 16 passages here, and planted passages lie anywhere; in the paper they are ten of up to "
            "40, and its k = 1 was better. The teacher reads ten times as much in that arm."
        )
