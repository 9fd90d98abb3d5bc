from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import pytest

from tutelage.environments.security_logs import SecurityLogs
from tutelage.errors import CheckpointError, OptionError
from tutelage.methods.agents.atlas import Atlas
from tutelage.models.chat import Message, Reply, Scripted
from tutelage.models.chat.sections import assemble
from tutelage.recipes.agents import atlas_language
from tutelage.recipes.agents.atlas import ALONE, ARMS, OURS, UNPRUNED, AtlasOptions, AtlasRecipe, PruningOptions, WorldOptions
from tutelage.recipes.agents.atlas_agents import Agents
from tutelage.recipes.agents.atlas_report import FIRST, LAST, MOVED, PER_TOKEN
from tutelage.selection.impact import Pruning
from tutelage.train.run import Run


def test_the_quick_run_shows_the_effect_and_is_taken_up(tmp_path):
    pytest.importorskip("matplotlib")
    recipe = AtlasRecipe().quick()
    report = recipe.run(Run(tmp_path / "run", seeds=(0,), name="atlas"))
    alone, ours = report.values[ALONE], report.values[OURS]
    assert ours["success"][0] >= alone["success"][0] + 20
    assert ours[LAST][0] >= alone[LAST][0] + 20
    assert report.values[UNPRUNED][MOVED][0] >= alone[MOVED][0] + 20
    assert ours[PER_TOKEN][0] > alone[PER_TOKEN][0]
    assert report.curves[0].title == "Success over the stream"
    assert len(report.pictures) == 1
    left = {path.name for path in (tmp_path / "run" / "seed-0").glob("*[!lm]")}
    assert left == {"played.json", "atlas.sqlite", "atlas-no-pruning.sqlite"}  # and what SQLite keeps beside a file that was read

    left = tmp_path / "run" / "seed-0" / "played.json"
    played = json.loads(left.read_text())
    for row in played[OURS]["rows"]:
        row["success"] = 0.0
    left.write_text(json.dumps(played))
    again = recipe.run(Run(tmp_path / "run", seeds=(0,), name="atlas", resume=True))
    assert again.values[OURS]["success"][0] == 0  # read, not played again
    assert not again.claims[0].held
    left.write_text("{half")
    with pytest.raises(CheckpointError, match="damaged"):
        recipe.run(Run(tmp_path / "run", seeds=(0,), name="atlas", resume=True))


def test_a_seed_that_was_killed_half_way_is_played_anew(tmp_path):
    recipe = replace(AtlasRecipe().quick(), tasks=9, transfer=2, arms=(ALONE, OURS))
    first = recipe.played(tmp_path, 3)
    run = Run(tmp_path / "run", seeds=(3,), name="atlas")
    left = tmp_path / "run" / "seed-3" / "atlas.sqlite"
    left.parent.mkdir()
    left.write_bytes((tmp_path / "atlas.sqlite").read_bytes())  # a memory that knows this seed already
    assert recipe._kept(run, 3)[OURS]["rows"] == first[OURS]["rows"]


def test_a_playbook_per_family_runs(tmp_path):
    recipe = replace(AtlasRecipe().quick(), key="family", arms=(ALONE, OURS), tasks=12, transfer=2)
    report = recipe.run(Run(seeds=(0,)))
    assert report.values[OURS][FIRST][0] >= 0


def test_options_are_those_of_the_method():
    assert PruningOptions() == PruningOptions(**asdict(Pruning()))
    assert {field.name for field in fields(PruningOptions)} == {field.name for field in fields(Pruning)}
    method = Atlas(Scripted(str), Scripted(str), **asdict(AtlasOptions()))
    default = Atlas(Scripted(str), Scripted(str))
    for name in ("auto", "paired", "first", "fallback", "escalate"):
        assert getattr(method.router, name) == getattr(default.router, name)
    assert method._history == default._history
    assert vars(method.judge)["samplings"] == vars(default.judge)["samplings"]
    assert (method.judge.spread, method.judge.doubt, method.threshold) == (default.judge.spread, default.judge.doubt, default.threshold)
    assert ARMS[:3] == AtlasRecipe().arms[:3]


def test_arms_and_sizes_that_do_not_fit():
    with pytest.raises(OptionError, match="arms are"):
        replace(AtlasRecipe(), arms=("atlas", "best")).run(Run(seeds=(0,)))
    with pytest.raises(OptionError, match="tasks=3"):
        replace(AtlasRecipe(), tasks=3).run(Run(seeds=(0,)))


@pytest.fixture(scope="module")
def stage():
    logs = SecurityLogs(5, seed=0, devices=8)
    tasks = logs.stream(60, seed=0)
    return logs, tasks


def agents(stage, **world):
    return Agents(*stage, WorldOptions(**world), seed=0)


def said(**sections):
    return (Message("user", assemble(**sections)),)


