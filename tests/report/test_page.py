"""The page holds everything, needs nothing from outside, and can be read by everyone."""

from __future__ import annotations

import html.parser
import re

import numpy as np
import pytest

from tutelage import errors
from tutelage.report import Report, figures, page

EVIL = "<script>alert(1)</script>"


class Outline(html.parser.HTMLParser):
    """Collects tags, attributes and unclosed elements."""

    void = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report() -> Report:
    generator = np.random.default_rng(0)
    report = Report("bd-kd", f"Title {EVIL}", (0, 1), config={"train": {"epochs": 3}, "x": EVIL}, wall_seconds=3725)
    for seed in (0, 1):
        for place, arm in enumerate(("teacher", "alone", f"arm {EVIL}")):
            report.add(arm, seed, accuracy=95.0 + place + seed, ece=0.1, size=10.0 ** (4 - place), latency_ms=1.0 + place)
            bins = {"lower": [0, 0.5], "upper": [0.5, 1], "count": [4, 6], "confidence": [0.4, 0.8], "accuracy": [0.5, 0.7]}
            report.reliability(arm, seed, bins)
    report.claim(f"claim {EVIL}", "alone", "teacher", "accuracy")
    report.claim("fails", "alone", "teacher", "accuracy", margin=50)
    report.curve("Accuracy", range(5), {"alone": range(5), "teacher": range(5)}, "epoch", "accuracy (%)")
    report.curve("Loss", range(5), {"alone": range(5)}, "epoch", EVIL)
    images, answers = generator.random((30, 3, 4, 4)), generator.normal(size=(2, 30, 5))
    report.picture("Disagreements", figures.disagreements(images, np.zeros(30, int), answers[0], answers[1]), f"caption {EVIL}")
    report.note(f"note {EVIL}")
    return report


@pytest.fixture(scope="module")
def text(report) -> str:
    return page.render(report)


def test_the_page_is_whole_and_refers_to_nothing_outside(text):
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    for tag, attributes in outline.found:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:image/png;base64,")), (tag, target)
    assert "http" not in text
    assert "@import" not in text
    assert "<script" not in text


def test_names_inside_the_drawings_are_unique_and_found(text):
    outline = Outline()
    outline.feed(text)
    names = [attributes["id"] for _, attributes in outline.found if "id" in attributes]
    assert len(names) == len(set(names))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert used
    assert used <= set(names)


def test_everything_reported_is_on_the_page(text):
    for word in (
        "claims held",
        "✓ held",
        "✗ not held",
        "≥ 50.00",
        "Calibration",
        "What accuracy costs",
        "single-sample latency",
        "1 h 2 min",
    ):
        assert word in text, word
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 7
    assert text.count('role="img"') == 2 + 3 + 2


def test_it_can_be_read_by_everyone(text):
    outline = Outline()
    outline.feed(text)
    tags = [tag for tag, _ in outline.found]
    assert all(attributes.get("alt") for tag, attributes in outline.found if tag == "img")
    assert all(attributes.get("aria-label") for _, attributes in outline.found if attributes.get("role") == "img")
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in outline.found if tag == "th")
    assert tags.count("caption") == tags.count("table") == 2
    assert tags.count("h1") == 1
    assert dict(outline.found)["html"] == {"lang": "en"}
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "#0a0b0c" not in text  # ink follows the page's colour
    assert "currentColor" in text


def test_an_empty_report_still_has_a_page():
    outline = Outline()
    outline.feed(page.render(Report("x", "Nothing yet", (0,))))
    assert outline.open == []


def test_writing_to_a_folder_or_a_file(report, tmp_path):
    assert page.write_page(report, tmp_path / "a") == tmp_path / "a" / "report.html"
    assert page.write_page(report, tmp_path / "b.html") == tmp_path / "b.html"
    assert (tmp_path / "b.html").read_text() == (tmp_path / "a" / "report.html").read_text()


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_library_names_the_extra_and_loses_no_numbers(report, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(errors.MissingExtra, match=r"tutelage\[report\]"):
        page.write_page(report, tmp_path)
    assert report.save(tmp_path) is None
    assert Report.load(tmp_path) == report


def test_pooling_weighs_by_counts():
    bins = {"lower": [0.0, 0.5], "upper": [0.5, 1.0]}
    one = bins | {"count": [0.0, 1.0], "confidence": [0.0, 1.0], "accuracy": [0.0, 1.0]}
    other = bins | {"count": [0.0, 3.0], "confidence": [0.0, 0.6], "accuracy": [0.0, 0.2]}
    merged = page.pooled([one, other])
    assert merged["count"] == [0, 4]
    assert merged["confidence"] == pytest.approx([0, 0.7])
    assert merged["accuracy"] == pytest.approx([0, 0.4])


def test_durations():
    assert [page.duration(s) for s in (0.25, 61, 3600 * 5 + 61)] == ["0.2 s", "1 min 1 s", "5 h 1 min"]


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_disagreements_show_the_most_confident_first():
    torch = pytest.importorskip("torch")
    images = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    student = torch.tensor([[2.0, 0], [5.0, 0], [0, 9.0], [1.0, 0]])
    teacher = torch.tensor([[0, 1.0], [0, 1.0], [0, 1.0], [0, 1.0]])
    figure = figures.disagreements(images, torch.tensor([0, 1, 1, 1]), student, teacher, classes=["cat", "dog"], limit=2)
    assert titles(figure) == ["true dog\nstudent cat ✗\nteacher dog ✓", "true cat\nstudent cat ✓\nteacher dog ✗"]
    same = figures.disagreements(images, torch.tensor([0, 1, 1, 1]), student, student)
    assert "agree on all 4" in same.texts[0].get_text()
    with pytest.raises(errors.OptionError, match="expected images"):
        figures.disagreements(images[:, 0], torch.zeros(4), student, teacher)


def test_costs_that_span_decades_get_a_logarithmic_axis():
    wide = figures.scatter({"a": [(1.0, 90.0)], "b": [(1000.0, 95.0)]})
    narrow = figures.scatter({"a": [(1.0, 90.0)], "b": [(2.0, 95.0)]})
    assert (wide.axes[0].get_xscale(), narrow.axes[0].get_xscale()) == ("log", "linear")
