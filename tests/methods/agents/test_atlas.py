from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import signal
import time

import pytest

from tutelage.errors import BudgetError, ChatError, OptionError, StoreError
from tutelage.evaluate.judges import Judgement
from tutelage.methods.agents.atlas import Atlas
from tutelage.models.chat import Reply, Scripted
from tutelage.models.chat.agent import ToolAgent
from tutelage.models.chat.sections import sections
from tutelage.selection.learning_memory import BLOCKED, FAILURE, SESSION, USAGE
from tutelage.store.memory import Memory

ENTRY = {"cue": {"kind": "regex", "pattern": "sum"}, "imperative": "use add", "handle": "add"}
TOOLS = {"add": lambda given: str(sum(map(int, given.split("+"))))}


class World:
    """All roles as programs: a student that is right once it is told, a teacher that knows, judges that agree."""

    def __init__(self, proposal=None, score=None):
        self.asked = {role: [] for role in ("student", "teacher", "judge", "arbiter", "synthesizer", "probe")}
        self.proposal = proposal or {"student": "use add for a sum", "teacher": "be strict", "entries": [ENTRY]}
        self.score = score
        self.broken = {}

    def role(self, name):
        def program(messages):
            self.asked[name].append(sections(messages[0].content))
            if name in self.broken:
                raise self.broken[name]
            said = getattr(self, name)(self.asked[name][-1], messages)
            return said if isinstance(said, str) else json.dumps(said)

        return Scripted(program)

    def student(self, said, messages):
        if "Write the plan" in said["Instruction"]:
            return "add them"
        if "use add" not in said.get("Pamphlet", "") + said.get("Guidance", ""):
            return "ANSWER: 7"
        return "USE add: 1+2" if len(messages) == 1 else f"ANSWER: {messages[-1].content}"

    def teacher(self, said, messages):
        if "Output" not in said:
            return {"guidance": "use add"}
        return {"valid": said["Output"] == "3", "guidance": "use add"}

    def judge(self, said, messages):
        right = 0.9 if said["Answer"] == "3" else 0.1
        return {"score": right if self.score is None else self.score, "uncertainty": 0.1}

    arbiter = judge

    def synthesizer(self, said, messages):
        return self.proposal

    def probe(self, said, messages):
        return {"lane": None, "confidence": 0.9}

    def atlas(self, memory, **options):
        roles = {name: self.role(name) for name in ("judge", "arbiter", "synthesizer")}
        return Atlas(ToolAgent(self.role("student"), TOOLS), self.role("teacher"), memory=memory, **(roles | options))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_one_session_teaches_the_next(tmp_path):
    world = World()
    atlas = world.atlas(tmp_path / "m.sqlite", probe=world.role("probe"))
    first = atlas.solve("the sum of 1 and 2", family="sums")
    assert (first.route.lane, first.route.why, first.answer, first.attempts) == ("paired", "no history", "3", 2)  # facts 1 and 4
    assert first.guidance == ("use add",)
    assert world.asked["probe"] == []
    assert first.reward == pytest.approx(0.9)
    assert (first.hits, first.adopted) == ((), ())  # the playbook was empty
    second = atlas.solve("the sum of 1 and 2", family="sums")
    assert (second.route.lane, second.answer, second.attempts) == ("auto", "3", 1)
    assert len(second.hits) == len(second.adopted) == 1
    assert second.usage["student"].tokens < first.usage["student"].tokens
    assert world.asked["student"][-1]["Pamphlet"] == "use add for a sum"
    book, history = atlas.recall("default")
    assert book.impacts[second.hits[0]].adoptions == 1
    assert history.rewards == (pytest.approx(0.9), pytest.approx(0.9))
    assert set(world.asked["probe"][0]) == {"Task", "History", "Instruction"}


def test_what_every_role_sees(tmp_path):
    world = World()
    atlas = world.atlas(tmp_path / "m.sqlite", lane="coach")
    atlas.solve("the sum of 1 and 2")
    evidence = world.asked["judge"][0]
    assert {"Task", "Lane", "Plan", "Trace", "Answer", "Teacher_intervened"} <= set(evidence)
    assert (evidence["Lane"], evidence["Plan"], evidence["Teacher_intervened"]) == ("coach", "add them", "yes")
    assert evidence["Trace"] == "USE add: 1+2 -> 3"
    written = world.asked["synthesizer"][0]
    assert sections(written["Session"])["Guidance"] == "use add"
    assert "rewards" in written["History"]
    assert written["Tools"] == "add"
    atlas.solve("the sum of 1 and 2")
    assert world.asked["teacher"][-1]["Teacher_pamphlet"] == "be strict"
    assert json.loads(world.asked["synthesizer"][1]["Entries"])[0]["handle"] == "add"


