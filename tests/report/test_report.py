"""Reports keep their numbers, check their claims honestly, and survive the disk."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from tutelage.errors import CheckpointError, OptionError
from tutelage.report import Report, lower_is_better


def example(seeds: tuple[int, ...] = (0, 1, 2)) -> Report:
    report = Report("bd-kd", "Balanced divergences", seeds, config={"epochs": 3}, versions={"python": "3.11"}, wall_seconds=61.0)
    for seed in seeds:
        report.add("alone", seed, accuracy=90.0 + seed, ece=0.05, size=1000)
        report.add("bd-kd", seed, accuracy=92.0 + 2 * seed, ece=0.03, size=1000)
    report.curve("Accuracy", range(3), {"alone": [1, 2, 3], "bd-kd": [2, 3, 4]}, "epoch", "accuracy (%)")
    report.reliability("bd-kd", 0, {"lower": [0, 0.5], "upper": [0.5, 1], "count": [0, 4], "confidence": [0, 0.9], "accuracy": [0, 0.75]})
    report.note("A note.")
    return report


def test_claims_are_paired_over_seeds():
    report = example()
    claim = report.claim("better", "bd-kd", "alone", "accuracy")
    assert claim.per_seed == (2.0, 3.0, 4.0)
    assert claim.value == pytest.approx(3.0)
    half = 4.302652729911275 / math.sqrt(3)  # t quantile of 2 degrees of freedom; the differences' deviation is 1
    assert claim.interval == pytest.approx((3 - half, 3 + half))
    assert claim.held
    assert report.claims == [claim]


def test_pairing_takes_only_common_seeds():
    report = Report("x", "x", (0, 1))
    report.add("a", 0, accuracy=1.0)
    report.add("a", 1, accuracy=5.0)
    report.add("b", 1, accuracy=4.0)
    claim = report.claim("only seed 1", "a", "b", "accuracy")
    assert (claim.value, claim.interval) == (1.0, None)
    report.add("c", 7, accuracy=4.0)
    with pytest.raises(OptionError, match="no common seed"):
        report.claim("none", "a", "c", "accuracy")


def test_margins_and_directions():
    report = example()
    assert not report.claim("by five points", "bd-kd", "alone", "accuracy", margin=5).held
    assert report.claim("alone is at most five worse", "alone", "bd-kd", "accuracy", margin=-5).held
    better_calibrated = report.claim("calibrated", "bd-kd", "alone", "ece")
    assert better_calibrated.held
    assert better_calibrated.value == pytest.approx(0.02)
    assert report.claim("raises ece", "bd-kd", "alone", "ece", higher_is_better=True).value == pytest.approx(-0.02)
    assert report.claim("exactly equal", "bd-kd", "alone", "size").held


def test_a_number_that_is_not_finite_never_holds_a_claim(tmp_path):
    report = Report("x", "x", (0,))
    report.add("a", 0, accuracy=math.nan)
    report.add("b", 0, accuracy=1.0)
    assert not report.claim("nan wins", "a", "b", "accuracy", margin=-100).held
    report.save(tmp_path)
    assert "NaN" not in (tmp_path / "report.json").read_text()
    loaded = Report.load(tmp_path)
    assert math.isnan(loaded.values["a"]["accuracy"][0])
    assert math.isnan(loaded.claims[0].value)


def test_checks_of_any_quantity():
    report = example()
    assert report.check("half", [0.5, 0.7], at_least=0.6).held
    assert not report.check("more", [0.5, 0.6], at_least=0.6).held
    with pytest.raises(OptionError, match="no values"):
        report.check("none", [])


def test_unknown_names_offer_the_nearest():
    with pytest.raises(OptionError, match="Did you mean 'bd-kd'"):
        example().mean("bdkd", "accuracy")
    with pytest.raises(OptionError, match="Did you mean 'accuracy'"):
        example().claim("x", "bd-kd", "alone", "acuracy")


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("accuracy", False),
        ("ece", True),
        ("latency_ms", True),
        ("size_bytes", True),
        ("gain", False),
        ("tokens, last third", True),
        ("successes per 1,000 tokens", False),
        ("seconds_per_image", True),
    ],
)
def test_directions_of_metrics(metric, lower):
    assert lower_is_better(metric) is lower


def test_saving_and_loading_changes_nothing(tmp_path):
    report = example()
    report.claim("better", "bd-kd", "alone", "accuracy")
    figure = Figure()
    figure.subplots().plot([1, 2])
    report.picture("A picture: with / marks", figure, "A line.")
    assert report.save(tmp_path) == tmp_path / "report.html"
    assert Report.load(tmp_path) == report
    assert Report.load(tmp_path / "report.json") == report
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["01-a-picture-with-marks.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures", "report.html", "report.json"]


def test_a_damaged_report_is_named(tmp_path):
    example().save(tmp_path)
    whole = (tmp_path / "report.json").read_text()
    for broken in (whole[:200], "[]", "{}", json.dumps(json.loads(whole) | {"arms": 3})):
        (tmp_path / "report.json").write_text(broken)
        with pytest.raises(CheckpointError, match=r"report\.json' is not a whole report"):
            Report.load(tmp_path)
    with pytest.raises(CheckpointError, match="absent"):
        Report.load(tmp_path / "absent")


def test_an_unequal_curve_and_a_false_picture_are_refused(tmp_path):
    with pytest.raises(OptionError, match="'a' has 2 points, its axis has 3"):
        example().curve("c", [1, 2, 3], {"a": [1, 2]})
    (tmp_path / "x.png").write_text("no picture")
    for wrong in (tmp_path / "x.png", tmp_path / "absent.png", 3.5):
        with pytest.raises(OptionError, match="picture 'p'"):
            example().picture("p", wrong, "")


def test_results_have_the_published_form():
    report = example()
    report.claim("better", "bd-kd", "alone", "accuracy")
    found = report.results()
    assert list(found) == ["method", "title", "seeds", "arms", "claims", "versions", "wall_seconds", "config", "notes"]
    assert set(found["claims"][0]) == {"text", "value", "interval", "held"}
    assert found["arms"]["alone"]["accuracy"] == {"0": 90.0, "1": 91.0, "2": 92.0}
    assert json.loads(json.dumps(found)) == found


def printed(table: object, **options: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO(), **options)
    console.print(table)
    return console.export_text(styles=bool(options))


def test_the_table_shows_mean_spread_and_best():
    report = example()
    report.values["bd-kd"]["accuracy"][0] = 91.0  # 91, 94, 96
    plain = printed(report.table())
    assert "91.00 ± 1.00" in plain
    assert "93.67 ± 2.52" in plain
    assert "0.0500" in plain
    assert "ece ↓" in plain
    styled = printed(report.table(), force_terminal=True)
    assert "\x1b[1m 93.67" in styled or "\x1b[1m93.67" in styled
    assert "\x1b[1m91.00" not in styled
    assert "\x1b[1m0.0300" in styled
    assert "\x1b[1m1,000" not in styled  # a tie has no best


def test_the_claims_table_never_hides_failure():
    report = example()
    report.claim("by [five] points", "bd-kd", "alone", "accuracy", margin=5)
    text = printed(report.claims_table())
    assert "by [five] points" in text
    assert "not held" in text
    assert "≥ 5.00" in text


def test_reading_reports_imports_nothing_heavy(tmp_path):
    example().save(tmp_path)
    code = (
        "import sys; from tutelage.report import Report, read_results; r = Report.load(sys.argv[1]); r.table(); r.results();"
        "print([m for m in ('torch', 'matplotlib', 'numpy', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
