"""Students of ALP-GMM's recipe: Stable-Baselines3's PPO on cart-poles and SAC on tracks, unchanged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO, SAC

from tutelage.environments import TaskBox, cart_pole
from tutelage.environments.walker import HEXAGONS, STUMPS, hexagon_tracks, stump_tracks
from tutelage.errors import OptionError
from tutelage.evaluate.policies import answers, mastered, returns, video
from tutelage.recipes.control.alp_gmm import OURS, RANDOM, ALPGMMRecipe
from tutelage.recipes.control.alp_gmm_report import drawn_over_time
from tutelage.report import Report, figures
from tutelage.train import Run
from tutelage.train.policies import TaughtEnvs, Watch, taught, train

_POLES, _WALKERS = (0.0, 500.0), (-150.0, 350.0)
_MASTERED = 230.0


@dataclass(frozen=True)
class _Ground:
    """What all teachers of one experiment share."""

    title: str
    box: TaskBox
    make: Callable[..., Any]
    tests: Any
    span: tuple[float, float]
    build: Callable[[TaughtEnvs, int], Any]
    steps: int
    every: int
    threshold: float
    envs: int = 1
    subprocess: bool = False


def poles(recipe: ALPGMMRecipe, run: Run, report: Report) -> None:
    """Teach PPO to balance poles, and compare on those that can be balanced.

    Args:
        recipe: the recipe.
        run: the run.
        report: is filled.
    """
    tests = cart_pole.learnable(recipe.tests)
    every = max(1, recipe.poles_steps // 6)
    ground = _Ground("cart-poles", cart_pole.BOX, cart_pole.make, tests, _POLES, _ppo, recipe.poles_steps, every, 450.0, envs=8)
    seeds = run.seeds[: recipe.poles_seeds]
    _compare(recipe, run, report, ground, (RANDOM, OURS), seeds, suffix=", PPO")
    report.claim(
        "On cart-poles that can be balanced, PPO reaches at least as high a return with ALP-GMM as with random tasks.",
        f"{OURS}, PPO",
        f"{RANDOM}, PPO",
        "test_return",
    )
    report.note(
        "PPO on cart-poles: length, push and gravity are the task, and a fixed rule balances fewer than half of them; test tasks are drawn "
        "from these. It is the optional experiment with a real learner: its claim is about the direction, over three seeds."
    )


def walkers(recipe: ALPGMMRecipe, run: Run, report: Report) -> None:
    """Teach SAC to walk on tracks.

    Args:
        recipe: the recipe.
        run: the run.
        report: is filled.
    """
    box, tested, make = HEXAGONS, HEXAGONS, hexagon_tracks
    if recipe.space == "stump-tracks":
        box, tested = (TaskBox(STUMPS.low, (high, STUMPS.high[1]), STUMPS.names) for high in (recipe.highest, recipe.highest_tested))
        box.check(tested.highs)
        make = partial(stump_tracks, box=box)
    generator = np.random.default_rng(0)
    tests = np.array([tested.uniform(generator) for _ in range(recipe.tests)])
    options = recipe.student
    ground = _Ground(
        f"{recipe.space}, {recipe.body} body",
        box,
        partial(make, body=recipe.body),
        tests,
        _WALKERS,
        partial(_sac, options),
        options.steps,
        options.every,
        _MASTERED,
        envs=options.envs,
        subprocess=options.subprocess,
    )
    _compare(recipe, run, report, ground, recipe.teachers, run.seeds)
    report.claim(f"ALP-GMM masters more of {recipe.space} than random tasks.", OURS, RANDOM, "mastered")
    report.note(
        f"Columns: mastered is the share of {recipe.tests} fixed test tasks with a return above {_MASTERED:.0f}, in percent. The paper "
        f"trains for 20 million steps over 32 seeds; this run had {options.steps:,} steps and {len(run.seeds)} seeds for each teacher."
    )


def _ppo(envs: TaughtEnvs, seed: int) -> Any:
    return PPO("MlpPolicy", envs, n_steps=128, batch_size=256, n_epochs=10, learning_rate=1e-3, seed=seed, device="cpu")


def _sac(options: Any, envs: TaughtEnvs, seed: int) -> Any:
    return SAC(
        "MlpPolicy",
        envs,
        learning_rate=options.learning_rate,
        buffer_size=options.replay,
        learning_starts=options.warmup,
        batch_size=options.batch_size,
        tau=0.005,
        gamma=0.99,
        train_freq=options.steps_per_update,
        gradient_steps=options.updates,
        ent_coef=options.entropy,
        policy_kwargs={"net_arch": list(options.hidden)},
        seed=seed,
    )


def _compare(
    recipe: ALPGMMRecipe, run: Run, report: Report, ground: _Ground, names: tuple[str, ...], seeds: tuple[int, ...], suffix: str = ""
) -> None:
    """Train a student under every teacher with every seed, and report returns, curves, pictures and the cost of teaching."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # The matrices are small: threads would cost more than they bring.
    curves: dict[str, list[Any]] = {}
    records: dict[str, Any] = {}
    shares: list[float] = []
    failed = 0
    try:
        for seed in seeds:
            for name in names:
                teacher = recipe.teacher(name, ground.box, seed, recipe.options, ground.span)
                envs = taught(ground.make, teacher, envs=ground.envs, seed=seed, subprocess=ground.subprocess, on_failure=recipe.on_failure)
                rows, seconds = _train(recipe, run, report, ground, envs, f"{name}{suffix}", seed, film=seed == seeds[0] and name == OURS)
                report.add(f"{name}{suffix}", seed, test_return=rows[-1]["return"], mastered=rows[-1]["mastered"])
                curves.setdefault(f"{name}{suffix}", []).append(rows)
                records.setdefault(f"{name}{suffix}", envs.record)
                failed += len(envs.record.failures)
                if name == OURS and seconds > 0:
                    shares.append(100 * envs.teaching / seconds)
                envs.close()
    finally:
        torch.set_num_threads(threads)
    _tell(report, ground, curves, records, shares, failed)


