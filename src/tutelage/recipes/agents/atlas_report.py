"""What the recipe of ATLAS reports: success, tokens and lanes over the stream, what was taught, and the paper's sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tutelage.errors import optional
from tutelage.evaluate.stream import moving, thirds
from tutelage.models.chat.text import printable
from tutelage.recipes.agents.atlas import ALONE, OURS, PAIRED, PATIENT, RANDOM, UNPRUNED, AtlasRecipe
from tutelage.selection.impact import Impact
from tutelage.selection.learning_memory import Playbook

if TYPE_CHECKING:
    from tutelage.report import Report
    from tutelage.targets.playbook import Entry

Found = Mapping[int, Mapping[str, Any]]
"""By seed and arm what `AtlasRecipe.played` returns."""
FIRST, LAST = "success, first third", "success, last third"
TOKENS_FIRST, TOKENS_LAST = "tokens, first third", "tokens, last third"
AUTO_FIRST, AUTO_LAST = "alone, first third", "alone, last third"
MOVED, PER_TOKEN = "success after transfer", "successes per 1,000 tokens, last third"


def right(entry: Entry) -> bool:
    """Return whether an entry names the right query for its cue, and a cue of general use."""
    from tutelage.environments.security_logs import SKILLS

    return (entry.cue.pattern, entry.handle) in {(skill.phrase.replace(" ", r"\s+"), skill.right.name) for skill in SKILLS.values()}


def taught(book: Playbook) -> list[dict[str, Any]]:
    """Return what was taught and what came of it, one row per entry, ready for JSON."""
    return [
        {
            "born": entry.born,
            "cue": entry.cue.pattern,
            "handle": entry.handle,
            "right": right(entry),
            "status": entry.status,
            "why": entry.why,
            "impact": book.impacts.get(entry.id, Impact()).to_json(),
        }
        for entry in book.entries
    ]


def numbers(arm: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of one arm and seed.

    Args:
        arm: its rows, transfer and entries.
    """
    rows = arm["rows"]
    success = thirds([100 * row["success"] for row in rows])
    # The sheet counts student, teacher and judges; the synthesizer is counted apart.
    tokens = thirds([row["tokens"] - row["used"].get("synthesizer", 0) for row in rows])
    written = thirds([row["used"].get("synthesizer", 0) for row in rows])
    student = thirds([row["used"]["student"] for row in rows])
    alone = thirds([100.0 * (row["lane"] == "auto") for row in rows])
    judged = [row["reward"] for row in rows if row["reward"] is not None]
    return {
        FIRST: success[0],
        LAST: success[2],
        "success": fmean(100 * row["success"] for row in rows),
        "rewarded": 100 * fmean(reward >= 0.5 for reward in judged) if judged else 0.0,
        TOKENS_FIRST: tokens[0],
        TOKENS_LAST: tokens[2],
        "student tokens, first third": student[0],
        "student tokens, last third": student[2],
        "synthesizer tokens, last third": written[2],
        PER_TOKEN: 10 * success[2] / tokens[2],
        AUTO_FIRST: alone[0],
        AUTO_LAST: alone[2],
        MOVED: 100 * fmean(arm["transfer"]),
    }


def tell(report: Report, recipe: AtlasRecipe, found: Found) -> None:
    """Write numbers, claims, curves, the table of what was taught and notes into a report.

    Args:
        report: takes them.
        recipe: what was run.
        found: what every arm played.
    """
    for seed, arms in found.items():
        for arm, played in arms.items():
            report.add(arm, seed, **numbers(played))
    _claims(report)
    _curves(report, found)
    seed = next(iter(found))
    report.picture(
        f"What was taught, seed {seed}",
        table(found[seed][OURS]["taught"]),
        "Entries of ATLAS in the order of writing: the session after which, cue, query, whether it is a right one, in how many judged "
        "sessions the cue was found, mean rewards with and without, and what became of it. An entry that was dropped and written again "
        "begins anew.",
    )
    report.note(
        f"Scripted agents on a real SQLite database: {recipe.tasks} tasks of incident 5, then {recipe.transfer} of incident 55 by "
        "the student alone with the frozen playbook. Tokens are counted in words. Success is the right answer in percent; judges "
        "see noise around it. Tokens are those of student, teacher and judges, as the sheet counts; the synthesizer's stand in a "
        "column of their own."
    )
    report.note(
        "The scores of the scripted student (right 1.2, wrong 0.8, bonus 4) and the width of the logs were chosen on seeds 100 to "
        "102, so that the student alone succeeds in about a fifth of the tasks and wrong queries cost most of the tokens. "
        "Thresholds are the sheet's."
    )
    if UNPRUNED in report.values:
        good, bad = (fmean(arms[OURS]["dropped"].count(kind) for arms in found.values()) for kind in (True, False))
        worst = {arm: min(report.values[arm][LAST].values()) for arm in (OURS, UNPRUNED)}
        left = [fmean(_misleading(arms[arm]["taught"]) for arms in found.values()) for arm in (OURS, UNPRUNED)]
        report.note(
            f"The published pruning drops {good:.1f} right and {bad:.1f} bad entries per seed. It compares rewards of sessions with a hit "
            "with those of other tasks, which are not easier or harder by the entry's merit: where all tasks go well, the difference is "
            "noise around zero. It is looked at after every session, and right entries fall below -0.01 after five hits, or below +0.01 "
            "after ten; those of one family of tasks go after twenty sessions. The arm of patient pruning waits for 20 hits and a loss of "
            f"0.1. {left[0]:.1f} entries that name a wrong query are in use at the end, {left[1]:.1f} without pruning; in the worst seed "
            f"ATLAS succeeds in {worst[OURS]:.0f} % of the last third, without pruning in {worst[UNPRUNED]:.0f} %."
        )


