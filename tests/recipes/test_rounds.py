from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from tutelage.data import Arrays
from tutelage.errors import CheckpointError, DataError, OptionError
from tutelage.models.zero_shot import ZeroShot
from tutelage.recipes.asking import Asked
from tutelage.recipes.instances.pcoreset import OPTIONS
from tutelage.recipes.lessons import guide
from tutelage.recipes.rounds import active_learning, check_sizes
from tutelage.teachers import Frozen, Stored
from tutelage.train import TrainOptions

FAST = TrainOptions(epochs=1, batch_size=16, optimizer="AdamW", learning_rate=0.02, accelerator="cpu")


def clouds(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % 3
    x = 2.5 * torch.eye(3, 6)[label] + torch.randn(rows, 6, generator=generator)
    return Arrays({"input": x, "label": label}, ("a", "b", "c"), "clouds")


@pytest.fixture
def setting():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
    teacher = ZeroShot(nn.Identity(), torch.eye(3, 6) + 0.4 * torch.randn(3, 6), scale=5.0)
    return backbone, teacher, clouds(90, 0), clouds(300, 1)


def learn(setting, **options):
    backbone, teacher, pool, test = setting
    pool = options.pop("pool", pool)
    return active_learning(backbone, options.pop("teacher", teacher), pool, test, train=FAST, steps=25, **({"rounds": 3} | options))


def test_sets_stay_disjoint_and_grow_by_the_queries(setting):
    found = learn(setting, count=5)
    assert [entry.labels for entry in found.rounds] == [3, 8, 13]
    assert [len(entry.queried) for entry in found.rounds] == [5, 5, 0]
    asked = [row for entry in found.rounds for row in entry.queried]
    assert len(set(asked)) == 10
    assert set(asked) < set(found.labelled.index.tolist())
    assert len(found.labelled) == 13
    assert torch.equal(found.labelled.labels, setting[2].labels[found.labelled.index])
    assert found.rounds[0].classes <= 3


def test_students_learn_and_the_report_has_their_curve(setting):
    found = learn(setting, count=6)
    assert found.rounds[-1].metrics["accuracy"] > 75
    assert {curve.title for curve in found.report.curves} == {"Test accuracy", "Classes among the queries"}
    with torch.no_grad():
        answer = found.student.eval()(setting[3].column("input")).argmax(1)
    assert 100 * (answer == setting[3].labels).float().mean().item() == pytest.approx(found.rounds[-1].metrics["accuracy"])


def test_the_given_networks_are_left_as_they_were(setting):
    before = {name: value.clone() for name, value in setting[0].state_dict().items()}
    learn(setting, refit={"passes": 20})
    assert all(torch.equal(before[name], value) for name, value in setting[0].state_dict().items())


def test_an_oracle_is_asked_once_about_each_and_not_again_after_an_interruption(setting, tmp_path):
    *_, pool, _ = setting
    bare = Arrays({"input": pool.column("input")}, pool.classes)
    asked: list[int] = []

    def oracle(samples):
        assert "label" not in samples.columns
        if len(asked) > 8:
            raise KeyboardInterrupt
        asked.extend(samples.index.tolist())
        return pool.labels[samples.index]

    start = [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        learn(setting, pool=bare, oracle=oracle, start=start, rounds=4, count=4, out=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "labels.json").read_text())
    assert sorted(map(int, kept)) == sorted(asked)

    def goes_on(samples):
        asked.extend(samples.index.tolist())
        return pool.labels[samples.index]

    found = learn(setting, pool=bare, oracle=goes_on, start=start, rounds=4, count=4, out=tmp_path / "run", resume=True)
    assert len(asked) == len(set(asked)) == 15
    straight = learn(setting, start=start, rounds=4, count=4)
    assert [entry.queried for entry in found.rounds] == [entry.queried for entry in straight.rounds]
    for ours, theirs in zip(found.student.parameters(), straight.student.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert (tmp_path / "run" / "report.json").exists()
    assert (tmp_path / "run" / "round-4").is_dir()


def test_without_labels_the_first_questions_are_random_and_without_a_teacher_labels_teach(setting):
    *_, pool, _ = setting
    bare = Arrays({"input": pool.column("input")}, pool.classes)
    found = learn(setting, pool=bare, oracle=lambda samples: pool.labels[samples.index].tolist(), teacher=None)
    assert found.rounds[0].labels == 3
    assert found.student.share == 0
    assert len(learn(setting, rounds=1).rounds) == 1


def test_a_few_shot_teacher_follows_the_labels(setting):
    _, teacher, pool, _ = setting
    make = guide(teacher, pool, refit={"passes": 30})
    few, many, plain = make(pool.subset(range(3)))[0], make(pool.subset(range(60)))[0], guide(teacher, pool)(pool)[0]
    batch = pool.gather(range(10))
    for stored in (few, many, plain):
        stored.attend(batch)
    assert not torch.allclose(few(batch["input"]), many(batch["input"]))
    torch.testing.assert_close(plain(batch["input"]), teacher(batch["input"]))


def test_views_are_cached_or_seen_live(setting):
    _, teacher, pool, _ = setting

    def view(x, generator=None):
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    live, seen = guide(teacher, pool, view=view)(pool)
    assert isinstance(live, Frozen)
    assert seen is view
    fitted, _ = guide(teacher, pool, view=view, refit={"passes": 5})(pool)
    assert isinstance(fitted, Frozen)
    for refit in (None, {"passes": 5}):
        stored, seen = guide(teacher, pool, view=view, cached_views=2, refit=refit)(pool)
        assert isinstance(stored, Stored)
        batch = pool.gather(range(4))
        stored.attend(batch)
        assert stored(seen(batch["input"])).shape == (4, 3)
    assert len(learn(setting, view=view, cached_views=2).rounds) == 3
    assert len(learn(setting, view=view).rounds) == 3


def test_every_rule_goes_through(setting):
    for rule in ("random", "entropy", "coreset", "badge", "class-balanced"):
        assert len(learn(setting, options=OPTIONS(rule=rule), rounds=2).labelled) == 6


def test_what_cannot_work_is_named(setting, tmp_path):
    *_, pool, _ = setting
    with pytest.raises(OptionError, match="the pool has 90"):
        learn(setting, rounds=30, count=3)
    check_sizes(90, 3, 3, 29)
    with pytest.raises(DataError, match="oracle"):
        learn(setting, pool=Arrays({"input": pool.column("input")}, pool.classes))
    with pytest.raises(DataError, match="from 0 to 2"):
        learn(setting, oracle=lambda samples: [7] * len(samples))
    with pytest.raises(DataError, match="one for each"):
        learn(setting, oracle=lambda samples: [0])
    with pytest.raises(OptionError, match="names 0 classes"):
        learn(setting, pool=Arrays({"input": pool.column("input"), "label": pool.labels}))
    with pytest.raises(OptionError, match="ZeroShot"):
        guide(nn.Linear(6, 3), pool, refit={})
    (tmp_path / "labels.json").write_text("[")
    with pytest.raises(CheckpointError, match="damaged"):
        Asked(None, pool, tmp_path / "labels.json")
