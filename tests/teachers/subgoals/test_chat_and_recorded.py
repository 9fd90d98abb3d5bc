from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import gymnasium
import minigrid  # noqa: F401
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.environments.rooms import TwoRooms
from tutelage.environments.subgoals import NOWHERE, Subgoal, SubgoalTracker
from tutelage.errors import ChatError, DataError, OptionError
from tutelage.models.chat import Scripted
from tutelage.teachers.subgoals import (
    ChatTeacher,
    Noise,
    Noisy,
    Parsed,
    Recorded,
    Tally,
    oracle,
    parse,
    prompt,
    quality,
    record,
    write_recorded,
)

ANSWER = '[["key", 1, 6], ["locked_door", 8, 4], ["blue ball", 15, 4]]'
CORRIDOR = "MiniGrid-KeyCorridorS3R1-v0"


def corridor(seed=0):
    env = gymnasium.make(CORRIDOR, disable_env_checker=True)
    env.reset(seed=seed)
    return env


def test_the_prompt_shows_grid_legend_and_mission():
    env = corridor()
    text = prompt(env)
    rows = [line[5:].split("|") for line in text.splitlines() if line.startswith("y=")]
    assert [len(row) for row in rows] == [env.unwrapped.width] * env.unwrapped.height
    for (x, y, word), letter in zip(oracle(env), "KLA", strict=True):
        assert rows[y][x][0] == letter, word
    x, y = env.unwrapped.agent_pos
    assert rows[y][x] in (">>", "vv", "<<", "^^")
    assert env.unwrapped.mission in text
    assert "Legend" in text
    assert "blue ball" in prompt(TwoRooms())


@pytest.mark.parametrize(
    "reply",
    [
        ANSWER,
        f"Sure! Here it is:\n```json\n{ANSWER}\n```\nGood luck [1].",
        f"I see [a grid]. {ANSWER}",
        '[{"object": "key", "x": 1, "y": 6}, {"object": "LOCKED door", "x": 8, "y": 4}, {"object": "blue_ball", "x": 15, "y": 4}]',
    ],
)
def test_lists_are_found_wherever_they_stand(reply):
    assert parse(reply, 17, 8) == Parsed((Subgoal(1, 6, "key"), Subgoal(8, 4, "locked_door"), Subgoal(15, 4, "blue_ball")))


@pytest.mark.parametrize("reply", ["", "no idea", "[[1, 2", '{"x": 1}', "[1, 2]", "[" * 5000, '"[[1"'])
def test_replies_without_a_list_are_malformed(reply):
    assert parse(reply, 17, 8) == Parsed((), malformed=True)


def test_entries_are_checked_one_by_one():
    found = parse('[["key", 1, 6], ["key", 1.5, 2], ["key", true, 2], ["x"], [3, 4], ["dragon; rm -rf", 5, 5], ["goal", 17, 0]]', 17, 8)
    assert found == Parsed((Subgoal(1, 6, "key"), Subgoal(3, 4), Subgoal(5, 5), NOWHERE), bad=3, outside=1)
    assert parse("[]", 17, 8) == Parsed(())
    assert parse(json.dumps([["key", 1, 1]] * 100), 17, 8).bad == 36
    assert parse('[["key", NaN, 1], ["key", 1e99, -1]]', 17, 8) == Parsed((), bad=2)


@given(st.text(alphabet='[]{}",:0123456789-xy ekNa\\n', max_size=80))
def test_whatever_is_said_names_only_cells_of_the_grid(reply):
    for subgoal in parse(reply, 5, 4).subgoals:
        assert subgoal == NOWHERE or (0 <= subgoal.x < 5 and 0 <= subgoal.y < 4)


def test_a_scripted_model_teaches_like_the_oracle_and_is_asked_once_per_level():
    asked = []

    def program(messages):
        asked.append(messages[-1].content)
        return ANSWER

    teacher = ChatTeacher(Scripted(program))
    env = SubgoalTracker(TwoRooms(), teacher)
    for seed in range(3):
        env.reset(seed=seed)
        assert env.subgoals == oracle(env)[:2]
    assert len(asked) == 1
    assert teacher.tally == Tally(replies=1)


def test_bad_replies_are_counted_and_never_trusted():
    replies = iter(["sorry, I cannot", "[]", '[["key", 99, 99], ["ball", 200, 1]]', ANSWER, '[["key", 0], ["ball", 15, 4]]'])
    teacher = ChatTeacher(Scripted(lambda _: next(replies)), question=lambda env: f"level {env.unwrapped.asked}")
    world = TwoRooms()
    env = SubgoalTracker(world, teacher, kind="relative")
    counts = []
    for number in range(5):
        world.asked = number
        seen, info = env.reset(seed=number)
        counts.append(info["subgoals"]["of"])
        if not counts[-1]:
            assert not seen["subgoal"].any()
    assert counts == [0, 0, 0, 2, 0]
    assert teacher.tally == Tally(replies=5, malformed=1, empty=2, bad=1, outside=2)


