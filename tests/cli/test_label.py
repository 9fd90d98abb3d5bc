from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tutelage import models, store
from tutelage.cli import main
from tutelage.data import load
from tutelage.report import Report


def run(capsys, *words: str) -> tuple[int, str, str]:
    """Run the command in this process and return its exit code and what it printed."""
    try:
        code = main(list(words))
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a small network for the digits, and its specification."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("w") / "mlp.safetensors"
    model = models.build("tutelage:mlp?widths=8", num_classes=10, input_shape=load("digits").shape)
    save_file(model.state_dict(), file)
    return f"tutelage:mlp?widths=8&weights={file}"


FAST = ("--epochs", "2", "--accelerator", "cpu", "--no-ship")


def test_help_needs_no_torch():
    program = (
        "import sys\nfrom tutelage.cli import main\ntry: main(['label', '--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert all(option in done.stdout for option in ("--keep", "--views", "--resume", "--teacher-engine", "--ray"))


def test_label_then_distill_in_two_lines(capsys, weights, tmp_path):
    out = tmp_path / "s"
    code, text, error = run(
        capsys, "label", "--teacher", weights, "--data", "digits", "--out", str(out), "--validation", "0.2", "--device", "cpu"
    )
    assert code == 0, error
    assert f"{out}: 1,797 rows" in text
    command = text.strip().rpartition("tutelage ")[2].split()
    assert command == ["distill", "--teacher", f"store:{out}", "--data", "digits", "--validation", "0.2"]
    code, _, error = run(capsys, *command, "--student", "tutelage:mlp?widths=4", "--out", str(tmp_path / "run"), *FAST)
    assert code == 0, error

    kept = store.Store.open(out)
    data = load("digits", validation=0.2)
    model = models.build(weights, num_classes=10, input_shape=data.shape).eval()
    batch = data.test.gather()
    torch.testing.assert_close(kept.read("test", batch["index"]), model(batch["input"]).detach(), rtol=1e-2, atol=1e-2)
    assert kept.about["teacher"]["spec"] == weights

    code, _, error = run(capsys, "label", "--teacher", weights, "--data", "digits", "--out", str(out))
    assert (code, "is a label store already" in error) == (2, True)
    code, _, error = run(capsys, "label", "--teacher", weights, "--data", "digits", "--out", str(out), "--resume")
    assert (code, "was labelled otherwise" in error) == (2, True)


def test_the_teacher_that_distill_trained_labels(capsys, tmp_path):
    first = ("--teacher", "tutelage:mlp?widths=16", "--student", "tutelage:mlp?widths=4", "--data", "digits")
    code, _, error = run(capsys, "distill", *first, "--out", str(tmp_path / "run"), *FAST)
    assert code == 0, error
    code, _, error = run(capsys, "label", "--teacher", f"teacher-of:{tmp_path}/run", "--data", "digits", "--out", str(tmp_path / "s"))
    assert code == 0, error
    data, kept = load("digits"), store.Store.open(tmp_path / "s")
    answers = kept.read("test", data.test.index)
    accuracy = float((answers.argmax(1) == data.test.labels).float().mean() * 100)
    assert Report.load(tmp_path / "run").mean("teacher", "accuracy") == pytest.approx(accuracy, abs=0.3)

    assert run(capsys, "distill", "--teacher", f"teacher-of:{tmp_path}/run", *first[2:], "--out", str(tmp_path / "again"), *FAST)[0] == 0
    code, _, error = run(capsys, "label", "--teacher", f"teacher-of:{tmp_path}/again", "--data", "digits", "--out", str(tmp_path / "t"))
    assert (code, "did not train its teacher" in error) == (2, True)


def test_stores_are_looked_after(capsys, weights, tmp_path):
    base = ("label", "--teacher", weights, "--data", "digits", "--keep", "top-k:3", "--shard-rows", "500", "--view", "crop", "--views", "2")
    assert run(capsys, *base, "--out", str(tmp_path / "s"))[0] == 0
    code, text, _ = run(capsys, "store", "info", str(tmp_path / "s"))
    assert code == 0
    for words in ("top-k:3 (fp16, temperature 1)", "2 of 'crop', seed 0", "1,258 rows", "8 of 8 shards", "digits --validation 0.1"):
        assert words in text
    code, text, _ = run(capsys, "store", "info", str(tmp_path / "s"), "--json")
    assert json.loads(text)["whole"] == 8
    assert run(capsys, "store", "verify", str(tmp_path / "s"))[0] == 0

    (tmp_path / "s/train/view-1/00001.safetensors").write_bytes(b"no")
    (tmp_path / "s/test/view-0/00000.json").unlink()
    code, _, error = run(capsys, "store", "verify", str(tmp_path / "s"))
    assert code == 2
    assert error.startswith("tutelage: ")
    assert "2 problem(s)" in error
    assert "train/view-1/00001.safetensors is corrupt" in error
    assert "test/view-0/00000.safetensors is not labelled yet (359 rows)" in error
    assert "359 answers are missing" in run(capsys, "store", "info", str(tmp_path / "s"))[1]
    code, _, error = run(capsys, *base, "--out", str(tmp_path / "s"), "--resume")
    assert code == 0, error
    assert "Labelling train/view-1/00001.safetensors again" in error
    assert run(capsys, "store", "verify", str(tmp_path / "s"))[0] == 0


def test_ranks_of_torchrun_are_merged(capsys, monkeypatch, weights, tmp_path):
    words = ("label", "--teacher", weights, "--data", "digits", "--shard-rows", "500", "--out", str(tmp_path / "s"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    code, text, _ = run(capsys, *words)
    assert code == 0
    assert "still to be labelled by the other processes" in text
    monkeypatch.setenv("RANK", "1")
    code, text, _ = run(capsys, *words)
    assert (code, text) == (0, "")
    assert store.Store.open(tmp_path / "s").complete
    code, text, error = run(capsys, "store", "merge", str(tmp_path / "s"), "--out", str(tmp_path / "m"))
    assert code == 0, error
    assert "1,797 rows" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("label", "--teacher", "tutelage:cnn", "--data", "digits", "--out", "s"), "has learned nothing yet"),
        (("label", "--teacher", "store:s", "--data", "digits", "--out", "s"), "is a store already"),
        (("label", "--teacher", "run:nowhere", "--data", "digits", "--out", "s"), "not a finished run"),
        (("label", "--teacher", "teacher-of:nowhere", "--data", "digits", "--out", "s"), "not a finished run"),
        (("label", "--teacher", "timm:resnet", "--data", "digts", "--out", "s"), "digits"),
        (("label", "--teacher", "WEIGHTS", "--data", "digits", "--out", "s", "--keep", "logit"), "Did you mean 'logits'"),
        (("label", "--teacher", "WEIGHTS", "--data", "digits", "--out", "s", "--keep", "features:hiden.0"), "Did you mean 'hidden.0'"),
        (("label", "--teacher", "WEIGHTS", "--data", "digits", "--out", "s", "--view", "crop"), "give both"),
        (("label", "--teacher", "WEIGHTS", "--data", "digits", "--out", "s", "--temperature", "4"), "dense logits serve every"),
        (("label", "--teacher", "WEIGHTS", "--data", "digits", "--out", "s", "--device", "tpu9"), "--device is 'tpu9'"),
        (("label", "--teacher", "WEIGHTS", "--data", "digits", "--out", "/proc/s"), "cannot be written"),
        (("label", "--teacher", "chat:small?base_url=http://127.0.0.1:9", "--data", "digits", "--out", "s"), "add --keep text"),
        (("store", "verfy", "s"), "Did you mean 'verify'"),
        (("store", "info", "nowhere"), "is no label store"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(capsys, tmp_path, monkeypatch, weights, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(capsys, *(weights if word == "WEIGHTS" else word for word in words))
    assert code == 2, error
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "s").exists()


def test_a_chat_model_labels_texts(capsys, monkeypatch, tmp_path):
    program = Path(__file__).parents[1] / "programs" / "chat_server.py"
    spec = importlib.util.spec_from_file_location("chat_server", program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    file, out = tmp_path / "prompts.jsonl", tmp_path / "s"
    file.write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(7)))
    with module.ChatServer() as server:
        teacher = f"chat:small?base_url={server.url}&price_in=1&price_out=1"
        words = ("label", "--teacher", teacher, "--data", str(file), "--out", str(out), "--keep", "text", "--template", "Say: {input}")
        code, text, error = run(capsys, *words)
        assert code == 0, error
        assert f"{out}: 7 rows" in text
        assert "7 replies were paid for" in error
        code, _, error = run(capsys, *words, "--resume")
        assert code == 0, error
        assert "0 replies were paid for" in error
    found = store.Store.open(out).texts("train", torch.tensor([6, 0]))
    assert [entry["text"] for entry in found] == ["you said Say: question 6", "you said Say: question 0"]
    code, _, error = run(capsys, *words[:-2], "--template", "Other: {input}", "--resume")
    assert (code, "was labelled otherwise" in error) == (2, True)


def test_a_missing_option_is_named(capsys):
    code, out, error = run(capsys, "label", "--data", "digits")
    assert code == 2
    assert "--teacher" in out + error


def test_a_torch_module_of_another_place_labels(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef build(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    code, _, error = run(capsys, "label", "--teacher", "python:mine.py:build", "--data", "digits", "--out", "s", "--keep", "features:0")
    assert code == 0, error
    assert store.Store.open("s").about["outputs"]["features"]["shape"] == [64]
