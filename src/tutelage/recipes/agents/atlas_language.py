"""A real small language model as the student of ATLAS: SmolLM2-135M chooses the queries, all other roles are the scripted ones."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from tutelage.recipes.agents.atlas import ALONE, LANGUAGE_ALONE, LANGUAGE_OURS, LEARNED, OURS, AtlasRecipe

if TYPE_CHECKING:
    from tutelage.models.chat import Chat
    from tutelage.report import Report
    from tutelage.train import Run

_STEPS, _TOKENS, _ROWS = 4, 16, 3  # turns of one attempt, tokens of one turn, rows of one output: small, because the model is


def student() -> Chat:
    """Return SmolLM2-135M-Instruct as a chat model, greedy.

    Raises:
        DataError: if its package cannot be fetched.
        MissingExtra: if the extra language is not installed.
    """
    from tutelage.models.chat import Sampling, TransformersChat
    from tutelage.models.language import smollm2

    model = smollm2()
    sampling = Sampling(temperature=0.0, max_tokens=_TOKENS)
    return TransformersChat(model.model, model.tokenizer, sampling=sampling, name="smollm2-135m-instruct")


def tell_language(report: Report, recipe: AtlasRecipe, run: Run) -> None:
    """Play a short stream with the language model, alone and under ATLAS, and report it without a claim.

    Tasks that an earlier call played are read from the run's directory.

    Args:
        report: takes the numbers.
        recipe: its `language_tasks` say how many tasks.
        run: the run; its first seed is that of the stream.
    """
    from tutelage.environments.security_logs import SecurityLogs
    from tutelage.recipes.agents.atlas_agents import Agents

    seed, chat = run.seeds[0], student()
    logs = SecurityLogs(LEARNED, seed=seed, devices=recipe.devices, max_rows=_ROWS)
    tasks = logs.stream(recipe.language_tasks, seed=seed)
    for arm, name in ((ALONE, LANGUAGE_ALONE), (OURS, LANGUAGE_OURS)):
        run.say(f"{name} ...")
        folder = None if run.directory is None else run.directory / "language"
        if folder is not None:
            folder.mkdir(exist_ok=True)
        agents = Agents(logs, tasks, recipe.world, seed=seed)
        atlas = replace(recipe, max_steps=_STEPS).atlas(arm, agents, folder and folder / "atlas.sqlite", seed=seed, student=chat)
        log = None if folder is None else folder / f"{'alone' if arm == ALONE else 'atlas'}.jsonl"
        rows = recipe.stream(atlas, logs, tasks, log)
        report.add(
            name,
            seed,
            success=100 * fmean(row.success for row in rows),
            **{"tokens per task": fmean(row.tokens for row in rows), "alone": 100 * fmean(row.lane == "auto" for row in rows)},
        )
    report.note(
        f"{LANGUAGE_ALONE} and {LANGUAGE_OURS}: SmolLM2-135M-Instruct as the student, greedy, {recipe.language_tasks} tasks of seed "
        f"{seed}, {_STEPS} turns of {_TOKENS} tokens and outputs of {_ROWS} rows; a turn that names a query without an entity gets "
        "the latest value of the right kind. It is far too small for the task: the numbers are reported, and nothing is claimed."
    )