def _train(
    recipe: ALPGMMRecipe, run: Run, report: Report, ground: _Ground, envs: TaughtEnvs, arm: str, seed: int, *, film: bool
) -> tuple[list[dict[str, float]], float]:
    student = ground.build(envs, seed)
    folder = None if run.directory is None else run.directory / f"seed-{seed}" / arm.replace(", ", "-").lower()

    def measure(model: Any) -> dict[str, float]:
        found = returns(model, ground.make, ground.tests, seeds=(seed,), batch=50)
        return {"return": float(found.mean()), "mastered": mastered(found, ground.threshold)}

    if recipe.video and film:
        _film(student, run, report, ground, arm, "before")
    started = time.perf_counter()
    rows = train(
        student,
        ground.steps,
        directory=folder,
        resume=run.resume,
        every=ground.every,
        watch=Watch(measure, ground.every),
        name=f"seed-{seed}/{arm}",
        bar=run.bar,
    )
    seconds = time.perf_counter() - started
    if recipe.video and film:
        _film(student, run, report, ground, arm, "after")
    return rows, seconds


def _film(student: Any, run: Run, report: Report, ground: _Ground, arm: str, when: str) -> None:
    """Film a student on an easy, a middling and a hard test task, and put some pictures of each into the report."""
    if run.directory is None:
        raise OptionError("video needs a run with a directory for its files.")
    order = np.argsort(ground.tests[:, 0], kind="stable")
    strips = {}
    for place in (order[0], order[len(order) // 2], order[-1]):
        env = ground.make(ground.tests[place], render_mode="rgb_array")
        path = run.directory / "videos" / f"{arm.replace(', ', '-').lower()}-{when}-{ground.box.names[0]}-{ground.tests[place][0]:.2f}.mp4"
        video(student, env, path, seed=0, skip=2)
        strips[ground.box.tell(ground.tests[place])] = _strip(student, env)
        env.close()
    report.picture(
        f"The student {when} its training",
        figures.filmstrip(strips),
        f"{arm}, first seed: eight moments of one episode of each of three test tasks, with the parameter '{ground.box.names[0]}' at its "
        "lowest, middle and highest.",
    )


def _strip(student: Any, env: Any, count: int = 8) -> Any:
    predict, over = answers(student), False
    pictures: list[Any] = []
    observation, _ = env.reset(seed=0)
    while not over and len(pictures) < 4000:
        pictures.append(env.render()[::4, ::4])
        observation, _, terminated, truncated, _ = env.step(predict(observation[None])[0])
        over = terminated or truncated
    chosen = np.linspace(0, len(pictures) - 1, count).astype(int)
    return np.stack([pictures[i] for i in chosen]).transpose(0, 3, 1, 2) / 255


def _tell(report: Report, ground: _Ground, curves: dict[str, list[Any]], records: dict[str, Any], shares: list[float], failed: int) -> None:
    axis = [row["step"] for row in next(iter(curves.values()))[0]]
    for key, label in (("return", "return"), ("mastered", "mastered, percent")):
        lines = {arm: np.mean([[row[key] for row in rows] for rows in runs], 0) for arm, runs in curves.items()}
        report.curve(f"Test tasks of {ground.title}: {key}", axis, lines, "environment steps", label)
    report.picture(
        f"Where tasks of {ground.title} are drawn over time",
        drawn_over_time(records, ground.box),
        "Tasks of the first seed, one row per teacher, one column per fifth of its episodes; the lighter a task, the higher its return.",
    )
    if shares:
        report.note(f"ALP-GMM took {np.mean(shares):.2f} % of the time of training on {ground.title} (mean of {len(shares)} trainings).")
    if failed:
        report.note(f"{failed} episodes on {ground.title} failed and were skipped; each is named in its training's record.")