def test_many_levels_are_asked_about_at_once():
    sizes = []

    class Counting(Scripted):
        def complete(self, conversations, *, sampling=None):
            sizes.append(len(conversations))
            return super().complete(conversations, sampling=sampling)

    teacher = ChatTeacher(Counting(lambda _: "[[1, 1], [2, 2]]"))
    env = corridor()
    assert teacher.prepare(env, range(20)).replies == sizes[0]
    for seed in range(20):
        env.reset(seed=seed)
        assert [s[:2] for s in teacher(env, seed, None)] == [(1, 1), (2, 2)]
    assert len(sizes) == 1


def test_replies_that_came_before_a_failure_are_kept():
    class Failing:
        def complete(self, conversations, *, sampling=None):
            said = [Scripted(lambda _: ANSWER).complete([c])[0] for c in conversations[:2]]
            raise ChatError("down", replies=[*said, *[None] * (len(conversations) - 2)])

    teacher = ChatTeacher(Failing())
    with pytest.raises(ChatError, match="down"):
        teacher.prepare(corridor(), range(5))
    assert teacher.tally.replies == 2


def test_what_is_no_chat_model_is_refused():
    with pytest.raises(OptionError, match="expected a chat model"):
        ChatTeacher("gpt")


def test_a_server_is_asked_once_for_ever(tmp_path, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = Path(__file__).parents[2] / "programs" / "chat_server.py"
    found = importlib.util.spec_from_file_location("chat_server", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    with module.ChatServer(lambda prompt: ANSWER) as server:
        spec = f"chat:model?base_url={server.url}&cache={tmp_path / 'replies.sqlite'}"
        for _ in range(2):
            assert [s.text for s in ChatTeacher.named(spec)(TwoRooms(), 0, None)] == ["key", "locked_door", "blue_ball"]
        assert sum(server.answered.values()) == 1


def test_recorded_answers_are_read_back(tmp_path):
    env = corridor()
    rows = record(oracle, env, range(4))
    write_recorded(tmp_path / "answers.json", rows)
    for column in ("positions", "relative"):
        teacher = Recorded(tmp_path / "answers.json", column=column)
        for seed in range(4):
            env.reset(seed=seed)
            assert teacher(env, seed, None) == oracle(env)
        assert (teacher(env, 9, None), teacher.missing) == ([], 1)


def test_nulls_are_counted_and_name_nothing(tmp_path):
    rows = [{"seed": 0, "positions": [[1, 6], None, [15, 4]]}, {"seed": 1, "relative": [[1, 1]], "positions": None}]
    write_recorded(tmp_path / "answers.json", rows)
    teacher = Recorded(tmp_path / "answers.json")
    assert teacher.nulls == 2
    env = SubgoalTracker(TwoRooms(), teacher, levels=2)
    met = {env.reset(seed=seed)[1]["subgoals"]["of"] for seed in range(20)}
    assert met == {0, 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("{}", "are a dict"),
        ('[{"seed": "a"}]', "Row 0"),
        ('[{"seed": 1}, {"seed": 1}]', "Row 1 .* earlier"),
        ('[{"seed": 1, "positions": 3}]', "expected a list"),
        ('[{"seed": 1, "positions": [[1, 2.5]]}]', "whole numbers"),
    ],
)
def test_damaged_recordings_name_the_row(tmp_path, text, said):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(DataError, match=said):
        Recorded(tmp_path / "bad.json")


def test_quality_measures_the_noise_that_was_put_in():
    env = corridor()
    assert quality(oracle, env, range(10)) == Noise(1.0, 0.0, 0.0)
    found = quality(Noisy(oracle, Noise(0.5, 4, 0), "relative"), env, range(300))
    assert found.accuracy == pytest.approx(0.5, abs=0.05)
    assert found.mean == pytest.approx(2, abs=0.2)
    nothing = quality(lambda *_: [], env, range(3))
    assert nothing == Noise(0.0, 0.0, 0.0)


def test_draws_follow_the_seed():
    rows = [record(Noisy(oracle, Noise(0.2, 3, 1), "relative"), corridor(), range(5), seed=seed) for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]
    assert np.array([len(row["positions"]) for row in rows[0]]).tolist() == [3] * 5
