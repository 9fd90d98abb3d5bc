"""A resumed run uses the engines that it began with."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage.data import Arrays, Batches
from tutelage.errors import CheckpointError, OptionError
from tutelage.models import cnn, small_cnn
from tutelage.teachers import EngineError, Frozen
from tutelage.teachers.engines import choose as choosing
from tutelage.teachers.engines.record import follow, recall, remember
from tutelage.train import Method, TrainOptions
from tutelage.train.run import Run


@pytest.fixture
def folded_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "COSTS", {"folded": 0.0})
    monkeypatch.setattr(choosing, "_time", lambda run, *_: 2.0 if callable(run) and hasattr(run, "__name__") else 1.0)


def auto() -> Frozen:
    torch.manual_seed(0)
    return Frozen(cnn(num_classes=3, widths=(4, 8)), "auto")


@pytest.mark.usefixtures("folded_wins")
def test_the_engine_is_recalled_without_timing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, images = tmp_path / "engine.json", torch.rand(6, 1, 8, 8)
    first = auto()
    with pytest.raises(OptionError, match="has not chosen its engine yet"):
        remember(first, path)
    assert not recall(first, path)
    answer = first(images)
    assert first.chosen == "folded"
    remember(first, path)
    assert json.loads(path.read_text())["teacher"]["batch"] == 6
    monkeypatch.setattr(choosing, "choose", None)
    second = auto()
    assert recall(second, path)
    assert second.chosen == "folded"
    assert torch.equal(second(images), answer)
    assert second.choice is not None
    assert (second.choice.batch, second.choice.recalled, second.reason) == (6, True, first.reason)
    assert second.cpu().chosen == "folded"
    with pytest.raises(OptionError, match="built with engine='compile'"):
        recall(Frozen(cnn(num_classes=3), "compile"), path)


def test_a_recalled_engine_that_cannot_be_had_is_an_error() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) if float(x.sum()) > 0 else x

    with pytest.raises(EngineError, match="cannot be built for Branching"):
        Frozen(Branching(), "auto").use("onnxruntime")(torch.rand(3, 2))


@pytest.mark.parametrize("text", ["{", "[]", '{"teacher": {"engine": 3, "batch": 1, "reason": ""}}', '{"teacher": 1}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"engine\.json.*is damaged.*Remove it"):
        recall(auto(), path)


def test_an_unknown_engine_in_a_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text('{"teacher": {"engine": "onnxrutime", "batch": 1, "reason": ""}}')
    with pytest.raises(OptionError, match="'onnxruntime'"):
        recall(auto(), path)


@pytest.mark.usefixtures("folded_wins")
def test_other_processes_keep_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, said = nn.ModuleDict({"teacher": auto(), "eager": Frozen(nn.Linear(2, 2))}), []
    monkeypatch.setenv("RANK", "2")
    follow(method, tmp_path / "engine.json", say=said.append, calls=7)
    method["teacher"](torch.rand(2, 1, 8, 8))
    assert [p.name for p in tmp_path.iterdir()] == ["engine-2.json"]
    assert list(json.loads((tmp_path / "engine-2.json").read_text())) == ["teacher"]
    assert said == []
    assert method["teacher"]._serving.calls == 7


class Distil(Method):
    def __init__(self, student: nn.Module, teacher: Frozen) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        images = batch["input"].float() / 255
        return {"kd": (self.student(images) - self.teacher(images)).square().mean()}


@pytest.mark.usefixtures("folded_wins")
def test_a_run_says_its_engine_once_and_a_resumed_one_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    data = Arrays({"input": images, "label": torch.zeros(40, dtype=torch.int64)}, classes=("a", "b", "c"))
    options = TrainOptions(epochs=2, batch_size=16, accelerator="cpu", checkpoint_every=1)

    def train(folder: Path, epochs_before_the_stop: int | None = None) -> tuple[Distil, list[str]]:
        torch.manual_seed(1)
        method, said = Distil(small_cnn(num_classes=3, widths=(2, 4)), auto()), []
        run = Run(folder, config={}, resume=True)
        run.say = said.append  # type: ignore[method-assign]

        def stop(_: Method) -> dict[str, float]:
            if method.epoch + 1 == epochs_before_the_stop:
                raise KeyboardInterrupt
            return {}

        with contextlib.suppress(KeyboardInterrupt):
            run.train("student", method, Batches(data, 16), options, stop)
        return method, said

    whole, said = train(tmp_path / "whole")
    assert whole.teacher.chosen == "folded"
    assert [line for line in said if line.startswith("Engine of 'teacher': folded: ")] == said
    assert len(said) == 1
    train(tmp_path / "cut", epochs_before_the_stop=2)
    assert json.loads((tmp_path / "cut" / "student" / "engine.json").read_text())["teacher"]["engine"] == "folded"
    monkeypatch.setattr(choosing, "choose", None)
    resumed, said = train(tmp_path / "cut")
    assert resumed.teacher.chosen == "folded"
    assert len(said) == 1
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
