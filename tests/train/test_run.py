from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

from tutelage.data import Batches
from tutelage.errors import CheckpointError, OptionError
from tutelage.train import Run, Supervised, TrainOptions
from tutelage.train.run import differences

OPTIONS = TrainOptions(epochs=1, batch_size=64, accelerator="cpu")


def test_differences_are_named():
    old = {"a": 1, "b": {"c": 2, "d": 3}}
    assert differences(old, {"a": 1, "b": {"c": 5, "e": 3}}) == ["b.c: 2, now 5", "b.d: 3, now 'absent'", "b.e: 'absent', now 3"]


def test_a_run_directory_is_taken_up_only_when_asked_and_only_by_the_same_run(tmp_path):
    Run(tmp_path / "r", config={"method": "x", "seeds": (0, 1)})
    with pytest.raises(OptionError, match="Add --resume"):
        Run(tmp_path / "r", config={"method": "x", "seeds": (0, 1)})
    with pytest.raises(OptionError, match=r"another configuration \(method: 'x', now 'y'\)"):
        Run(tmp_path / "r", config={"method": "y", "seeds": (0, 1)}, resume=True)
    assert json.loads((tmp_path / "r/run.json").read_text()) == {"method": "x", "seeds": [0, 1]}
    Run(tmp_path / "r", config={"method": "x", "seeds": (0, 1)}, resume=True)


def test_a_folder_with_other_things_in_it_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(OptionError, match="is not a run of tutelage"):
        Run(tmp_path, resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_configuration_is_named(tmp_path):
    Run(tmp_path / "r")
    (tmp_path / "r/run.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"run\.json is damaged"):
        Run(tmp_path / "r", resume=True)


def test_a_directory_that_cannot_be_made_is_an_error_not_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="Cannot write to"):
        Run(tmp_path / "file" / "run")


def test_trainings_have_names_of_their_own_and_keep_their_options(tmp_path, blobs, net):
    run = Run(tmp_path / "r")
    run.train("a", Supervised(net()), Batches(blobs, 64), OPTIONS)
    with pytest.raises(OptionError, match="has a training 'a' already"):
        run.train("a", Supervised(net()), Batches(blobs, 64), OPTIONS)
    again = Run(tmp_path / "r", resume=True)
    with pytest.raises(OptionError, match=r"options\.epochs: 1, now 2"):
        again.train("a", Supervised(net()), Batches(blobs, 64), TrainOptions(epochs=2, batch_size=64, accelerator="cpu"))


def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(tmp_path, blobs, net):
    options = TrainOptions(epochs=3, batch_size=64, accelerator="cpu")
    first = Supervised(net())
    Run(tmp_path / "r").train("a", first, Batches(blobs, 64), options)
    newest = sorted((tmp_path / "r/a/checkpoints").glob("step-*"))[-1]
    (newest / "state.safetensors").write_bytes(b"rubbish")
    again = Supervised(net())
    console = Console(file=io.StringIO(), width=1000)
    Run(tmp_path / "r", resume=True, console=console).train("a", again, Batches(blobs, 64), options)
    assert f"{newest.name} was truncated or altered" in console.file.getvalue()
    assert "Went on from the one before" in console.file.getvalue()
    for (name, a), b in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert a.equal(b), name


def test_teachers_built_without_an_engine_are_run_by_that_of_the_run(tmp_path):
    from tutelage import models
    from tutelage.data import Arrays, Batches
    from tutelage.methods.distillation.hinton import Hinton
    from tutelage.teachers import Frozen

    arrays = Arrays({"input": torch.rand(16, 1, 8, 8), "label": torch.arange(16) % 2}, classes=("a", "b"))
    teacher, student = (models.build(f"tutelage:{k}", num_classes=2, input_shape=(1, 8, 8)) for k in ("cnn", "mlp"))
    method = Hinton(student, Frozen(teacher))
    run = Run(tmp_path / "r", teacher_engine="folded")
    run.train("t", method, Batches(arrays, 8), TrainOptions(epochs=1, batch_size=8, accelerator="cpu"))
    assert method.teacher.chosen == "folded"