def test_usage_is_counted_by_role_and_kept(tmp_path):
    world = World()
    atlas = world.atlas(tmp_path / "m.sqlite", transcript=tmp_path / "log.jsonl")
    sessions = [atlas.solve("the sum of 1 and 2") for _ in range(3)]
    assert set(sessions[0].usage) == {"student", "teacher", "judge", "synthesizer"}
    assert sessions[0].usage["judge"].calls == 3
    kept = atlas.memory.memory.counters(USAGE)
    for role in sessions[0].usage:
        total = sum(session.usage[role].calls for session in sessions if role in session.usage)
        assert kept[role]["calls"] == total
        assert kept[role]["prompt_tokens"] == sum(s.usage[role].prompt_tokens for s in sessions if role in s.usage)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) == sum(amounts["calls"] for amounts in kept.values())


def test_frozen_the_memory_keeps_every_byte(tmp_path):  # fact 9
    path, world = tmp_path / "m.sqlite", World()
    learning = world.atlas(path)
    for _ in range(3):
        learning.solve("the sum of 1 and 2")
    learning.memory.memory.close()
    before = digest(path)
    with Memory(path) as shared:
        for memory in (path, shared):
            frozen = world.atlas(memory, update_enabled=False)
            answers = [frozen.solve(f"the sum of 1 and 2, number {i}") for i in range(3)]
            assert {session.answer for session in answers} == {"3"}
            assert all(session.attempts == 1 for session in answers)
    world.broken["student"] = ChatError("down")
    frozen = world.atlas(path, update_enabled=False)
    with pytest.raises(ChatError):
        frozen.solve("x")
    assert digest(path) == before
    with pytest.raises(StoreError, match="no memory"):
        world.atlas(tmp_path / "absent.sqlite", update_enabled=False)


