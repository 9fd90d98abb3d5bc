from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

import tutelage
from tutelage.cli import main
from tutelage.data import Arrays
from tutelage.errors import DataError, OptionError, ShapeError, SpecError, TrainingError
from tutelage.models import language
from tutelage.models.language import LanguageModel
from tutelage.recipes.language import own
from tutelage.recipes.language.kdrl import OPTIONS
from tutelage.train import TrainOptions

TRAIN = TrainOptions(epochs=2, batch_size=8, optimizer="AdamW", learning_rate=3e-3, schedule="constant", accelerator="cpu")
FEW = OPTIONS(group=4, max_new_tokens=6, beta=0.1)
QUIET = Console(file=io.StringIO())


def pair(width: int = 16, seed: int = 0, characters: str = "0123456789+=# ") -> LanguageModel:
    tokenizer = language.character_tokenizer(characters, context=24)
    return LanguageModel(language.tiny_decoder(len(tokenizer), width=width, layers=1, heads=2, context=24, seed=seed), tokenizer)


@pytest.fixture
def folders(tmp_path):
    """A teacher, a student, and 40 prompts, as a user has them."""
    for name, width in (("teacher", 24), ("student", 16)):
        model = pair(width, seed=width)
        language.save(model.model, model.tokenizer, tmp_path / name)
    lines = [json.dumps({"prompt": f"{n}+1=", "answer": str(n + 1)}) for n in range(40)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "mine.py").write_text("def sevens(response, row):\n    return response.count('7') / 6\n")
    return tmp_path


def distilled(folders, **changes):
    given = {"options": FEW, "train": TRAIN, "reward": f"python:{folders}/mine.py:sevens", "console": QUIET, "method": "kdrl", **changes}
    return tutelage.distill(f"hf:{folders}/teacher", f"hf:{folders}/student", f"{folders}/prompts.jsonl", **given)


def test_a_student_is_taught_on_own_prompts_saved_and_taken_up_again(folders):
    out = folders / "run"
    train = TrainOptions(epochs=6, batch_size=8, optimizer="AdamW", learning_rate=0.02, schedule="constant", accelerator="cpu")
    options = OPTIONS(group=8, max_new_tokens=6, signal="reward")
    report = distilled(folders, out=out, train=train, options=options, samples=4)
    assert set(report.values) == {"student before", "teacher", "kdrl"}
    assert report.mean("kdrl", "accuracy") > report.mean("student before", "accuracy") + 10
    assert report.claims[0].held
    assert {curve.title for curve in report.curves} >= {"Validation accuracy", "Length of the student's answers"}

    saved, before = language.causal(f"hf:{out}/student"), language.causal(f"hf:{folders}/student")
    assert (out / "student" / "model.safetensors").is_file()
    assert (out / "report.json").is_file()
    assert not torch.equal(saved.model.lm_head.weight, before.model.lm_head.weight)
    drawn = language.sample(saved.model, language.encode(saved.tokenizer, ["5+1="]), max_new_tokens=6, temperature=0)
    assert len(drawn.texts(saved.tokenizer)[0]) > 0

    again = distilled(folders, out=out, train=train, options=options, samples=4, resume=True)
    assert again.values == report.values
    with pytest.raises(OptionError, match="holds this run already"):
        distilled(folders, out=out, train=train, options=options, samples=4)
    with pytest.raises(OptionError, match="lora"):
        distilled(folders, out=out, train=train, options=options, samples=4, resume=True, lora=2)


