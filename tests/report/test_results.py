"""Published results: read whole, shown without a number typed by hand."""

from __future__ import annotations

import json

import pytest

from tutelage.errors import DataError
from tutelage.report import Report, markdown_page, markdown_table, read_results, write_between_markers, write_result


def result(name: str = "bd-kd", margin: float = 0.0) -> dict:
    report = Report(name, f"Title of {name}", (0, 1), versions={"python": "3.11"}, wall_seconds=90.0)
    for seed in (0, 1):
        report.add("alone", seed, accuracy=90.0 + seed, ece=0.05)
        report.add(name, seed, accuracy=92.0 + seed, ece=0.08)
    report.claim(f"{name} | beats the student alone", name, "alone", "accuracy", margin=margin)
    report.claim("calibrates better", name, "alone", "ece")
    report.note("One sentence why.")
    return report.results()


def test_results_survive_the_disk(tmp_path):
    for name in ("mtard", "bd-kd"):
        assert write_result(result(name), tmp_path) == tmp_path / f"{name}.json"
    found = read_results(tmp_path)
    assert list(found) == ["bd-kd", "mtard"]
    assert found["mtard"] == result("mtard")
    assert read_results(tmp_path / "absent") == {}


def test_damaged_results_are_named(tmp_path):
    file = write_result(result(), tmp_path)
    whole = file.read_text()
    for broken, said in (
        (whole[:50], "cannot be read"),
        ("[1]", "cannot be read"),
        (json.dumps({**json.loads(whole), "arms": []}), "no proper arms"),
        (json.dumps({**json.loads(whole), "claims": [{"text": "x"}]}), r"no proper claims\[0\]"),
    ):
        file.write_text(broken)
        with pytest.raises(DataError, match=said):
            read_results(tmp_path)


def test_the_table_of_methods():
    lines = markdown_table(
        {"bd-kd": result(), "x": result("x", 9)}, families={"bd-kd": "distillation", "other": "self_supervised"}
    ).splitlines()
    assert lines[0] == "| method | family | status | main effect measured | claims held |"
    assert lines[2].startswith(
        "| `bd-kd` | distillation | measured, 2 seeds | bd-kd \\| beats the student alone: +2.00 [+2.00, +2.00], held | 1/2 |"
    )
    assert lines[3] == "| `other` | self supervised | not measured yet | — | — |"
    assert "not held | 0/2 |" in lines[4]
    assert all(line.replace("\\|", "").count("|") == 6 for line in lines)


def test_a_page_shows_all_claims_arms_and_notes():
    text = markdown_page(result())
    for part in (
        "**held**",
        "**not held**",
        "-0.0300",
        "| **92.50 ± 0.71** |",
        "- One sentence why.",
        "seeds 0, 1",
        "1.5 minutes",
        "python 3.11",
    ):
        assert part in text, part
    one = result()
    one["claims"][0]["interval"] = None
    assert "one value" in markdown_page(one)
    assert markdown_table({"y": {**one, "claims": []}}).endswith("| — | 0/0 |")


def test_writing_between_markers(tmp_path):
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    assert write_between_markers(file, "new\n")
    assert file.read_text() == "before\n<!-- results:begin -->\nnew\n<!-- results:end -->\nafter\n"
    assert not write_between_markers(file, "new")
    file.write_text("<!-- results:end --> <!-- results:begin -->")
    with pytest.raises(DataError, match="lacks the lines"):
        write_between_markers(file, "x")
    with pytest.raises(DataError, match="cannot be read"):
        write_between_markers(tmp_path / "absent.md", "x")