def _misleading(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many entries in use name a wrong query."""
    from tutelage.environments.security_logs import SKILLS

    wrong = {skill.wrong.name for skill in SKILLS.values()}
    return sum(row["handle"] in wrong and row["status"] in ("validated", "provisional") for row in rows)


def _claims(report: Report) -> None:
    def of(metric: str, arm: str = OURS) -> list[float]:
        return list(report.values[arm][metric].values())

    report.claim("In the last third ATLAS succeeds at least 20 points more often than the student alone.", OURS, ALONE, LAST, margin=20)
    gains = [last - first for first, last in zip(of(FIRST), of(LAST), strict=True)]
    report.check("ATLAS's last third is at least 10 points above its first.", gains, at_least=10)
    saved = [1 - last / first for first, last in zip(of(TOKENS_FIRST), of(TOKENS_LAST), strict=True)]
    report.check("ATLAS's last third takes at most 0.75 of the tokens of its first (share saved).", saved, at_least=0.25)
    more = [last - first for first, last in zip(of(AUTO_FIRST), of(AUTO_LAST), strict=True)]
    report.check("The share of tasks that the student does alone grows (points).", more, at_least=1e-9)
    report.claim("The frozen playbook transfers: at least 8 points over the memory-less student.", OURS, ALONE, MOVED, margin=8)
    if UNPRUNED in report.values:
        report.claim("Without pruning, success in the last third is lower.", OURS, UNPRUNED, LAST, margin=1e-9)
        report.claim("Without pruning, the last third takes more tokens.", OURS, UNPRUNED, TOKENS_LAST, margin=1e-9, higher_is_better=False)
    if PATIENT in report.values and UNPRUNED in report.values:
        report.claim("Patient pruning (ours): success in the last third is not lower than without pruning.", PATIENT, UNPRUNED, LAST)
    if PAIRED in report.values:
        report.claim(
            "ATLAS has more successes per token than always paired without memory.", OURS, PAIRED, PER_TOKEN, higher_is_better=True
        )
    if RANDOM in report.values:
        report.claim("And more than with a random router.", OURS, RANDOM, PER_TOKEN, higher_is_better=True)


def _curves(report: Report, found: Found) -> None:
    arms = list(next(iter(found.values())))
    places = range(1, len(next(iter(found.values()))[OURS]["rows"]) + 1)

    def mean(arm: str, value: Any) -> list[float]:
        return [fmean(column) for column in zip(*(moving([value(row) for row in of[arm]["rows"]]) for of in found.values()), strict=True)]

    window = "mean of the last 15 tasks"
    report.curve(
        "Success over the stream", places, {arm: mean(arm, lambda row: 100 * row["success"]) for arm in arms}, "task", f"%, {window}"
    )
    report.curve(
        "Tokens over the stream", places, {arm: mean(arm, lambda row: row["tokens"]) for arm in arms}, "task", f"all roles, {window}"
    )
    lanes = ("auto", "paired", "coach", "stepwise")
    shares = {lane: mean(OURS, lambda row, lane=lane: 100.0 * (row["lane"] == lane)) for lane in lanes}
    report.curve("Lanes of ATLAS over the stream", places, {k: v for k, v in shares.items() if any(v)}, "task", f"%, {window}")


def table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Draw what was taught as a table.

    Args:
        rows: what `taught` returns.

    Returns:
        The figure; it says so where nothing was taught.
    """
    figure_class = optional("matplotlib.figure", "report").Figure
    figure = figure_class(figsize=(11, 0.6 + 0.28 * max(1, len(rows))), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.set_axis_off()
    if not rows:
        axes.text(0.5, 0.5, "Nothing was taught.", ha="center")
        return figure
    cells = [_cells(row) for row in rows]
    head = ["after", "cue", "query", "right", "found", "with", "without", "became"]
    widths = [0.06, 0.24, 0.15, 0.06, 0.09, 0.06, 0.08, 0.26]
    drawn = axes.table(cells, colLabels=head, colWidths=widths, loc="center", cellLoc="left", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    return figure


def _cells(row: Mapping[str, Any]) -> list[str]:
    impact = Impact.from_json(row["impact"])
    without = impact.sessions - impact.hits
    return [
        str(row["born"]),
        printable(row["cue"], 38),
        row["handle"],
        "yes" if row["right"] else "no",
        f"{impact.hits}/{impact.sessions}",
        f"{impact.reward_with / impact.hits:.2f}" if impact.hits else "-",
        f"{impact.reward_without / without:.2f}" if without else "-",
        printable(row["status"] + (f": {row['why']}" if row["why"] else ""), 46),
    ]
