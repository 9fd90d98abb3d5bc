from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console
from torch import nn

import tutelage
from tutelage import models
from tutelage.data import Arrays
from tutelage.errors import CheckpointError, DataError, OptionError, ShapeError, SpecError
from tutelage.recipes import own, roles, trained
from tutelage.train import TrainOptions

TRAIN = TrainOptions(epochs=6, batch_size=32, learning_rate=0.1, accelerator="cpu")
QUIET = Console(file=io.StringIO())


def stripes(classes: int = 3, count: int = 240) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of 8x8 whose class is the row band that is bright."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(count) % classes
    x = 0.4 * torch.rand(count, 1, 8, 8, generator=generator)
    for row in range(count):
        x[row, 0, 2 * y[row] : 2 * y[row] + 2] += 0.5
    return x, y


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 3))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One distillation by specifications, shipped, with its directory and report."""
    out = tmp_path_factory.mktemp("own") / "run"
    report = tutelage.distill("tutelage:mlp?widths=64", "tutelage:mlp?widths=8", stripes, train=TRAIN, out=out, console=QUIET)
    return out, report


def test_it_leaves_a_report_a_page_and_files_to_ship(finished):
    out, report = finished
    arms = {"teacher", "student alone", "hinton", "hinton, onnx", "hinton, int8"}
    assert set(report.values) == arms
    assert report.mean("teacher", "accuracy") > 90
    assert report.mean("hinton", "accuracy") > 60  # 33 by chance
    assert report.mean("hinton, onnx", "accuracy") == report.mean("hinton", "accuracy")
    for name in ("report.html", "report.json", "student.onnx", "student-int8.onnx", "student.safetensors", "student.json", "run.json"):
        assert (out / name).stat().st_size > 0, name
    assert tutelage.Report.load(out).values == report.values


def test_a_finished_run_taken_up_again_gives_the_same_numbers(finished):
    out, report = finished
    again = tutelage.distill("tutelage:mlp?widths=64", "tutelage:mlp?widths=8", stripes, train=TRAIN, out=out, resume=True, console=QUIET)
    for arm in ("teacher", "student alone", "hinton"):
        for metric in ("accuracy", "nll", "ece"):
            assert again.mean(arm, metric) == report.mean(arm, metric)


def test_the_student_of_a_run_is_a_model_like_any_other(finished):
    out, report = finished
    data = tutelage.data.load(stripes)
    student = roles.build(f"run:{out}", data, role="teacher")
    logits = student(data.test.gather()["input"])
    accuracy = float((logits.argmax(1) == data.test.labels).float().mean() * 100)
    assert accuracy == pytest.approx(report.mean("hinton", "accuracy"))


def test_a_damaged_student_is_refused(finished, tmp_path):
    out, _ = finished
    for name in ("student.json", "student.safetensors"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    (tmp_path / "student.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="missing, truncated or altered"):
        trained.load(tmp_path, "student")
    with pytest.raises(SpecError, match="not a finished run"):
        trained.load(tmp_path / "nowhere", "student")


def test_a_student_of_other_data_is_refused(finished):
    other = tutelage.data.load(lambda: (torch.rand(60, 1, 8, 8), torch.arange(60) % 2))
    with pytest.raises(OptionError, match="in 3 classes"):
        roles.build(f"run:{finished[0]}", other, role="teacher")


def test_live_modules_are_taken_as_they_are_and_the_student_is_trained_in_place():
    torch.manual_seed(0)
    teacher, student = net(64), net(4)
    before = student[1].weight.clone()
    report = tutelage.distill(teacher, student, stripes, train_teacher=True, train=TRAIN, console=QUIET)
    assert not torch.equal(before, student[1].weight)
    data = tutelage.data.load(stripes)
    accuracy = float((student.eval()(data.test.gather()["input"]).argmax(1) == data.test.labels).float().mean() * 100)
    assert accuracy == pytest.approx(report.mean("hinton", "accuracy"))


def test_a_fitted_classifier_of_scikit_learn_teaches():
    from sklearn.ensemble import RandomForestClassifier

    x = torch.rand(300, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > x[:, 1]).long()
    teacher = RandomForestClassifier(20, random_state=0).fit(x.numpy(), y.numpy())
    train = TrainOptions(epochs=15, batch_size=32, learning_rate=0.2, accelerator="cpu")
    report = tutelage.distill(teacher, "tutelage:mlp?widths=8", lambda: (x, y), train=train, console=QUIET)
    assert report.mean("hinton", "agreement") > 80


def test_the_teachers_classes_are_put_into_the_data_order():
    x, y = stripes()
    data = Arrays({"input": x, "label": y}, classes=("low", "middle", "high"))
    torch.manual_seed(0)
    teacher = net(32)
    tutelage.distill(teacher, net(4), data, train_teacher=True, train=TRAIN, console=QUIET)
    turned = models.Adapted(teacher, class_order=[2, 0, 1])  # a teacher that answers high, low, middle
    right, wrong = (
        tutelage.distill(turned, net(4), data, train=TRAIN, teacher_classes=names, console=QUIET).mean("teacher", "accuracy")
        for names in ("high,low,middle", None)
    )
    assert right > 90
    assert wrong < 30
    with pytest.raises(OptionError, match="lack high of"):
        tutelage.distill(turned, net(4), data, train=TRAIN, teacher_classes="hihg,low,middle", console=QUIET)


def test_teacher_and_student_of_other_classes_are_refused():
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    with pytest.raises(ShapeError, match=r"teacher.*7"):
        tutelage.distill(wide, net(4), stripes, train=TRAIN, console=QUIET)
    with pytest.raises(ShapeError, match=r"student.*7"):
        tutelage.distill(net(4), wide, stripes, train=TRAIN, console=QUIET)


def test_compare_gives_every_method_the_same_start_data_and_budget(tmp_path):
    report = tutelage.compare(
        ["hinton", "bd-kd"],
        "tutelage:mlp?widths=32",
        "tutelage:mlp?widths=8",
        stripes,
        train=TRAIN,
        seeds=(0, 1),
        out=tmp_path / "r",
        console=QUIET,
    )
    assert {"teacher", "student alone", "hinton", "bd-kd"} == set(report.values)
    assert all(set(report.values[arm]["accuracy"]) == {0, 1} for arm in report.values)
    assert len(report.claims) == 2
    configs = [json.loads(p.read_text())["options"] for p in (tmp_path / "r").glob("seed-*/*/config.json")]
    assert len(configs) == 6
    assert all(c == configs[0] for c in configs)


def test_options_from_offers_the_nearest():
    assert own.options_from("hinton", temperature=2.0).temperature == 2.0
    with pytest.raises(OptionError, match="Did you mean 'temperature'"):
        own.options_from("hinton", temprature=2.0)


def test_data_that_cannot_be_learned_from_stop_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match=r"one class|single class|1 class"):
        tutelage.distill(
            net(4), net(4), lambda: (torch.rand(20, 1, 8, 8), torch.zeros(20, dtype=torch.long)), out=tmp_path / "r", console=QUIET
        )
    pixels = Arrays({"input": torch.rand(20, 1, 8, 8), "label": torch.arange(2).repeat(20, 8, 4)}, ("a", "b"))
    with pytest.raises(DataError, match="class for every pixel"):
        tutelage.distill(net(4), net(4), lambda: pixels, out=tmp_path / "r", console=QUIET)
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Stores of a teacher's answers about the stripes: dense, and the top two of three at temperature 4 under two views."""
    from tutelage import data, store

    torch.manual_seed(0)
    teacher, folder = net(64), tmp_path_factory.mktemp("stores")
    ready = data.load(stripes)
    load = {"validation": 0.1, "test": 0.2, "seed": 0}
    store.label(teacher, ready, folder / "dense", dtype="fp32", load=load)
    store.label(
        teacher,
        ready,
        folder / "top",
        keep="top-k:2",
        temperature=4.0,
        view="noise",
        views=2,
        load=load,
    )
    return teacher, folder


