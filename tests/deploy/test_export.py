"""Exported files answer as PyTorch does, or are not written."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from tutelage import deploy
from tutelage.data import Arrays
from tutelage.errors import OptionError, ShapeError, SpecError

CLASSES = ("left", "right", "up")


def tiny_cnn() -> nn.Module:
    torch.manual_seed(0)
    features = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained(images: torch.Tensor) -> nn.Module:
    """A network that has learned where the brightest third of the picture is."""
    model = tiny_cnn().train()
    targets = thirds(images)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
    return model


def thirds(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([images[..., :3].mean((1, 2, 3)), images[..., 5:].mean((1, 2, 3)), images[:, :, :3].mean((1, 2, 3))], 1).argmax(1)


@pytest.fixture(scope="module")
def shipped(trained: nn.Module, images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[deploy.Shipped]]:
    folder = tmp_path_factory.mktemp("shipped")
    arrays = Arrays({"input": images, "label": thirds(images)}, CLASSES, "thirds")
    outputs = {"onnx": folder / "deep" / "m.onnx", "int8": folder / "m.int8.onnx"}
    return folder, deploy.ship(trained, outputs, test=arrays, calibration=arrays, repeats=20)


def test_files_answer_as_pytorch_at_any_batch_size(shipped, trained, images):
    folder, rows = shipped
    assert [row.format for row in rows] == ["pytorch", "onnx", "int8"]
    assert trained.training
    expected = trained.eval()(images).detach()
    trained.train()
    for n in (1, 2, 7, 96):
        torch.testing.assert_close(deploy.OnnxModel(folder / "deep" / "m.onnx")(images[:n]), expected[:n], atol=1e-4, rtol=1e-4)
    assert rows[1].max_difference < 1e-3
    assert rows[1].accuracy == rows[0].accuracy > 60


def test_int8_keeps_what_was_learned_and_is_integer(shipped):
    onnx = pytest.importorskip("onnx")
    folder, rows = shipped
    assert rows[2].accuracy >= rows[0].accuracy - 6
    assert rows[1].max_difference < rows[2].max_difference < 1.0
    weights = {tensor.data_type for tensor in onnx.load(folder / "m.int8.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in weights
    assert all(row.latency_ms > 0 and row.size_bytes > 0 for row in rows)
    assert [row.path.stat().st_size for row in rows[1:]] == [row.size_bytes for row in rows[1:]]
    assert rows[0].size_bytes == sum(t.numel() * t.element_size() for t in tiny_cnn().state_dict().values())


def test_files_say_what_they_take(shipped):
    folder, _ = shipped
    for file in (folder / "deep" / "m.onnx", folder / "m.int8.onnx"):
        said = deploy.metadata(file)
        assert said["classes"] == list(CLASSES)
        assert said["input_shape"] == [1, 8, 8]
        assert said["input_range"] == [0.0, 1.0]


def test_only_the_files_asked_for_are_written(shipped):
    folder, rows = shipped
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == ["deep/m.onnx", "m.int8.onnx"]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(deploy.shipped_table(rows))
    text = console.export_text()
    assert all(word in text for word in ("pytorch", "onnx", "int8", "latency"))


def test_a_difference_beyond_the_bound_leaves_no_file_and_no_chatter(trained, images, tmp_path, capfd):
    with pytest.raises(deploy.ExportError, match=r"at most .* is accepted \(bound 1e-12"):
        deploy.export_onnx(trained, images, tmp_path / "m.onnx", bound=1e-12)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


class Branching(nn.Module):
    """Not traceable: its path depends on the values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if float(x.sum()) > 0 else -x.flatten(1)


class Counting(nn.Module):
    """Asks for its batch size by `len`, which a tracer that runs the code takes for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.tensor([[3.0, 4.0]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.token.expand(len(x), -1), x.flatten(1)], 1)


class Fixed(nn.Module):
    """Has a batch size written in its code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 64) if len(x) == 2 else x.flatten(1)


def test_the_batch_size_stays_free_where_the_code_counts_samples(images, tmp_path):
    assert deploy.export_onnx(Counting(), images, tmp_path / "m.onnx") == 0
    answer = deploy.OnnxModel(tmp_path / "m.onnx")(images[:5])
    torch.testing.assert_close(answer, Counting()(images[:5]).detach())


def test_a_fixed_batch_size_is_refused(images, tmp_path):
    with pytest.raises(deploy.ExportError, match="Fixed does not export"):
        deploy.export_onnx(Fixed(), images, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused(images, tmp_path):
    with pytest.raises(deploy.ExportError, match="Branching does not export"):
        deploy.export_onnx(Branching(), images, tmp_path / "m.onnx")
    with pytest.raises(deploy.ExportError, match="reads text"):
        deploy.export_onnx(tiny_cnn(), ["a sentence"], tmp_path / "m.onnx")
    with pytest.raises(ShapeError, match="sample_input"):
        deploy.export_onnx(tiny_cnn(), images[:0], tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_bad_requests_are_named(shipped, images, tmp_path):
    folder, _ = shipped
    arrays = Arrays({"input": images, "label": thirds(images)}, CLASSES, "thirds")
    with pytest.raises(OptionError, match="'tflite'"):
        deploy.ship(tiny_cnn(), {"tflite": tmp_path / "x"}, test=arrays, calibration=arrays)
    with pytest.raises(OptionError, match="no format"):
        deploy.ship(tiny_cnn(), {}, test=arrays, calibration=arrays)
    with pytest.raises(ShapeError, match="no calibration inputs"):
        deploy.quantise(folder / "deep" / "m.onnx", images[:0], tmp_path / "x.onnx")
    with pytest.raises(SpecError, match="no ONNX file"):
        deploy.OnnxModel(tmp_path / "absent.onnx")
    (tmp_path / "broken.onnx").write_bytes((folder / "deep" / "m.onnx").read_bytes()[:400])
    with pytest.raises(SpecError, match="does not open"):
        deploy.OnnxModel(tmp_path / "broken.onnx")
    with pytest.raises(ShapeError, match="takes inputs"):
        deploy.OnnxModel(folder / "deep" / "m.onnx")(torch.rand(2, 1, 8))
    with pytest.raises(OptionError, match="0 repeats"):
        deploy.latency(tiny_cnn(), images, repeats=0)


def test_latency_leaves_threads_and_modes_alone(trained, images):
    trained.train()
    threads = torch.get_num_threads()
    assert deploy.latency(trained, images, repeats=5, warm_up=1) > 0
    assert torch.get_num_threads() == threads
    assert all(part.training for part in trained.modules())


def test_latency_of_a_model_of_texts():
    from tutelage.models.word_bag import WordBag

    assert deploy.latency(WordBag(num_classes=2, vocabulary=10, dim=2), ["a text", "another"], repeats=5, warm_up=1) > 0