def test_the_command_line_does_the_same(folders, capsys):
    words = ["distill", "--teacher", f"hf:{folders}/teacher", "--student", f"hf:{folders}/student", "--data", f"{folders}/prompts.jsonl"]
    words += ["--method", "kdrl", "--reward", f"python:{folders}/mine.py:sevens", "--group", "4", "--max-new-tokens", "6", "--epochs", "1"]
    words += ["--beta", "0.1", "--beta-fall", "0.01", "--beta-min", "0.02", "--batch-size", "8", "--accelerator", "cpu"]
    words += ["--out", str(folders / "run"), "--lora", "2"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "student before" in told
    assert "kdrl" in told
    assert tutelage.Report.load(folders / "run").claims[0].text.startswith("kdrl answers better than the student did before")
    assert language.causal(f"hf:{folders}/run/student").model.lm_head.weight.shape == (17, 16)
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err


def test_help_names_the_options_of_prompts(capsys):
    with pytest.raises(SystemExit):
        main(["distill", "--method", "kdrl", "--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in ("--reward", "--options.beta", "--lora", "--marker"))


def test_a_live_student_gets_the_weights_and_adapters_are_merged(folders):
    student = pair()
    before = {name: weight.clone() for name, weight in student.model.state_dict().items()}
    data = Arrays({"input": [f"{n}=" for n in range(20)], "answer": [str(n) for n in range(20)]}, name="numbers")
    report = tutelage.distill(
        pair(24, 1), student, data, method="kdrl", options=FEW, train=TRAIN, lora=2, out=folders / "run", marker="", console=QUIET
    )
    assert not any("lora" in name for name in student.model.state_dict())
    assert not torch.equal(student.model.model.layers[0].mlp.up_proj.weight, before["model.layers.0.mlp.up_proj.weight"])
    assert torch.equal(student.model.lm_head.weight, before["lm_head.weight"])  # adapters leave the head alone
    saved = language.causal(f"hf:{folders}/run/student")
    torch.testing.assert_close(saved.model.state_dict(), student.model.state_dict())
    assert "accuracy" in report.values["kdrl"]


def test_grpo_needs_no_teacher(folders):
    report = own.distill(
        None, f"hf:{folders}/student", f"{folders}/prompts.jsonl", options=OPTIONS(signal="reward", group=2, max_new_tokens=4), train=TRAIN
    )
    assert set(report.values) == {"student before", "kdrl"}
    with pytest.raises(OptionError, match="no teacher"):
        own.distill(None, f"hf:{folders}/student", f"{folders}/prompts.jsonl", options=FEW, train=TRAIN)


def test_tokenizers_that_differ_are_aligned_or_refused_with_the_reason(folders):
    other = pair(24, 1, "0123456789+=#abc ")
    with pytest.raises(ShapeError, match="tokenizers of student and teacher differ"):
        own.distill(other, pair(), f"{folders}/prompts.jsonl", options=FEW, train=TRAIN)


def rows(folders, lines) -> str:
    path = folders / "other.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return str(path)


GOOD = [{"prompt": f"{n}+2=", "answer": n + 2} for n in range(20)]


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        ([*GOOD, {"prompt": " ", "answer": "1"}], DataError, "Line 21 .* no usable 'prompt'"),
        ([*GOOD, {"prompt": "1=", "answer": ""}], DataError, "Line 21 .* no usable answer"),
        ([*GOOD, {"prompt": "1=", "answer": None}], DataError, "Line 21 .* no usable answer"),
        ([*GOOD, {"prompt": "3+2=", "answer": "6"}], DataError, "Line 21 .* line 4 asks, with another answer"),
        ([*GOOD, "{"], DataError, "line 21"),
        ([{"prompt": "1="}], DataError, "expected one named 'answer'"),
        ([{"text": "1="}], DataError, "expected one named 'prompt'"),
        ([], DataError, "no rows"),
        ([*GOOD, {"prompt": "1+" * 12, "answer": "1"}], DataError, "1 of 21 prompts are too long.* student's context"),
        ([*GOOD, {"prompt": "1 plus 2", "answer": "3"}], DataError, "no token for 'p'"),
        (GOOD[:2], OptionError, "2 prompts"),
    ],
)
def test_bad_prompts_are_named(folders, lines, error, said):
    with pytest.raises(error, match=said):
        own.distill(pair(24, 1), pair(), rows(folders, lines), options=FEW, train=TRAIN)


def test_repeated_prompts_count_once_and_bad_ones_may_be_left_out(folders):
    lines = [*GOOD, GOOD[3], {"prompt": "", "answer": "1"}, {"prompt": "3+2=", "answer": "6"}, {"prompt": "1+" * 12, "answer": "1"}]
    report = own.distill(pair(24, 1), pair(), rows(folders, lines), options=FEW, train=TRAIN, skip_bad=True, console=QUIET)
    (note,) = report.notes
    assert note.startswith("4 prompts were left out")
    assert "line 21 repeats line 4" in note


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('x')", "raised KeyError"),
        ("return float('nan')", "returned nan"),
        ("return [1.0]", "returned a list"),
        ("return float('nan') if row['prompt'] == '7+1=' else 0.0", r"returned nan.*prompt '7\+1='"),
    ],
)
def test_a_reward_that_is_none_is_named_with_its_prompt(folders, body, said):
    (folders / "bad.py").write_text(f"def reward(response, row):\n    {body}\n")
    with pytest.raises(TrainingError, match=said):
        distilled(folders, reward=f"python:{folders}/bad.py:reward")


def test_other_mistakes_are_named(folders):
    with pytest.raises(SpecError, match="no function 'seven'"):
        distilled(folders, reward=f"python:{folders}/mine.py:seven")
    with pytest.raises(OptionError, match="reward is a int"):
        distilled(folders, reward=3)
    with pytest.raises(SpecError, match="no directory"):
        tutelage.distill(f"hf:{folders}/nobody", f"hf:{folders}/student", f"{folders}/prompts.jsonl", method="kdrl")
    with pytest.raises(OptionError, match="it has no view"):
        distilled(folders, view="flip")
    with pytest.raises(OptionError, match="'hinton' does not learn from prompts"):
        tutelage.distill("tutelage:cnn", "tutelage:small-cnn", "digits", method="hinton", reward=lambda response, row: 0.0)
    with pytest.raises(OptionError, match="lora is -1"):
        distilled(folders, lora=-1)


def test_conversations_follow_the_chat_template(folders):
    student = pair(characters="0123456789+=#\n:userastn<>")
    student.tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<as>{% endif %}"
    )
    seen = []

    def reward(response, row) -> float:
        seen.append(row["prompt"])
        return 0.0

    lines = [{"messages": [{"role": "user", "content": str(n)}], "answer": str(n)} for n in range(10)]
    own.distill(
        None,
        student,
        rows(folders, lines),
        options=OPTIONS(signal="reward", group=1, max_new_tokens=2),
        train=TRAIN,
        reward=reward,
        console=QUIET,
    )
    assert set(seen) == {f"<user>{n}<as>" for n in range(10)}
