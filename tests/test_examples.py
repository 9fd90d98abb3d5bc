"""The Python that README and docs show runs as it stands."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import torch

from tutelage import models
from tutelage.data.ranking import HashedVocabulary
from tutelage.deploy import ranking
from tutelage.models import chat
from tutelage.models.ranking import ConvKernels, CrossEncoder, TopScores
from tutelage.recipes import own
from tutelage.train import TrainOptions

ROOT = Path(__file__).parents[1]


def blocks(file: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(), flags=re.DOTALL)


def test_thirty_seconds_of_python(capsys, monkeypatch):
    monkeypatch.setattr(own, "TrainOptions", functools.partial(TrainOptions, epochs=2, accelerator="cpu"))
    exec(blocks("README.md")[0], {})
    assert re.search(r"alone \d+\.\d %, taught \d+\.\d %", capsys.readouterr().out)


def test_a_part_in_a_loop_of_ones_own():
    student = torch.nn.Linear(4, 3)
    before = student.weight.clone()
    exec(
        blocks("README.md")[1],
        {
            "student": student,
            "loader": [torch.randn(8, 4) for _ in range(3)],
            "optimizer": torch.optim.SGD(student.parameters(), lr=0.1),
        },
    )
    assert torch.isfinite(student.weight).all()
    assert student.weight.shape == before.shape


def test_an_environment_of_ones_own(capsys):
    example = next(block for block in blocks("README.md") if "tutelage.teach(" in block)
    names: dict = {}
    exec(example.replace("500_000", "6_000"), names)
    record = names["envs"].record
    assert len(record) == names["envs"].teacher.episodes > 20
    assert record.tasks.min() >= 0
    assert "[" in capsys.readouterr().out


def test_a_method_of_ones_own():
    student = models.build("tutelage:small-cnn?widths=4,8", num_classes=10, input_shape=(1, 8, 8))
    names = {"my_student": student}
    exec(next(block for block in blocks("docs/own.md") if "my_student" in block), names)
    assert names["history"].series("ce")[-1] < names["history"].series("ce")[0]


def test_losses_in_a_loop_of_ones_own():
    model, teacher = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    names = {"big_model": teacher, "student": model, "loader": [(torch.randn(8, 4), torch.randint(0, 3, (8,)))]}
    exec(blocks("docs/getting-started.md")[1], names)
    names["loss"].backward()
    assert model.weight.grad is not None
    assert teacher.weight.grad is None


def test_documents_are_ranked(capsys, monkeypatch):
    words = HashedVocabulary.of(["the new graphics card of a mac", "a recipe for bread"])
    teacher = CrossEncoder(len(words), width=8, layers=1, heads=2)
    cascade = ranking.Cascade(ConvKernels(teacher.table), teacher, TopScores(3))
    monkeypatch.setattr(ranking, "load", lambda folder: ranking.Ranker(cascade, words))
    example = next(block for block in blocks("README.md") if "ranking.load(" in block)
    exec(example, {"documents": ["the graphics card", "a recipe for bread", "a mac"]})
    assert "the graphics card" in capsys.readouterr().out


def test_an_agent_is_reviewed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chat, "from_spec", lambda spec: chat.Scripted(lambda said: "yes", name=spec))
    names: dict = {"questions": ["Is it so?", "Is it so again?"]}
    exec(next(block for block in blocks("README.md") if "Atlas(" in block), names)
    assert len(names["answers"]) == 2
    assert (tmp_path / "lessons" / "report.html").exists()
