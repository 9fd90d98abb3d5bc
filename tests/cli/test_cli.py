from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tutelage.cli import main
from tutelage.cli.words import shorten
from tutelage.train.options import TrainOptions


def run(capsys, *words: str) -> tuple[int, str, str]:
    """Run the command in this process and return its exit code and what it printed."""
    try:
        code = main(list(words))
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def picture_folder(tmp_path):
    """Two classes of 40 small pictures each, dark and bright, as a folder of classes."""
    generator = np.random.default_rng(0)
    for level, name in ((60, "night"), (190, "day")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(40):
            pixels = generator.integers(level - 50, level + 50, (10, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


FAST = ("--epochs", "3", "--batch-size", "16", "--accelerator", "cpu")


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(name in out for name in ("list", "show", "run", "compare", "distill", "export", "report", "results"))


def test_list_searches_and_speaks_json(capsys):
    assert "hinton" in run(capsys, "list")[1]
    code, out, _ = run(capsys, "list", "calibration", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == ["bd-kd"]
    assert run(capsys, "list", "zebra")[0] == 2


def test_show_has_options_batch_keys_and_reference(capsys):
    code, out, _ = run(capsys, "show", "hinton")
    assert code == 0
    for text in ("--temperature", "1503.02531", "label", "tutelage run hinton --quick"):
        assert text in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lits",), "Did you mean 'list'"),
        (("show", "hintn"), "Did you mean 'hinton'"),
        (("run", "bdkd"), "Did you mean 'bd-kd'"),
        (("distill", "--method", "hintom"), "Did you mean 'hinton'"),
        (("run", "hinton", "--seed", "1", "--seeds", "2"), "not both"),
        (("run", "hinton", "--seeds", "0"), "expected at least 1"),
        (("run", "hinton", "--resume"), "nothing to resume"),
        (("compare",), "Name the methods"),
        (("distill", "--data", "no/such/folder"), "no/such/folder"),
        (("distill", "--data", "digits", "--teacher", "timn:resnet18"), "timm"),
        (("distill", "--data", "digits", "--teacher", "python:nowhere:factory"), "nowhere"),
        (("distill", "--data", "digits", "--student", "tutelage:smal-cnn"), "small-cnn"),
        (("distill", "--data", "digits", "--optimizer", "SDG"), "SGD"),
        (("distill", "--data", "digits", "--view", "crops"), "crop"),
        (("report", "no-such-run"), "no-such-run"),
        (("export", "no-such-run"), "not a finished run"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(capsys, *words)
    assert code == 2
    assert error.startswith("tutelage: ")
    assert message in error
    assert "Traceback" not in error


def test_an_unknown_option_offers_the_nearest(capsys):
    code, out, error = run(capsys, "distill", "--temprature", "3")
    assert code == 2
    assert "temperature" in out + error


def test_debug_shows_the_error_itself(tmp_path):
    from tutelage.errors import OptionError

    with pytest.raises(OptionError):
        main(["show", "hintn", "--debug"])


def test_short_names_are_written_out():
    class Group:
        pass

    from dataclasses import dataclass, field

    @dataclass
    class Outer:
        epochs_of_teacher: int = 1
        train: TrainOptions = field(default_factory=TrainOptions)
        teacher_train: TrainOptions = field(default_factory=TrainOptions)

    words = shorten(
        ["--epochs", "3", "--tensorboard", "--no-tensorboard", "--teacher-train.epochs=4", "--epochs-of-teacher", "2"], [Outer()]
    )
    assert words == [
        "--train.epochs",
        "3",
        "--train.tensorboard",
        "--train.no-tensorboard",
        "--teacher-train.epochs=4",
        "--epochs-of-teacher",
        "2",
    ]


def test_a_folder_of_pictures_is_distilled_shipped_and_reported_without_python(capsys, picture_folder, tmp_path):
    out = tmp_path / "run"
    models = ("--teacher", "tutelage:cnn?widths=8,16", "--student", "tutelage:small-cnn?widths=4", "--data", str(picture_folder))
    code, text, error = run(capsys, "distill", *models, "--out", str(out), *FAST, "--temperature", "2")
    assert code == 0, error
    assert "hinton" in text
    assert json.loads((out / "run.json").read_text())["methods"]["hinton"]["temperature"] == 2.0

    code, text, error = run(capsys, "export", str(out), "--format", "int8", "--out", str(tmp_path / "small.onnx"))
    assert code == 0, error
    assert "int8" in text
    assert (tmp_path / "small.onnx").stat().st_size > 0

    (out / "report.html").unlink()
    assert run(capsys, "report", str(out), "--pictures", str(tmp_path / "pictures-of-the-run"))[0] == 0
    assert (out / "report.html").exists()
    assert "<svg" in (tmp_path / "pictures-of-the-run" / "validation-accuracy.svg").read_text()

    code, _, error = run(capsys, "distill", *models, "--out", str(out), *FAST, "--temperature", "3", "--resume")
    assert code == 2
    assert "methods.hinton.temperature: 2.0, now 3.0" in error
    assert run(capsys, "distill", *models, "--out", str(out), *FAST, "--temperature", "2")[0] == 2
    assert run(capsys, "distill", *models, "--out", str(out), *FAST, "--temperature", "2", "--resume")[0] == 0

    code, _, error = run(
        capsys, "distill", "--teacher", f"run:{out}", "--student", "tutelage:mlp?widths=4", *models[4:], "--out", str(tmp_path / "n"), *FAST
    )
    assert code == 0, error


def test_a_bad_picture_is_named_and_can_be_left_out(capsys, picture_folder, tmp_path):
    (picture_folder / "day" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n half")
    words = ("distill", "--teacher", "tutelage:mlp", "--student", "tutelage:mlp?widths=4", "--data", str(picture_folder), *FAST)
    code, _, error = run(capsys, *words, "--out", str(tmp_path / "a"))
    assert code == 2
    assert "broken.png" in error
    code, _, error = run(capsys, *words, "--out", str(tmp_path / "a"), "--skip-bad", "--no-ship")
    assert code == 0
    assert "1 bad sample" in error


def test_a_table_is_distilled_without_python(capsys, tmp_path):
    generator = np.random.default_rng(0)
    rows = ["height,width,colour,kind"]
    for number in range(120):
        kind = number % 2
        rows.append(
            f"{generator.normal(kind * 3):.3f},{generator.normal():.3f},{'red' if number % 3 else 'blue'},{'tree' if kind else 'bush'}"
        )
    (tmp_path / "plants.csv").write_text("\n".join(rows) + "\n")
    words = ("--teacher", "tutelage:mlp", "--student", "tutelage:mlp?widths=4", "--data", f"{tmp_path}/plants.csv?label=kind")
    code, text, error = run(capsys, "compare", "hinton", "tgeo-kd", *words, "--out", str(tmp_path / "r"), *FAST)
    assert code == 0, error
    assert "tgeo-kd" in text


def test_infinite_learning_rate_stops_with_the_loss_and_the_step(capsys, tmp_path):
    words = ("--teacher", "tutelage:mlp", "--student", "tutelage:mlp?widths=4", "--data", "digits", "--out", str(tmp_path / "r"))
    code, _, error = run(capsys, "distill", *words, *FAST, "--learning-rate", "1e30")
    assert code == 2
    assert "Loss 'ce' of 'teacher' is" in error
    assert "step" in error


def test_a_missing_extra_names_what_to_install(capsys, tmp_path, monkeypatch):
    import importlib

    original = importlib.import_module

    def absent(name, package=None):
        if name.split(".")[0] == "timm":
            raise ImportError("No module named 'timm'")
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    code, _, error = run(capsys, "distill", "--teacher", "timm:resnet18", "--data", "digits", "--out", str(tmp_path / "r"))
    assert code == 2
    assert "pip install 'tutelage[vision]'" in error
