from __future__ import annotations

from collections import Counter

import pytest

from tutelage.environments.security_logs import FAMILIES, INCIDENTS, QUERIES, SKILLS, SecurityLogs
from tutelage.errors import DataError, OptionError


@pytest.fixture(scope="module")
def logs():
    return SecurityLogs(5, seed=3)


def test_two_incidents_share_four_of_six_families():
    assert [len(families) for families in INCIDENTS.values()] == [6, 6]
    assert len(set(INCIDENTS[5]) & set(INCIDENTS[55])) == 4


def test_chains_have_two_to_four_links_that_fit():
    assert {len(family.chain) for family in FAMILIES.values()} == {2, 3, 4}
    for family in FAMILIES.values():
        kind = family.takes
        for name in family.chain:
            skill = SKILLS[name]
            assert skill.right.takes == skill.wrong.takes == kind
            assert skill.right.gives == skill.wrong.gives
            assert skill.phrase in family.text
            kind = skill.right.gives


@pytest.mark.parametrize("incident", [5, 55])
def test_every_task_has_an_answer_and_every_wrong_turn_misses_it(incident):
    logs = SecurityLogs(incident, seed=1)
    for family in logs.families:
        chain = FAMILIES[family].chain
        for entity in logs.starts[FAMILIES[family].takes]:
            task = logs.task(family, 0, entity)
            assert task.answer == task.values[-1]
            for place in range(len(chain)):
                turned = tuple((SKILLS[name].wrong if i == place else SKILLS[name].right).name for i, name in enumerate(chain))
                assert logs.follow(entity, turned)[place] not in ("", task.values[place])


def test_wrong_queries_cost_more(logs):
    task = logs.stream(6, seed=0)[0]
    entity = task.entity
    for skill, value in zip(task.chain, task.values, strict=True):
        right, wrong = (logs.run(query.name, entity) for query in (skill.right, skill.wrong))
        assert right.value == value
        assert len(right.rows) <= 2
        assert len(wrong.text().split()) > 5 * len(right.text().split())
        entity = value


def test_ten_tables_that_can_only_be_read(logs):
    assert len(logs.sql.schema.splitlines()) == 10
    assert logs.sql.query("DELETE FROM alerts").error
    assert logs.sql.query("SELECT count(*) FROM alerts").value == "40"


def test_a_stream_is_a_function_of_its_seed(logs):
    tasks = logs.stream(60, seed=1)
    assert tasks == SecurityLogs(5, seed=3).stream(60, seed=1)
    assert tasks != logs.stream(60, seed=2)
    assert Counter(task.family for task in tasks) == dict.fromkeys(INCIDENTS[5], 10)
    assert tasks[7].text.startswith("Incident 5-007. ")
    other = SecurityLogs(55, seed=3)
    assert not set(other.starts["device"]) & set(logs.starts["device"])


def test_tools_take_an_entity_or_the_latest_value(logs):
    task = next(task for task in logs.stream(6, seed=0) if task.family == "malware")
    tools = logs.tools(task)
    assert set(tools) == set(QUERIES)
    assert tools["blocked_file"]("") == "(no rows)"  # no device is known yet
    for skill, value in zip(task.chain, task.values, strict=True):
        assert tools[skill.right.name]("").split("\n")[0] == value
    assert tools["evidence_device"]("' OR 1=1 --") == "(no rows)"
    assert tools["evidence_device"](task.entity).split("\n")[0] == task.values[0]


def test_what_does_not_exist(logs):
    with pytest.raises(OptionError, match="incident is 7"):
        SecurityLogs(7)
    with pytest.raises(OptionError, match="devices is 2"):
        SecurityLogs(5, devices=2)
    with pytest.raises(OptionError, match="No query is called"):
        logs.run("drop", "x")
    with pytest.raises(DataError, match="has no answer"):
        logs.task("malware", 0, "nobody")