def test_frozen_it_is_deterministic(tmp_path):
    world = World()
    world.atlas(tmp_path / "m.sqlite").solve("the sum of 1 and 2")
    runs = []
    for _ in range(2):
        frozen = world.atlas(tmp_path / "m.sqlite", update_enabled=False)
        runs.append([frozen.solve(f"sum {i}") for i in range(3)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "bad",
    [
        ENTRY | {"cue": {"kind": "regex", "pattern": "(sum"}},
        ENTRY | {"handle": "rm -rf"},
        ENTRY | {"imperative": ""},
        "not an entry",
    ],
)
def test_a_blocked_proposal_leaves_the_pamphlet(tmp_path, bad):  # fact 5
    world = World()
    atlas = world.atlas(tmp_path / "m.sqlite")
    atlas.solve("the sum of 1 and 2")
    world.proposal = {"student": "nonsense", "teacher": "", "entries": [ENTRY, bad]}
    session = atlas.solve("the sum of 1 and 2")
    assert "blocked" in session.faults[0]
    assert atlas.recall("default")[0].student == "use add for a sum"
    assert atlas.memory.memory.count(BLOCKED) == 1


@pytest.mark.parametrize("reply", ["sorry", "{}", ""])
def test_an_unreadable_synthesizer_leaves_the_playbook(tmp_path, reply):
    world = World()
    atlas = world.atlas(tmp_path / "m.sqlite")
    atlas.solve("the sum of 1 and 2")
    before = atlas.recall("default")[0].student
    world.proposal = reply or " "
    session = atlas.solve("the sum of 1 and 2")
    assert "stays as it was" in session.faults[0]
    assert atlas.recall("default")[0].student == before
    assert atlas.memory.memory.count(SESSION) == 2
    assert "stays as it was" in atlas.memory.memory.events(FAILURE)[0].value["what"]


@pytest.mark.parametrize("role", ["teacher", "judge", "arbiter", "synthesizer", "probe"])
def test_roles_that_time_out_cost_no_work(tmp_path, role):
    world = World()
    options = {"probe": world.role("probe")} if role == "probe" else {}
    if role == "arbiter":
        world.score = 2.0  # unreadable, so that the arbiter is called
    atlas = world.atlas(tmp_path / "m.sqlite", **options)
    atlas.solve("the sum of 1 and 2")
    world.broken[role] = ChatError("timed out")
    session = atlas.solve("the sum of 1 and 2")
    assert session.answer == "3"
    assert atlas.memory.memory.count(SESSION) == 2
    if role == "probe":
        assert (session.route.lane, "timed out" in session.route.why) == ("paired", True)
    elif role == "teacher":
        assert session.route.lane in ("auto", "paired")
    else:
        assert session.faults
        assert session.usage[role].failed


def test_a_session_without_a_reward_changes_no_statistics(tmp_path):
    world = World()
    world.broken |= {"judge": ChatError("down"), "arbiter": ChatError("down")}
    atlas = world.atlas(tmp_path / "m.sqlite")
    session = atlas.solve("the sum of 1 and 2")
    assert session.reward is None
    assert "No judge" in session.faults[0]
    assert atlas.recall("default")[0].impacts == {}


@pytest.mark.parametrize("error", [ChatError("timed out"), BudgetError("over")])
def test_a_student_that_is_lost_keeps_the_work_done(tmp_path, error):
    world = World()
    atlas = world.atlas(tmp_path / "m.sqlite")
    atlas.solve("the sum of 1 and 2")
    world.broken["student"] = error
    with pytest.raises(type(error)):
        atlas.solve("the sum of 1 and 2")
    memory = Memory(tmp_path / "m.sqlite")
    assert memory.count(SESSION) == 1
    assert "cannot be reached" in memory.events(FAILURE)[0].value["what"]
    assert memory.counters(USAGE)["student"]["failed"] == 1
    del world.broken["student"]
    assert world.atlas(tmp_path / "m.sqlite").solve("the sum of 1 and 2").attempts == 1  # the playbook is there


def test_what_models_say_is_data(tmp_path):
    evil = "'; DROP TABLE records; -- \x00 \ud800 {task} ../../etc %s"
    world = World(proposal={"student": evil, "teacher": evil, "entries": [ENTRY | {"imperative": evil}]})
    atlas = world.atlas(tmp_path / "m.sqlite", key=evil)
    atlas.solve(f"the sum of 1 and 2 {evil}", family=evil)
    session = atlas.solve("the sum", family=evil)
    book, _ = atlas.recall(evil)
    assert (book.student, book.teacher, book.entries[0].imperative) == (evil.strip(), evil.strip(), evil.strip())
    assert session.hits == (book.entries[0].id,)
    assert "\\x00" in " ".join(atlas.report().notes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.sqlite", "m.sqlite-shm", "m.sqlite-wal"]


def test_a_busy_cue_of_a_model_is_bounded(tmp_path):
    slow = ENTRY | {"cue": {"kind": "regex", "pattern": r"(\w+\s?)+(\w+\s?)+!$"}}
    world = World(proposal={"student": "use add", "teacher": "", "entries": [slow]})
    atlas = world.atlas(tmp_path / "m.sqlite")
    atlas.solve("the sum")
    assert atlas.solve("sum " * 5000).hits == ()


def test_learning_keys_are_apart(tmp_path):
    world = World()
    atlas = world.atlas(tmp_path / "m.sqlite")
    atlas.solve("the sum of 1 and 2", key="a")
    assert atlas.solve("the sum of 1 and 2", key="b").route.why == "no history"
    assert atlas.solve("the sum of 1 and 2", key="a").attempts == 1


def test_rewards_and_judges_of_ones_own(tmp_path):
    world = World()
    atlas = world.atlas(tmp_path / "a.sqlite", reward=lambda task, answer: float(answer == "3"))
    assert atlas.solve("the sum of 1 and 2").reward == 1.0
    assert world.asked["judge"] == []
    atlas = world.atlas(tmp_path / "b.sqlite", judge=lambda evidence: Judgement(0.25))
    assert atlas.solve("the sum of 1 and 2").reward == 0.25
    with pytest.raises(OptionError, match="reward of an answer is 2"):
        world.atlas(None, reward=lambda task, answer: 2).solve("x")


def test_lanes_as_options(tmp_path):
    world = World()
    for lane, attempts, checks in (("auto", 1, 0), ("paired", 2, 1), ("coach", 1, 2), ("stepwise", 1, 2)):
        world.asked["teacher"].clear()
        session = world.atlas(None, lane=lane).solve("the sum of 1 and 2")
        assert (session.route.lane, session.attempts, len(world.asked["teacher"])) == (lane, attempts, checks)
        assert session.answer == ("7" if lane == "auto" else "3")


def test_without_memory_nothing_is_learned():
    world = World()
    atlas = world.atlas(None)
    assert [atlas.solve("the sum of 1 and 2").attempts for _ in range(3)] == [2, 2, 2]
    with pytest.raises(OptionError, match="Without a memory"):
        atlas.report()


def test_two_chat_models_are_enough(tmp_path):
    world = World()
    asked = []

    def teacher(messages):
        said = sections(messages[0].content)
        asked.append(said)
        if "student" in said["Instruction"] and "pamphlet" in said["Instruction"]:
            return json.dumps({"student": "say 3: use add", "teacher": "", "entries": []})
        return json.dumps({"valid": said.get("Output") == "3", "guidance": "use add", "score": 0.9, "uncertainty": 0.0})

    atlas = Atlas(Scripted(lambda m: "3" if "use add" in m[0].content else "7"), Scripted(teacher), memory=tmp_path / "m.sqlite")
    assert atlas.solve("1 + 2?").answer == "3"
    assert atlas.solve("1 + 2?").attempts == 1
    report = atlas.report()
    assert report.values["lane paired"]["sessions"][0] == 1
    assert report.values["teacher"]["calls"][0] >= 1
    assert world


def test_the_report_says_what_was_taught(tmp_path):
    world = World()
    atlas = world.atlas(tmp_path / "m.sqlite")
    for i in range(12):
        atlas.solve(f"the {'sum' if i % 2 else 'total'} of 1 and 2", family=str(i % 2))
    report = atlas.report()
    taught = next(note for note in report.notes if note.startswith("After session 1,"))
    assert "'use add' with add, when regex 'sum' is found" in taught
    assert "Found in 6 of 11 sessions, used with success in 6" in taught
    assert "0.90 with it, 0.90 without" in taught
    assert [curve.title for curve in report.curves] == ["Reward", "Tokens per session", "Lanes"]
    assert sum(report.values[lane]["sessions"][0] for lane in report.values if lane.startswith("lane")) == 12
    assert report.claims[1].held  # fewer tokens
    report.save(tmp_path / "report")
    assert (tmp_path / "report" / "report.json").exists()
    with pytest.raises(OptionError, match="no session under the key 'other'"):
        atlas.report(key="other")


def _child(path, number):
    atlas = World().atlas(path)
    for i in range(5):
        atlas.solve(f"the sum of 1 and 2, {number} {i}")


def test_processes_share_one_playbook(tmp_path):
    path = tmp_path / "m.sqlite"
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(path, number)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    atlas = World().atlas(path)
    book, _ = atlas.recall("default")
    assert atlas.memory.memory.count(SESSION) == 15
    assert len(book.active) == 1
    assert book.impacts[book.active[0].id].sessions >= 10


def _endless(path):
    atlas = World().atlas(path)
    for i in range(100_000):
        atlas.solve(f"the sum of 1 and 2, {i}")


def test_kills_at_any_moment_leave_a_playbook_to_go_on_with(tmp_path):
    path, moments, before = tmp_path / "m.sqlite", random.Random(0), 0
    context = multiprocessing.get_context("fork")
    for _ in range(6):
        child = context.Process(target=_endless, args=(path,))
        child.start()
        time.sleep(moments.uniform(0.05, 0.5))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        if path.exists():
            atlas = World().atlas(path)
            (book, _), sessions = atlas.recall("default"), atlas.memory.memory.count(SESSION)
            calls = atlas.memory.memory.counters(USAGE).get("judge", {"calls": 0})["calls"]
            assert calls == 3 * sessions  # a session and what it used are written together
            assert all(impact.sessions < sessions for impact in book.impacts.values())
            assert sessions >= before
            before = sessions
            atlas.memory.memory.close()
    assert before > 0
    assert World().atlas(path).solve("the sum of 1 and 2").answer == "3"


def test_corrupt_memories_are_refused_and_left(tmp_path):
    path = tmp_path / "m.sqlite"
    path.write_bytes(b"SQLite format 3\x00" + bytes(200))
    before = digest(path)
    with pytest.raises(StoreError, match="something else"):
        World().atlas(path)
    assert digest(path) == before


def test_options_that_do_not_fit():
    with pytest.raises(OptionError, match="Without a teacher"):
        Atlas(Scripted(str), None)
    with pytest.raises(OptionError, match="lane is 'fast'"):
        Atlas(Scripted(str), Scripted(str), lane="fast")
    assert Atlas(Scripted(lambda m: "yes"), None, lane="auto").solve("t").answer == "yes"
    assert Reply
