from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tutelage import views
from tutelage.data import Arrays, Batches
from tutelage.errors import DataError, OptionError
from tutelage.methods.distillation.bd_kd import BDKD
from tutelage.methods.distillation.hinton import Hinton
from tutelage.methods.distillation.knowledge_concentration import KnowledgeConcentration, OneVersusRest
from tutelage.teachers import Ensemble, Frozen, Routed, Stored
from tutelage.train import Trainer, TrainOptions

CPU = TrainOptions(epochs=3, batch_size=16, accelerator="cpu", learning_rate=0.05)


class Memory:
    """A store that lives in memory: what a network said about every view of every row."""

    def __init__(self, model, arrays, view=None, count=0, seed=3):
        self.views, self.view_seed = count, seed
        self.rows = {int(row): place for place, row in enumerate(arrays.index)}
        batch = arrays.gather()
        with torch.no_grad():
            if count:
                inputs = [views.per_row(view, batch["input"], views.row_seeds(seed, batch["index"], n)) for n in range(count)]
            else:
                inputs = [batch["input"]]
            self.answers = [model(x) for x in inputs]

    def read(self, part, index, view=0):
        assert part == "train"
        return self.answers[view][torch.tensor([self.rows[int(i)] for i in index], dtype=torch.int64)]


@pytest.fixture
def setting():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(70, 1, 8, 8, generator=generator)
    arrays = Arrays({"input": x, "label": torch.randint(0, 3, (70,), generator=generator)}, classes=("a", "b", "c"))
    torch.manual_seed(1)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    return arrays.subset(range(3, 67)), teacher, student


def trained(method, arrays, options=CPU):
    Trainer(method, Batches(arrays, options.batch_size, seed=2), options).fit()
    return torch.cat([p.detach().flatten() for p in method.student.parameters()])


@pytest.mark.parametrize("build", [Hinton, lambda s, t, v=None: BDKD(s, t, v, online=False)], ids=["hinton", "bd-kd"])
def test_a_stored_teacher_teaches_what_the_live_one_does(setting, build):
    arrays, teacher, student = setting
    live = trained(build(copy.deepcopy(student), Frozen(teacher)), arrays)
    stored = trained(build(copy.deepcopy(student), Stored(Memory(teacher, arrays))), arrays)
    torch.testing.assert_close(stored, live, rtol=0, atol=1e-6)


class Rowwise(nn.Module):
    """A view that is drawn per row, from the rows themselves: what a live teacher must see to agree with a stored one."""

    def __init__(self, view, seed, count):
        super().__init__()
        self.view, self.seed, self.count = view, seed, count
        self.batch, self.epoch = None, 0

    def __call__(self, images, generator=None):
        return views.per_row(self.view, images, views.row_seeds(self.seed, self.batch["index"], self.epoch % self.count))


def test_stored_views_are_those_that_the_student_sees(setting):
    arrays, teacher, student = setting
    view = views.from_name("crop-flip-erase")
    stored = Stored(Memory(teacher, arrays, view, count=2), view)
    found = trained(Hinton(copy.deepcopy(student), stored, stored.view), arrays)

    again = Rowwise(view, 3, 2)

    class Told(Hinton):
        def losses(self, batch):
            again.batch, again.epoch = batch, self.epoch
            return super().losses(batch)

    live = trained(Told(copy.deepcopy(student), Frozen(teacher), again), arrays)
    torch.testing.assert_close(found, live, rtol=0, atol=1e-5)
    plain = trained(Hinton(copy.deepcopy(student), Frozen(teacher)), arrays)
    assert (found - plain).abs().max() > 1e-3


def test_routed_asks_a_stored_teacher_about_some_rows(setting):
    arrays, teacher, _ = setting
    other = copy.deepcopy(teacher)
    nn.init.normal_(other[1].weight)
    batch = arrays.gather([5, 9, 0, 33, 21])
    route = torch.tensor([0, 1, 1, 0, 1])
    members = [Stored(Memory(model, arrays)) for model in (teacher, other)]
    lists = [[0, 1, 2], [3, 4, 5]]
    routed = Routed(members, lists)
    for member in members:
        member.attend(batch)
    torch.testing.assert_close(routed(batch["input"], route), Routed([teacher, other], lists)(batch["input"], route))


def test_ensembles_and_sigmoid_distillation_take_stored_teachers(setting):
    arrays, teacher, student = setting
    both = Ensemble([Stored(Memory(teacher, arrays)), teacher])
    torch.testing.assert_close(
        trained(Hinton(copy.deepcopy(student), both), arrays), trained(Hinton(copy.deepcopy(student), Frozen(teacher)), arrays)
    )
    found = []
    for one in (Stored(Memory(teacher, arrays)), copy.deepcopy(teacher)):
        method = KnowledgeConcentration(copy.deepcopy(student), Routed([OneVersusRest(one)], [range(3)]), self_paced="none")
        found.append(trained(method, arrays))
    torch.testing.assert_close(*found)


def test_other_inputs_and_unfit_views_are_refused(setting):
    arrays, teacher, _ = setting
    memory, view = Memory(teacher, arrays), views.from_name("flip")
    stored = Stored(memory)
    batch = arrays.gather([1, 2])
    stored.attend(batch)
    assert torch.equal(stored(batch["input"]), memory.read("train", batch["index"]))
    with pytest.raises(DataError, match="not the samples of its batch"):
        stored(batch["input"] + 0.1)
    with pytest.raises(OptionError, match="no augmented views"):
        Stored(memory, view)
    with pytest.raises(OptionError, match="2 augmented views"):
        Stored(Memory(teacher, arrays, view, count=2))


def test_a_copy_reads_the_same_store_and_attends_on_its_own(setting):
    arrays, teacher, _ = setting
    stored = Stored(Memory(teacher, arrays))
    twin, batch = copy.deepcopy(stored), arrays.gather([4])
    assert twin.store is stored.store
    twin.attend(batch)
    assert twin(batch["input"]).shape == (1, 3)
    with pytest.raises(DataError):
        stored(batch["input"])
