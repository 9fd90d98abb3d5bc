"""One seed of IDCM's recipe: the three trainings, every way to choose passages, and what each costs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from tutelage.data import Arrays, Batches
from tutelage.deploy.ranking import Cascade, Ranker, save
from tutelage.evaluate.latency import latencies, ratio
from tutelage.evaluate.predict import evaluating
from tutelage.evaluate.retrieval import overlap, retrieval
from tutelage.losses.ranking import ranknet
from tutelage.methods.language.idcm import IDCM, SIDES, RankPairs
from tutelage.models.ranking import ConvKernels, TopScores
from tutelage.recipes.language.idcm import ALL, ALONE, FIRST, LABELS, LOSSES, OURS, RANDOM, START, WORDS, IDCMRecipe, at
from tutelage.recipes.language.idcm_data import Lists, Task, make
from tutelage.report import Report
from tutelage.selection.passages import pick
from tutelage.train import Batch, Run, TrainOptions

LENGTHS = (8, 16, 24, 32, 40)
"""Passages of a document at which latency is measured; 40 are the most that are read, 2,000 tokens."""

VALIDATION_BLOCK = 32
"""Validation pairs that the teacher reads at once."""


@dataclass(frozen=True)
class Cost:
    """What the cascade costs at one length of the documents.

    Args:
        passages: of each document.
        milliseconds: median of a query by the cascade.
        all_milliseconds: the same where the teacher reads all.
        share: median over queries of their ratio.
        calls: passages of a document that the teacher read, counted.
    """

    passages: int
    milliseconds: float
    all_milliseconds: float
    share: float
    calls: float


def one_seed(recipe: IDCMRecipe, run: Run, report: Report, seed: int) -> list[Cost]:
    """Train everything from one seed, put the arms' numbers into the report, and return the costs by length at the option's k.

    Args:
        recipe: what to run.
        run: the run.
        report: takes the numbers.
        seed: the seed.
    """
    task = make(recipe, seed)
    aggregation = TopScores(recipe.passage_scores)
    _teach(recipe, run, task, aggregation, seed)
    students, teacher = _students(recipe, run, report, task, aggregation, seed)

    lists = [(task.test, "")] + ([(task.long, ", long")] if task.long is not None else [])
    for found, suffix in lists:
        _arms(recipe, report, seed, found, teacher, students, aggregation, suffix)
    cascade = Cascade(students[OURS], teacher, aggregation).eval()
    for k in recipe.ks if recipe.timed_queries else ():
        times = _times(cascade, [(task.test.query[n : n + 1], *task.test.documents[n]) for n in range(recipe.timed_queries)], k)
        report.add(at(OURS, k), seed, latency_ms=_median(times["k"]), latency_share=ratio(times["k"], times["all"]))
        report.add(ALL, seed, latency_ms=_median(times["all"]), latency_share=1.0)
    if task.tokens is not None and run.directory is not None and seed == run.seeds[0]:
        save(Ranker(cascade, task.tokens, k=recipe.options.k), run.directory / "ranker")
    return [_cost(cascade, task.test, length, recipe) for length in LENGTHS]


def _teach(recipe: IDCMRecipe, run: Run, task: Task, aggregation: TopScores, seed: int) -> None:
    """Steps 1 and 2: the teacher learns from passages, then with its aggregation from documents."""
    if task.passages is None:
        return
    validate = partial(_ordered, task.held)
    run.train(
        f"seed-{seed}/passages",
        RankPairs(task.teacher),
        _batches(recipe, task.passages, recipe.passage_train, seed),
        recipe.passage_train,
        validate,
    )
    method = RankPairs(
        task.teacher, aggregation, aggregation_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=recipe.aggregation_rate)
    )
    batches = _batches(recipe, task.documents, recipe.document_train, seed)
    run.train(f"seed-{seed}/documents", method, batches, recipe.document_train, validate)


def _batches(recipe: IDCMRecipe, pairs: Arrays, train: TrainOptions, seed: int) -> Batches:
    """Return batches of which an epoch has as many as lie between two validations."""
    return Batches(pairs, train.batch_size, seed=seed, draws=recipe.validate_batches * train.batch_size)


def _ordered(held: Arrays, method: RankPairs) -> dict[str, float]:
    """RankNet on validation documents, and the share of their pairs in the right order."""
    scores = {
        side: torch.cat(
            [
                method.predict({"query": batch["query"], "passages": batch[side], "mask": batch[f"{side}_mask"]})
                for batch in held.blocks(VALIDATION_BLOCK)
            ]
        )
        for side in SIDES
    }
    found = ranknet(*(scores[side] for side in SIDES)), (scores["positive"] > scores["negative"]).float()
    return {name: float(values.mean()) for name, values in zip(("ranknet", "ordered"), found, strict=True)}


def _students(
    recipe: IDCMRecipe, run: Run, report: Report, task: Task, aggregation: TopScores, seed: int
) -> tuple[dict[str, nn.Module], nn.Module]:
    """Step 3 for every loss, on the same pairs with the teacher's scores cached; the students, and the frozen teacher."""
    students: dict[str, nn.Module] = {}
    teacher: nn.Module = task.teacher
    documents, held = task.documents, task.held
    for arm, loss in LOSSES.items():
        torch.manual_seed(seed)
        student = ConvKernels(
            task.teacher.table, width=recipe.student_width, projection=recipe.student_projection, initial=recipe.student_initial
        )
        options = recipe.options if arm == OURS else replace(recipe.options, loss=loss)
        method = IDCM(student, teacher, aggregation, **asdict(options))
        if teacher is task.teacher:
            teacher = method.teacher
            documents, held = method.cache_scores(documents), method.cache_scores(held)
        batches = _batches(recipe, documents, recipe.student_train, seed)
        run.train(f"seed-{seed}/{arm.replace(' ', '-')}", method, batches, recipe.student_train, partial(_found, held.gather()))
        students[arm] = student.eval()
        report.add(at(arm, recipe.options.k), seed, parameters=sum(p.numel() for p in student.parameters()))
    return students, teacher


