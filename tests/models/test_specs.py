from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tutelage.errors import OptionError, SpecError, TutelageError
from tutelage.models import Adapted, ConvNet, build, fingerprint, small_cnn

IMAGE = {"num_classes": 10, "input_shape": (1, 8, 8)}


def test_options_reach_the_network() -> None:
    model = build("tutelage:small-cnn?widths=4,6,8&batch_norm=true&depth=2&dropout=0.1", **IMAGE)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [4, 4, 6, 6, 8, 8]
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert build("tutelage:mlp?widths=7", **IMAGE).hidden[0][0].out_features == 7
    assert build("tutelage:vit?patch=4&heads=2", **IMAGE).patches.kernel_size == (4, 4)


def test_a_module_is_returned_as_it_is() -> None:
    model = nn.Linear(2, 2)
    assert build(model, num_classes=2, input_shape=(2,)) is model


def test_adapter_options_wrap_the_model() -> None:
    model = build("tutelage:cnn?size=16&channels=3&mean=0.5&std=0.25&class_order=1,0&num_classes=4", num_classes=2, input_shape=(1, 8, 8))
    assert isinstance(model, Adapted)
    assert model.model.stages[0][0].in_channels == 3
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 2)


def test_weights_are_loaded_and_checked(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = small_cnn(num_classes=10)
    file = tmp_path / "w.safetensors"
    save_file(source.state_dict(), file)
    assert fingerprint(build(f"tutelage:small-cnn?weights={file}", **IMAGE)) == fingerprint(source)
    with pytest.raises(SpecError, match=r"'stages.0.0.weight' is \[8, 1, 3, 3\] but this ConvNet has \[4, 1, 3, 3\]"):
        build(f"tutelage:small-cnn?widths=4,16&weights={file}", **IMAGE)
    with pytest.raises(SpecError, match=r"not for this MLP: 2 missing .*4 unknown"):
        build(f"tutelage:mlp?weights={file}", **IMAGE)
    with pytest.raises(SpecError, match="does not exist"):
        build(f"tutelage:mlp?weights={tmp_path / 'gone.safetensors'}", **IMAGE)
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(SpecError, match="truncated"):
        build(f"tutelage:small-cnn?weights={file}", **IMAGE)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.bin", "model.pkl", "classifier.joblib"])
def test_pickles_are_refused_with_the_cure(name: str) -> None:
    cure = "skops" if name.endswith(("pkl", "joblib")) else "safetensors"
    for spec in (name, f"onnx:{name}", f"sklearn:{name}", f"tutelage:small-cnn?weights={name}"):
        with pytest.raises(SpecError, match=f"pickle.*{cure}"):
            build(spec, role="student" if "weights" in spec else "teacher", **IMAGE)


def test_factories_from_a_file_and_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_of_mine.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "import torch\n"
        "@dataclass\n"
        "class Shape:\n    n: int = 0\n"
        "def make(num_classes, width=3):\n"
        "    layers = torch.nn.Linear(64, width), torch.nn.Linear(width, num_classes)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), *layers)\n"
        "def broken(**anything):\n    raise KeyError('nothing here')\n"
        "def number():\n    return 3\n"
        "READY = torch.nn.Linear(64, 10)\n"
    )
    file = f"python:{tmp_path / 'nets_of_mine.py'}"
    model = build(f"{file}:make?width=5", **IMAGE)
    assert model[1].out_features == 5
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert build(f"{file}:READY?mean=0.5", **IMAGE).model.in_features == 64
    monkeypatch.chdir(tmp_path)
    assert build("python:nets_of_mine:make", **IMAGE)[2].out_features == 10
    assert isinstance(build("python:tutelage.models:small_cnn", **IMAGE), ConvNet)
    for spec, message in {
        f"{file}:mak": "has no 'mak'. Did you mean 'make'",
        f"{file}:make?widht=5": "no argument 'widht'. Did you mean 'width'",
        f"{file}:broken": r"calling broken\(num_classes, input_shape, role\) raised KeyError: 'nothing here'",
        f"{file}:number": "gave a int",
        f"python:{tmp_path / 'gone.py'}:make": "does not exist",
        "python:no.such.package:make": "importing no.such.package raised ModuleNotFoundError",
        "python:nets_of_mine": "should be python:package.module:factory",
    }.items():
        with pytest.raises(SpecError, match=message):
            build(spec, **IMAGE)
    (tmp_path / "syntax.py").write_text("def make(:\n")
    with pytest.raises(SpecError, match="raised SyntaxError"):
        build(f"python:{tmp_path / 'syntax.py'}:make", **IMAGE)


BAD = {
    "tutelage:smal-cnn": "Did you mean 'small-cnn'",
    "tutelage:small-cnn?width=8": "no option 'width'. Did you mean 'widths'",
    "tutelage:small-cnn?widths=wide": "widths=wide should be like widths=8,16",
    "tutelage:small-cnn?widths=8,a": "should be like",
    "tutelage:small-cnn?batch_norm=3": "should be like batch_norm=false",
    "tutelage:small-cnn?widths=0": "positive widths",
    "tutelage:small-cnn?widths=1,1,1,1,1": "halves its images 4 times, which 8x8",
    "tutelage:small-cnn?size=big": "should be whole numbers",
    "tutelage:small-cnn?size=4.5": "should be whole numbers",
    "tutelage:small-cnn?mean=x": "should be numbers",
    "tutelage:small-cnn?widths": "one option=value",
    "tutelage:small-cnn?depth=1&depth=2": "each option once",
    "tutelage:vit?patch=big": "tutelage:vit",
    "tutelage:": "names no model",
    "tutlage:small-cnn": "Did you mean 'tutelage'",
    "resnet18": "SCHEME:NAME",
    "net.onnx": "Did you mean 'onnx:net.onnx'",
    "net.safetensors": "name the architecture too",
    "": "SCHEME:NAME",
    "tutelage:small-cnn?weights=net.txt": "should be a .safetensors file",
    "onnx:gone.onnx": "does not exist",
    "sklearn:gone.skops": "does not exist",
    "timm:resnet18000": "Did you mean .*resnet18",
    "hf:./gone": "neither a directory",
}


@pytest.mark.parametrize("spec", BAD)
def test_mistyped_specs_say_what_is_wrong(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TutelageError, match=BAD[spec]):
        build(spec, num_classes=10, input_shape=(1, 8, 8), role="teacher")


def test_what_is_no_model_is_refused() -> None:
    for thing, message in ((3, "got a int"), (nn.Linear, "the class Linear; give an instance"), (None, "got a NoneType")):
        with pytest.raises(SpecError, match=message):
            build(thing, **IMAGE)
    with pytest.raises(OptionError, match="Did you mean 'student'"):
        build("tutelage:mlp", role="studnet", **IMAGE)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"takes images.*Use tutelage:mlp"):
        build("tutelage:resnet", num_classes=2, input_shape=(5,))
    with pytest.raises(SpecError, match="takes images"):
        build("timm:resnet18", num_classes=2, input_shape=(5,))
    with pytest.raises(SpecError, match="teacher but not a student"):
        build("onnx:net.onnx", **IMAGE)
