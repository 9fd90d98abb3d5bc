from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.data import Arrays, Batches
from tutelage.errors import OptionError
from tutelage.train import Supervised, Trainer, TrainOptions
from tutelage.train.virtual import Soup, virtual


def trainer(optimizer="Adam"):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    arrays = Arrays({"input": torch.randn(8, 3), "label": torch.arange(8) % 2}, classes=("a", "b"))
    made = Trainer(Supervised(student), Batches(arrays, 8), TrainOptions(epochs=1, batch_size=8, optimizer=optimizer, accelerator="cpu"))
    made.engine.begin(1.0, True)
    return made, student, arrays.gather()


def walk(made, batch):
    made.engine.backward(made.method.losses(batch)["ce"])
    made.engine.move("student")


@pytest.mark.parametrize("restored", [True, False])
def test_weights_and_statistics_come_back_and_the_optimizers_memory_if_asked(restored):
    made, student, batch = trainer()
    walk(made, batch)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    steps = float(next(iter(made.engine.raw["student"].state.values()))["step"])
    with virtual(made.engine, student, restore_optimizer=restored):
        walk(made, batch)
        assert any(not torch.equal(before[k], v) for k, v in student.state_dict().items())
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())
    after = float(next(iter(made.engine.raw["student"].state.values()))["step"])
    assert after == steps + (not restored)


def test_the_student_comes_back_after_an_error_too():
    made, student, batch = trainer()
    before = student[0].weight.detach().clone()

    def fail():
        with virtual(made.engine, student):
            walk(made, batch)
            raise ValueError("on the way")

    with pytest.raises(ValueError, match="on the way"):
        fail()
    assert torch.equal(student[0].weight, before)


def test_a_soup_is_the_average():
    network = nn.BatchNorm1d(2)
    soup = Soup(network)
    with pytest.raises(OptionError):
        soup.serve()
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(network.weight, value)
        network.running_mean.fill_(value)
        network.num_batches_tracked.fill_(int(value))
        soup.add()
    soup.serve()
    assert network.weight.tolist() == [3.0, 3.0]
    assert network.running_mean.tolist() == [3.0, 3.0]
    assert int(network.num_batches_tracked) == 6