def _found(held: Batch, method: IDCM) -> dict[str, float]:
    """Share of the teacher's best k passages among the student's, on validation documents."""
    shares = []
    for side in SIDES:
        scores = method.student(held["query"], held[side], held[f"{side}_mask"])
        shares.append(overlap(scores, held[f"{side}_scores"], method.k, held[f"{side}_mask"]).mean())
    return {"found": float(torch.stack(shares).mean())}


@torch.inference_mode()
def _scores(scorer: nn.Module, lists: Lists) -> list[Tensor]:
    with evaluating(scorer):
        return [scorer(lists.query[n : n + 1], *documents) for n, documents in enumerate(lists.documents)]


def _arms(
    recipe: IDCMRecipe,
    report: Report,
    seed: int,
    lists: Lists,
    teacher: nn.Module,
    students: dict[str, nn.Module],
    aggregation: TopScores,
    suffix: str,
) -> None:
    """Rank by what the teacher says of the passages that each arm picks; the teacher's scores of all are computed once."""
    taught = _scores(teacher, lists)
    random = torch.Generator().manual_seed(seed)
    choices = {arm: _scores(student, lists) for arm, student in students.items() if not suffix or arm == OURS}
    choices[RANDOM] = [torch.rand(scores.shape, generator=random) for scores in taught]
    choices[FIRST] = [-torch.arange(scores.shape[1]).float().expand_as(scores) for scores in taught]
    if not suffix:
        choices[WORDS] = [_shared(lists.query[n], documents.tokens) for n, documents in enumerate(lists.documents)]

    def note(arm: str, ranked: list[Tensor], **more: float) -> None:
        padded = nn.utils.rnn.pad_sequence(ranked, batch_first=True)
        report.add(arm + suffix, seed, **retrieval(padded, lists.relevance, mask=lists.real), **more)

    def reading(choice: list[Tensor], k: int) -> tuple[list[Tensor], dict[str, float]]:
        ranked, shares, calls = [], [], []
        for chosen, scores, documents in zip(choice, taught, lists.documents, strict=True):
            picked = pick(chosen, k, documents.mask)
            with torch.inference_mode():
                ranked.append(aggregation(picked.gather(scores), picked.mask))
            shares.append(overlap(chosen, scores, k, documents.mask).mean())
            calls.append(picked.mask.sum(1).float().mean())
        return ranked, {"found": float(torch.stack(shares).mean()), "teacher_calls": float(torch.stack(calls).mean())}

    most = max(documents.mask.shape[1] for documents in lists.documents)
    ranked, more = reading(taught, most)
    note(ALL, ranked, **more)
    for k in recipe.ks:
        for arm, choice in choices.items():
            ranked, more = reading(choice, k)
            note(at(arm, k), ranked, **more)
    if suffix:
        return
    ranked, more = reading(choices[FIRST], 10)
    note(START, ranked, **more)
    plain = TopScores(recipe.passage_scores).requires_grad_(False)
    for arm in (OURS, LABELS):
        own = [plain(scores, documents.mask) for scores, documents in zip(choices[arm], lists.documents, strict=True)]
        note(ALONE if arm == OURS else f"{ALONE}, {LABELS}", own, teacher_calls=0.0)


def _shared(query: Tensor, passages: Tensor) -> Tensor:
    """Number of different query tokens in each passage, `[C, P]`."""
    words = sorted(set(query[query != 0].tolist()))
    return torch.stack([(passages == word).any(-1) for word in words]).sum(0).float()


def _times(cascade: Cascade, asked: list[tuple[Tensor, Tensor, Tensor]], k: int) -> dict[str, list[float]]:
    with torch.inference_mode():
        return latencies({"k": lambda n: cascade(*asked[n], k), "all": lambda n: cascade(*asked[n], None)}, len(asked))


def _cost(cascade: Cascade, lists: Lists, length: int, recipe: IDCMRecipe) -> Cost:
    """Measure queries whose documents are made `length` passages long, of the passages of all candidates in turn."""
    asked = []
    for number in range(max(recipe.timed_queries // 2, 1)):
        tokens, mask = lists.documents[number]
        documents, pool = len(mask), tokens[mask]
        passages = pool[torch.arange(documents * length) % len(pool)].reshape(documents, length, -1)
        asked.append((lists.query[number : number + 1], passages, torch.ones(documents, length, dtype=torch.bool)))
    with torch.inference_mode():
        calls = float(cascade(*asked[0], recipe.options.k).mask.sum(1).float().mean())
    if not recipe.timed_queries:
        return Cost(length, math.nan, math.nan, math.nan, calls)
    times = _times(cascade, asked, recipe.options.k)
    return Cost(length, _median(times["k"]), _median(times["all"]), ratio(times["k"], times["all"]), calls)


def _median(values: list[float]) -> float:
    return float(torch.tensor(values).median())
