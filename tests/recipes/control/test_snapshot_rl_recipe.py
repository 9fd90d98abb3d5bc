import json
from dataclasses import replace

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("matplotlib")
from tutelage.errors import CheckpointError, OptionError
from tutelage.recipes.control.snapshot_rl import (
    BOTH,
    CLASSES,
    PLAIN,
    SNAPSHOTS,
    TRUNCATION,
    SnapshotRLOptions,
    SnapshotRLRecipe,
    StudentOptions,
)
from tutelage.train import Run

TINY = StudentOptions(
    steps=120,
    every=60,
    episodes=1,
    seeds=1,
    widths=(8,),
    batch=16,
    warmup=40,
    options=SnapshotRLOptions(n_clusters=4, snapshot_timesteps=60, truncate_step=20, num_ep=2),
)


def test_the_quick_recipe_shows_the_papers_effect():
    report = SnapshotRLRecipe().quick().run(Run(seeds=range(4), quick=True))
    assert all(claim.held for claim in report.claims)
    assert report.mean(PLAIN, "maze success auc") < 0.1
    assert report.mean(BOTH, "maze success auc") > 0.75
    assert report.mean(BOTH, "maze success auc") >= report.mean(SNAPSHOTS, "maze success auc") + 0.02
    assert report.curves
    assert report.pictures


def test_arms_leave_parts_out():
    options = SnapshotRLOptions(n_clusters=6, truncate_step=25, snapshot_timesteps=100)
    rows = {arm: options.arm(arm) for arm in (PLAIN, SNAPSHOTS, CLASSES, TRUNCATION, BOTH)}
    told = {arm: (row.n_clusters, row.truncate_step, row.snapshot_timesteps) for arm, row in rows.items()}
    assert told == {
        PLAIN: (1, None, 0),
        SNAPSHOTS: (1, None, 100),
        CLASSES: (6, None, 100),
        TRUNCATION: (1, 25, 100),
        BOTH: (6, 25, 100),
    }


@pytest.mark.parametrize("algorithm", ["sac", "td3", "ppo"])
def test_a_run_on_a_simulator_is_taken_up_where_it_stopped(algorithm, tmp_path):
    pytest.importorskip("stable_baselines3")
    recipe = replace(SnapshotRLRecipe().quick(), students=replace(TINY, algorithm=algorithm))
    recipe = replace(recipe, maze=replace(recipe.maze, steps=2000, every=1000))
    report = recipe.run(Run(tmp_path / "run", config={"a": 1}, seeds=(0,)))
    assert report.values[BOTH].keys() >= {"return auc", "final return", "maze success auc"}
    assert len(report.curves) == 2
    assert len(report.pictures) == 2
    folder = tmp_path / "run" / "seed-0"
    assert (folder / "teacher.safetensors").exists()
    kept = (folder / "S3RL.json").read_text()
    (folder / "SnapshotRL.json").unlink()
    again = recipe.run(Run(tmp_path / "run", config={"a": 1}, seeds=(0,), resume=True))
    assert again.values == report.values
    assert (folder / "S3RL.json").read_text() == kept
    (folder / "plain.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"plain.json is damaged"):
        recipe.run(Run(tmp_path / "run", config={"a": 1}, seeds=(0,), resume=True))


def test_a_trained_teacher_on_a_mujoco_task_with_parallel_environments():
    pytest.importorskip("mujoco")
    students = replace(TINY, environment="InvertedPendulum-v5", algorithm="td3", teacher="trained", teacher_steps=80, environments=2)
    recipe = SnapshotRLRecipe().quick()
    report = replace(recipe, students=students, maze=replace(recipe.maze, steps=2000, every=1000)).run(Run(seeds=(0,)))
    assert report.mean(BOTH, "final return") > 0


def test_bad_options_are_refused():
    recipe = SnapshotRLRecipe().quick()
    run = Run(seeds=(0,))
    with pytest.raises(OptionError, match="No arm is called 'STT'"):
        replace(recipe, maze=replace(recipe.maze, arms=(PLAIN, "STT"))).run(run)
    with pytest.raises(OptionError, match="maze lacks 'S3RL'"):
        replace(recipe, maze=replace(recipe.maze, arms=(PLAIN, SNAPSHOTS))).run(run)
    short = replace(recipe, maze=replace(recipe.maze, steps=100, every=100))
    with pytest.raises(OptionError, match="knows MountainCarContinuous-v0 alone"):
        replace(short, students=replace(TINY, environment="Hopper-v5")).run(run)
    with pytest.raises(OptionError, match="path of a CleanRL checkpoint"):
        replace(short, students=replace(TINY, teacher="/no/such/file")).run(run)


def test_the_report_is_ready_for_disk(tmp_path):
    recipe = SnapshotRLRecipe().quick()
    report = replace(recipe, maze=replace(recipe.maze, steps=2000, every=1000)).run(Run(seeds=(0,)))
    report.save(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["claims"]


def test_evaluation_never_uses_snapshots():
    pytest.importorskip("stable_baselines3")
    from tutelage.environments import SnapshotStarts
    from tutelage.methods.control.snapshot_rl import SnapshotRL
    from tutelage.recipes.control import snapshot_rl_students as students

    snapshots = students.teach(TINY, 0, Run(seeds=(0,)))
    model = students.student(TINY, SnapshotRL(snapshot_timesteps=10**6), snapshots, 0)
    watch = students.Evaluations(replace(TINY, episodes=3))
    watch.init_callback(model)
    begun = []
    for env in watch.envs:
        inner = env
        while hasattr(inner, "env"):
            assert not isinstance(inner, SnapshotStarts)
            inner = inner.env
        reset = env.reset
        env.reset = lambda reset=reset, **options: begun.append(reset(**options)) or begun[-1]
    before = model.get_env().get_attr("steps_done")
    assert watch.measure() == watch.measure()
    # The car's own episodes begin at rest at the foot of the mountain.
    assert all(-0.6 <= observation[0] <= -0.4 and observation[1] == 0 for observation, _ in begun)
    assert len(begun) == 6
    assert model.get_env().get_attr("steps_done") == before
