from __future__ import annotations

import json
import sqlite3

import pytest

from tutelage.data.excytin import SEPARATOR, logs, partial_credit, questions
from tutelage.environments.guarded_sql import GuardedSql
from tutelage.errors import DataError

ROW = {
    "context": "A script ran on a machine.",
    "question": "Which file was it?",
    "answer": "probe.ps1",
    "solution": ["The machine was `client-1`.", "The file was `probe.ps1`."],
    "start_alert": 107,
    "end_alert": 51,
    "start_entities": [97],
    "end_entities": [42],
    "shortest_alert_path": [107, 14, 51],
}


def write(path, rows):
    path.write_text(json.dumps(rows, indent=4), encoding="utf-8")
    return path


def test_a_question_set_is_read(tmp_path):
    found = questions(write(tmp_path / "incident_55_qa_incident_o1-ga_c42.json", [ROW, ROW | {"solution": "One step."}]))
    assert len(found) == 2
    one = found[0]
    assert (one.incident, one.answer, one.path, one.start_entities, one.end_alert) == (55, "probe.ps1", (107, 14, 51), (97,), 51)
    assert one.text == "A script ran on a machine. Which file was it?"
    assert len(one.solution) == 2
    assert found[1].solution == ("One step.",)


def test_a_folder_of_sets_is_read_in_order(tmp_path):
    for incident in (5, 38):
        write(tmp_path / f"incident_{incident}_qa_incident_o3_c100.json", [ROW])
    (tmp_path / "README.md").write_text("x")
    assert [question.incident for question in questions(tmp_path)] == [38, 5]


def test_a_bare_question_is_enough(tmp_path):
    found = questions(write(tmp_path / "incident_5_qa.json", [{"question": "Who?", "answer": "me"}]))[0]
    assert (found.text, found.solution, found.path) == ("Who?", (), ())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROW | {"answer": ""}], "Question 0 .* has no text 'answer'"),
        ([ROW, {"answer": "x"}], "Question 1 .* has no text 'question'"),
        ([ROW | {"solution": [1]}], "'solution' that is no list of texts"),
        ([ROW | {"end_entities": ["x"]}], "no numbers"),
        ([ROW | {"start_alert": None}], "no numbers"),
        (["x"], "is a str"),
        ([], "holds no list of questions"),
        ({"a": 1}, "holds no list of questions"),
    ],
)
def test_damaged_sets_are_named(tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        questions(write(tmp_path / "incident_5_qa.json", rows))


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="does not say its incident"):
        questions(write(tmp_path / "questions.json", [ROW]))
    (tmp_path / "incident_5_qa.json").write_text("{half")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        questions(tmp_path / "incident_5_qa.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no question sets"):
        questions(tmp_path / "empty")


def test_exact_answers(tmp_path):
    one = questions(write(tmp_path / "incident_5_qa.json", [ROW]))[0]
    assert one.exact(" Probe.PS1 ") == 1
    assert one.exact("The file was probe.ps1, on client-1") == 1
    assert one.exact("probe.exe") == 0
    assert one.exact("") == 0
    assert one.exact(", ".join(["probe.ps1", *map(str, range(20))])) == 0


def test_partial_credit_decays_from_the_answer_backwards():
    assert partial_credit([False, False, True]) == 1
    assert partial_credit([False, True, False]) == pytest.approx(0.4)
    assert partial_credit([True, False, False]) == pytest.approx(0.16)
    assert partial_credit([True, True, True, False]) == pytest.approx(0.4 + 0.16 + 0.064)
    assert partial_credit([True, True, True, False], decay=0.9) == 1.0
    assert partial_credit([]) == 0


def incident(folder):
    """A folder in the benchmark's layout: tables as one file, and as a folder of parts, with their types."""
    text = SEPARATOR.join
    (folder / "SigninLogs.csv").write_text(
        "\ufeff" + "\n".join([text(["Time", "User"]), text(["2024-07-10", "a, b"]), text(["2024-07-11", '"say ""x"" ❖ y"'])]) + "\n",
        encoding="utf-8",
    )
    (folder / "SigninLogs.meta").write_text(json.dumps({"Time": "datetime", "User": "string"}))
    (folder / "SecurityAlert").mkdir()
    for part in range(2):
        (folder / "SecurityAlert" / f"SecurityAlert_{part}.csv").write_text(f"Id{SEPARATOR}Name\n{part}{SEPARATOR}alert {part}\n")
    (folder / "SecurityAlert" / "SecurityAlert_0.meta").write_text(json.dumps({"Id": "long", "Name": "dynamic"}))
    (folder / "LAQueryLogs.csv").write_text("x\n1\n")
    (folder / "._SigninLogs.csv").write_text("resource fork")
    (folder / "Usage.csv").write_text(f"Quantity{SEPARATOR}Unit\n1{SEPARATOR}MB\n")
    return folder


def test_logs_become_a_database(tmp_path):
    folder = tmp_path / "incident_5"
    folder.mkdir()
    assert logs(incident(folder), tmp_path / "logs.sqlite") == ["SecurityAlert", "SigninLogs", "Usage"]
    sql = GuardedSql(tmp_path / "logs.sqlite")
    assert sql.query("SELECT User FROM SigninLogs ORDER BY Time").rows == (("a, b",), ('say "x" ❖ y',))
    assert sql.query("SELECT Name, Id FROM SecurityAlert ORDER BY Id DESC").rows == (("alert 1", "1"), ("alert 0", "0"))
    assert "SecurityAlert(Id, Name)" in sql.schema


def test_damaged_logs_are_named_and_leave_nothing(tmp_path):
    folder = tmp_path / "incident_5"
    folder.mkdir()
    with pytest.raises(DataError, match="has no logs"):
        logs(folder, tmp_path / "logs.sqlite")
    (incident(folder) / "SigninLogs.csv").write_text(f"Time{SEPARATOR}User\n1{SEPARATOR}a\n2\n")
    with pytest.raises(DataError, match=r"Row 3 of .*SigninLogs.csv' has 1 columns, 2 belong there"):
        logs(folder, tmp_path / "logs.sqlite")
    (folder / "SigninLogs.csv").write_bytes(b"Time\xe2\x9d\x96User\n1\xe2\x9d\x96\xff\n")
    with pytest.raises(DataError, match="is damaged"):
        logs(folder, tmp_path / "logs.sqlite")
    (folder / "SigninLogs.meta").write_text("{")
    with pytest.raises(DataError, match=r"SigninLogs.meta' cannot be read"):
        logs(folder, tmp_path / "logs.sqlite")
    assert not (tmp_path / "logs.sqlite").exists()
    assert sqlite3.sqlite_version