def test_a_store_teaches_what_its_teacher_does(labelled):
    teacher, folder = labelled
    live = tutelage.distill(teacher, "tutelage:mlp?widths=8", stripes, train=TRAIN, console=QUIET)
    stored = tutelage.distill(f"store:{folder / 'dense'}", "tutelage:mlp?widths=8", stripes, train=TRAIN, console=QUIET)
    for arm in ("teacher", "student alone", "hinton"):
        for metric in ("accuracy", "nll"):
            assert stored.mean(arm, metric) == pytest.approx(live.mean(arm, metric), abs=1e-4), (arm, metric)
    assert "parameters" not in stored.values["teacher"]


def test_a_store_of_views_and_of_few_classes_teaches_too(labelled):
    _, folder = labelled
    spec = f"store:{folder / 'top'}"
    report = tutelage.distill(
        spec, "tutelage:mlp?widths=8", stripes, options=own.options_from("hinton", temperature=4.0), train=TRAIN, console=QUIET
    )
    assert set(report.values) == {"teacher", "student alone", "hinton"}


def test_what_a_store_cannot_do_is_refused_before_anything_is_trained(labelled, tmp_path):
    _, folder = labelled
    student = "tutelage:mlp?widths=8"
    top, dense = f"store:{folder / 'top'}", f"store:{folder / 'dense'}"
    cooler = own.options_from("hinton", temperature=2.0)
    cases = [
        (lambda out: tutelage.distill(top, student, stripes, options=cooler, out=out, train=TRAIN), "temperature 4"),
        (lambda out: tutelage.distill(top, student, stripes, view="flip", out=out, train=TRAIN), "the view 'noise'"),
        (lambda out: tutelage.distill(dense, student, stripes, view="flip", out=out, train=TRAIN), "plain inputs"),
        (lambda out: own.compare(["hinton", "bd-kd"], dense, student, stripes, out=out, train=TRAIN), "--no-online"),
        (lambda out: own.compare(["tgeo-kd"], top, student, stripes, out=out, train=TRAIN), "keeps top-k"),
        (lambda out: tutelage.distill(dense, student, stripes, train_teacher=True, out=out, train=TRAIN), "not a network"),
        (lambda out: tutelage.distill(dense, student, lambda: stripes(3, 300), out=out, train=TRAIN), "belongs to something else"),
    ]
    for number, (attempt, words) in enumerate(cases):
        with pytest.raises(tutelage.errors.TutelageError, match=words):
            attempt(tmp_path / str(number))
        assert not (tmp_path / str(number)).exists()


def test_an_engine_teaches_what_eager_does():
    torch.manual_seed(0)
    teacher = models.build("tutelage:cnn?widths=4,8,8", num_classes=3, input_shape=(1, 8, 8))
    reports = [
        tutelage.distill(teacher, "tutelage:mlp?widths=8", stripes, train=TRAIN, teacher_engine=engine, console=QUIET)
        for engine in ("eager", "folded")
    ]
    assert reports[0].mean("hinton", "nll") == pytest.approx(reports[1].mean("hinton", "nll"), abs=1e-3)