def test_the_scripted_student_follows_what_it_is_told(stage):
    _, tasks = stage
    one = agents(stage, bonus=4.0)
    task = next(task for task in tasks if task.family == "lure")
    right, wrong = task.chain[0].right.name, task.chain[0].wrong.name

    def share(**more):
        turns = [one.student(said(Task=task.text, Instruction="work", **more)) for _ in range(300)]
        assert all(turn.endswith(f": {task.entity}") for turn in turns)
        return sum(right in turn for turn in turns) / 300

    cue = task.chain[0].phrase
    assert 0.4 < share() < 0.65
    assert share(Pamphlet=f"- when /{cue}/: use {right}") > 0.93
    assert share(Pamphlet=f"- when /another/: use {right}\n- when /(/: use {right}") < 0.65
    assert share(Pamphlet=f"- when /{cue}/: use {wrong}") < 0.15
    assert share(Guidance=f"keep {right}; use x") > 0.93
    assert share(Plan=right) > 0.93
    assert share(Plan=wrong, Guidance=f"use {right}") > 0.93


def test_the_scripted_teacher_errs_as_often_as_it_should(stage):
    _, tasks = stage
    one = agents(stage)
    task = next(task for task in tasks if task.family == "phishing")
    rights = [skill.right.name for skill in task.chain]
    wrong = [json.loads(one.teacher(said(Step=task.text, Trace="", Output=task.answer)))["valid"] for _ in range(1000)]
    assert 0.93 < sum(wrong) / 1000 < 0.97
    sure = agents(stage, teacher_error=0.0)
    trace = f"USE {rights[0]}: x -> y\nUSE {task.chain[1].wrong.name}: y -> z"
    reply = json.loads(sure.teacher(said(Step=task.text, Trace=trace, Output="z")))
    assert reply == {"valid": False, "guidance": f"keep {rights[0]}; use {rights[1]}"}
    assert json.loads(sure.teacher(said(Task=task.text, Plan="\n".join(rights)))) == {"guidance": ""}
    step = json.loads(sure.teacher(said(Step=task.chain[1].wrong.name, Trace=f"Task: {task.text}", Output="z")))
    assert step == {"valid": False, "guidance": f"use {rights[1]}"}


def test_the_scripted_synthesizer_writes_some_bad_entries(stage):
    _, tasks = stage
    one = agents(stage, bad_entry=0.2)
    task = next(task for task in tasks if task.family == "phishing")
    session = assemble(Task=task.text, Reward="0.9", Guidance=f"use {task.chain[0].right.name}")
    written = [json.loads(one.synthesizer(said(Session=session, Entries="[]")))["entries"][0] for _ in range(1000)]
    good = sum(entry["cue"]["pattern"] == r"affected\s+device" and entry["handle"] == "evidence_device" for entry in written)
    assert 0.75 < good / 1000 < 0.85
    assert any(entry["handle"] == "alert_device" for entry in written)
    assert any(entry["cue"]["pattern"].startswith("(") for entry in written)
    assert any(entry["cue"]["pattern"].startswith("Incident 5-") for entry in written)
    failed = assemble(Task=task.text, Reward="0.2", Guidance="use evidence_device")
    assert json.loads(one.synthesizer(said(Session=failed, Entries="[]")))["entries"] == []


def test_every_lane_runs_on_the_database(tmp_path, stage):
    logs, tasks = stage
    recipe = replace(AtlasRecipe(), world=WorldOptions(teacher_error=0.0))
    for lane, least in (("auto", 0.0), ("paired", 0.2), ("coach", 0.2), ("stepwise", 0.6)):
        atlas = recipe.atlas(OURS, agents(stage, teacher_error=0.0), None, seed=0)
        atlas.lane = lane
        rows = recipe.stream(atlas, logs, tasks[:30])
        assert {row.lane for row in rows} == {lane}
        assert sum(row.success for row in rows) / 30 >= least


def test_a_language_model_can_be_the_student(tmp_path, monkeypatch):
    class Small:
        """Names the first query that a hint names, and otherwise says nothing that can be used, as a small model might."""

        def complete(self, conversations, *, sampling=None):
            hints, _, names = conversations[0][-1].content.partition("\nQueries: ")
            names = names.split(", ")
            named = next((name for name in names if name in hints), "")
            return [Reply(f"I would use {named}", prompt_tokens=50, completion_tokens=5)]

    monkeypatch.setattr(atlas_language, "student", Small)
    recipe = replace(AtlasRecipe().quick(), tasks=9, transfer=1, arms=(ALONE, OURS), language_tasks=60)
    report = recipe.run(Run(tmp_path / "run", seeds=(0,), name="atlas"))
    alone, ours = report.values["SmolLM2 alone"], report.values["SmolLM2, atlas"]
    assert alone["unreadable"][0] == 100
    assert ours["unreadable"][0] < 90
    assert ours["success"][0] > alone["success"][0] + 5
    assert alone["student tokens per task"][0] > 55
    assert (tmp_path / "run" / "language" / "atlas.sqlite").exists()
