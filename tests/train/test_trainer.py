from __future__ import annotations

import json
import math
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tutelage.data import Arrays, Batches
from tutelage.errors import CheckpointError, OptionError, TrainingError
from tutelage.teachers import EMA, Frozen
from tutelage.train import Interrupted, Method, Player, Supervised, Trainer, TrainOptions

FAST = TrainOptions(epochs=3, batch_size=32, accelerator="cpu")


def accuracy(arrays):
    return lambda method: {"accuracy": float((method.predict(arrays.gather()).argmax(1) == arrays.labels).float().mean() * 100)}


def test_it_is_the_loop_one_would_write_by_hand(blobs, net):
    method = Supervised(net(0.0))
    options = TrainOptions(epochs=3, batch_size=32, learning_rate=0.1, schedule="constant", accelerator="cpu")
    history = Trainer(method, Batches(blobs, 32, seed=5), options).fit()

    model = net(0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    means = []
    for epoch in range(3):
        values = []
        for batch in Batches(blobs, 32, seed=5).epoch(epoch):
            loss = cross_entropy(model(batch["input"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        means.append(sum(values) / len(values))
    for ours, theirs in zip(method.student.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert history.series("ce") == pytest.approx(means, abs=1e-6)


def test_it_learns_and_measures_every_epoch(blobs, net, tmp_path):
    options = TrainOptions(epochs=10, batch_size=32, accelerator="cpu")
    history = Trainer(Supervised(net()), Batches(blobs, 32), options, directory=tmp_path, validate=accuracy(blobs)).fit()
    assert len(history.series("accuracy")) == 10
    assert history.series("accuracy")[-1] > 75  # 33 by chance
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows if r["kind"] == "epoch"] == list(range(1, 11))
    assert rows[-1]["ce"] == history.epochs[-1]["ce"]


def test_accumulated_batches_are_one_large_batch(blobs, net):
    weights = []
    for size, accumulate in ((64, 1), (16, 4)):
        method = Supervised(net(0.0))
        options = TrainOptions(epochs=2, batch_size=size, accumulate=accumulate, accelerator="cpu")
        Trainer(method, Batches(blobs, size, seed=1), options).fit()
        weights.append(method.student[0].weight)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-6)


def test_clipping_bounds_the_step(blobs, net):
    method = Supervised(net(0.0))
    before = [p.clone() for p in method.parameters()]
    options = TrainOptions(epochs=1, batch_size=200, learning_rate=1.0, momentum=0.0, clip=0.01, schedule="constant", accelerator="cpu")
    Trainer(method, Batches(blobs, 200), options).fit()
    moved = math.sqrt(sum((p - b).detach().square().sum().item() for p, b in zip(method.parameters(), before, strict=True)))
    assert moved == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_stopped_training_goes_on_to_the_same_weights_and_bytes(blobs, net, tmp_path, steps):
    options = TrainOptions(epochs=3, batch_size=32, optimizer="AdamW", learning_rate=0.01, log_every=2, accelerator="cpu")

    class Stops(Supervised):
        def losses(self, batch):
            if self.steps_done + 1 == steps and self.stop:
                os.kill(os.getpid(), signal.SIGINT)
            return super().losses(batch)

    def trainer(directory, stop):
        method = Stops(net(), view=lambda x, g: x + 0.1 * torch.randn(x.shape, generator=g))
        method.stop = stop
        return Trainer(method, Batches(blobs, 32, seed=2), options, directory=directory, validate=accuracy(blobs))

    whole = trainer(tmp_path / "whole", False)
    whole.fit()
    first = trainer(tmp_path / "parts", True)
    with pytest.raises(Interrupted, match=f"stopped after step {steps} of 21"):
        first.fit()
    second = trainer(tmp_path / "parts", False)
    second.fit(resume=True)
    for (name, a), b in zip(whole.method.state_dict().items(), second.method.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "parts/metrics.jsonl").read_bytes()
    assert whole.history.epochs == second.history.epochs


def test_a_finished_training_is_not_done_again(blobs, net, tmp_path):
    first = Trainer(Supervised(net()), Batches(blobs, 32), FAST, directory=tmp_path)
    first.fit()
    again = Trainer(Supervised(net()), Batches(blobs, 32), FAST, directory=tmp_path)
    assert again.fit(resume=True).steps == 21
    assert torch.equal(first.method.student[0].weight, again.method.student[0].weight)


def test_a_checkpoint_of_another_model_falls_back_to_the_one_before(blobs, net, tmp_path):
    whole = Trainer(Supervised(net()), Batches(blobs, 32), FAST, directory=tmp_path / "a")
    whole.fit()
    wide = Supervised(nn.Sequential(nn.Linear(8, 99), nn.Linear(99, 3)))
    Trainer(wide, Batches(blobs, 32), FAST, directory=tmp_path / "b").fit()
    paths = [sorted((tmp_path / name / "checkpoints").glob("step-*"))[-1] for name in "ab"]
    shutil.rmtree(paths[0])
    shutil.copytree(paths[1], paths[0])
    again = Trainer(Supervised(net()), Batches(blobs, 32), FAST, directory=tmp_path / "a")
    again.fit(resume=True)
    assert "is of another model" in again.warnings[0]
    assert torch.equal(whole.method.student[0].weight, again.method.student[0].weight)
    with pytest.raises(CheckpointError, match="No checkpoint can be used"):
        Trainer(Supervised(net()), Batches(blobs, 32), FAST, directory=tmp_path / "b").fit(resume=True)


def test_the_best_weights_are_kept_when_asked(blobs, net, tmp_path):
    values = iter([10.0, 90.0, 20.0])
    seen = []

    def validate(method):
        seen.append(method.student[0].weight.clone())
        return {"accuracy": next(values)}

    for directory in (None, tmp_path):
        values, seen = iter([10.0, 90.0, 20.0]), []
        method = Supervised(net())
        options = TrainOptions(epochs=3, batch_size=32, keep="best", accelerator="cpu")
        history = Trainer(method, Batches(blobs, 32), options, directory=directory, validate=validate).fit()
        assert history.best_value == 90.0
        assert torch.equal(method.student[0].weight, seen[1])


def test_it_stops_early_without_improvement(blobs, net):
    options = TrainOptions(epochs=20, batch_size=32, patience=2, monitor="loss", minimise=True, accelerator="cpu")
    values = iter([3.0, 2.0, 2.5, 2.5, 2.5, 0.0])
    history = Trainer(Supervised(net()), Batches(blobs, 32), options, validate=lambda m: {"loss": next(values)}).fit()
    assert len(history.epochs) == 5


def plateau(epochs, **more):
    return TrainOptions(
        epochs=epochs,
        batch_size=32,
        learning_rate=0.1,
        schedule="ReduceLROnPlateau",
        schedule_arguments={"factor": 0.25, "patience": 1},
        monitor="loss",
        minimise=True,
        accelerator="cpu",
        **more,
    )


def rates(trainer, values):
    """Train with such validation losses and return the learning rate of each epoch."""
    found = []

    def validate(method):
        found.append(trainer.engine.learning_rate("student"))
        return {"loss": values[len(trainer.history.epochs)]}

    trainer.validate = validate
    trainer.fit(resume=trainer.directory is not None)
    return found


def test_the_learning_rate_falls_after_more_stale_validations_than_its_patience(blobs, net):
    falling = [5.0, 4.0, 4.0, 4.0, 3.0, 3.5, 3.5, 3.5]
    assert rates(Trainer(Supervised(net()), Batches(blobs, 32), plateau(8)), falling) == [0.1] * 4 + [0.025] * 3 + [0.025 / 4]
    # By accuracy the same numbers get worse from the first on.
    up = replace(plateau(4), minimise=False)
    assert rates(Trainer(Supervised(net()), Batches(blobs, 32), up), falling) == [0.1] * 3 + [0.025]


def test_a_plateau_goes_on_where_it_was_after_a_resume(blobs, net, tmp_path):
    values = [5.0, 4.0, 4.0, 4.0, 3.0, 3.5, 3.5, 3.5]

    class Stops(Supervised):
        def losses(self, batch):
            if self.epoch == 3:
                raise KeyboardInterrupt
            return super().losses(batch)

    with pytest.raises(KeyboardInterrupt):
        rates(Trainer(Stops(net()), Batches(blobs, 32), plateau(8), directory=tmp_path), values)
    after = rates(Trainer(Supervised(net()), Batches(blobs, 32), plateau(8), directory=tmp_path), values)
    assert after == [0.1] + [0.025] * 3 + [0.025 / 4]


def test_a_plateau_needs_a_validation(blobs, net):
    with pytest.raises(TrainingError, match="follow a plateau, but has no validation"):
        Trainer(Supervised(net()), Batches(blobs, 32), plateau(1)).fit()


def test_a_loss_that_is_not_finite_names_loss_step_and_checkpoint(blobs, net, tmp_path):
    class Breaks(Supervised):
        def losses(self, batch):
            loss = super().losses(batch)
            return {"fine": loss["ce"], "broken": loss["ce"] * (math.nan if self.steps_done == 9 else 1.0)}

    with pytest.raises(TrainingError, match=r"'broken' of 'student' is nan at step 9\. The last good checkpoint is .*step-000000007"):
        Trainer(Breaks(net()), Batches(blobs, 32), FAST, directory=tmp_path, name="student").fit()


def test_a_missing_key_is_named(blobs, net):
    class Needs(Supervised):
        def losses(self, batch):
            return {"x": batch["held_out"]["input"].sum()}

    with pytest.raises(TrainingError, match=r"no key 'held_out', which Needs needs; they have input, label, index"):
        Trainer(Needs(net()), Batches(blobs, 32), FAST).fit()


def test_an_unknown_metric_is_named(blobs, net):
    options = TrainOptions(epochs=1, keep="best", monitor="auc", accelerator="cpu")
    with pytest.raises(TrainingError, match=r"'auc' is not among those"):
        Trainer(Supervised(net()), Batches(blobs, 32), options, validate=accuracy(blobs)).fit()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"optimizer": "SDG"}, "SGD"), ({"schedule": "cosin"}, "cosine"), ({"optimizer_arguments": {"nestrov": 1}}, "nesterov")],
)
def test_a_mistyped_optimizer_or_schedule_offers_the_nearest(blobs, net, change, message):
    with pytest.raises(OptionError, match=f"Did you mean .*'{message}'"):
        Trainer(Supervised(net()), Batches(blobs, 32), TrainOptions(accelerator="cpu", **change))


def test_a_scheduler_of_torch_steps_by_the_epoch(blobs, net):
    options = TrainOptions(
        epochs=4, batch_size=32, learning_rate=1e-3, schedule="StepLR", schedule_arguments={"step_size": 2, "gamma": 0.1}, accelerator="cpu"
    )
    trainer = Trainer(Supervised(net()), Batches(blobs, 32), options)
    rates = []
    trainer.validate = lambda m: rates.append(trainer.engine.learning_rate("student")) or {}
    trainer.fit()
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])


class Duel(Method):
    """Two linear players that move in turn, the critic twice as often."""

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student, self.critic = nn.Linear(8, 1), nn.Linear(1, 1)
        self.every = every
        self.seen: list[tuple[int, bool, bool]] = []

    def players(self):
        return {
            "critic": Player(list(self.critic.parameters()), losses=("critic",), turn=0),
            "student": Player(list(self.student.parameters()), losses=("student",), turn=1, every=self.every),
        }

    def losses(self, batch):
        score = self.critic(self.student(batch["input"])).mean()
        self.seen.append((self.turn, self.student.weight.requires_grad, self.critic.weight.requires_grad))
        return {"critic": -score, "student": score}


def test_players_move_in_turn_and_only_themselves(blobs):
    method = Duel(every=2)
    before = {n: p.clone() for n, p in method.named_parameters()}
    options = TrainOptions(epochs=1, batch_size=50, learning_rate=0.1, momentum=0.0, schedule="constant", accelerator="cpu")
    Trainer(method, Batches(blobs, 50, shuffle=False), options).fit()
    assert method.seen == [(0, False, True), (1, True, False), (0, False, True), (0, False, True), (1, True, False), (0, False, True)]

    student, critic = nn.Linear(8, 1), nn.Linear(1, 1)
    student.load_state_dict({k.removeprefix("student."): v for k, v in before.items() if k.startswith("student.")})
    critic.load_state_dict({k.removeprefix("critic."): v for k, v in before.items() if k.startswith("critic.")})
    for number, batch in enumerate(Batches(blobs, 50, shuffle=False).epoch(0)):
        players = [(critic, -1.0)] + ([(student, 1.0)] if number % 2 == 0 else [])
        for player, sign in players:
            score = sign * critic(student(batch["input"])).mean()
            for p, g in zip(player.parameters(), torch.autograd.grad(score, list(player.parameters())), strict=True):
                p.data -= 0.1 * g
    torch.testing.assert_close(method.student.weight, student.weight)
    torch.testing.assert_close(method.critic.weight, critic.weight)


def test_a_parameter_has_one_owner(blobs):
    class Shared(Duel):
        def players(self):
            return {"a": Player([self.student.weight]), "b": Player([self.student.weight])}

    with pytest.raises(OptionError, match=r"'a' and 'b' both own a parameter of shape \(1, 8\)"):
        Trainer(Shared(), Batches(blobs, 50), FAST)


def test_a_student_with_nothing_to_learn_is_refused(blobs, net):
    method = Supervised(net().requires_grad_(False))
    with pytest.raises(OptionError, match="owns no trainable parameters"):
        Trainer(method, Batches(blobs, 32), FAST)


def test_teachers_are_updated_after_every_step_and_saved(blobs, net, tmp_path):
    class Follows(Supervised):
        def __init__(self, student):
            super().__init__(student)
            self.mean, self.frozen = EMA(student, momentum=0.5), Frozen(net())

    method = Follows(net())
    Trainer(method, Batches(blobs, 200), TrainOptions(epochs=1, batch_size=200, accelerator="cpu"), directory=tmp_path).fit()
    start = net()[0].weight
    expected = 0.5 * start + 0.5 * method.student[0].weight
    mean = dict(method.mean.named_parameters())
    torch.testing.assert_close(next(v for k, v in mean.items() if k.endswith("0.weight")), expected)
    again = Follows(net())
    for parameter in again.frozen.parameters():
        parameter.zero_()
    Trainer(again, Batches(blobs, 200), TrainOptions(epochs=1, batch_size=200, accelerator="cpu"), directory=tmp_path).fit(resume=True)
    for (name, a), b in zip(method.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_bfloat16_trains_and_stays_close(blobs, net):
    method, other = Supervised(net(0.0)), Supervised(net(0.0))
    for m, precision in ((method, "32-true"), (other, "bf16-mixed")):
        Trainer(m, Batches(blobs, 32), TrainOptions(epochs=1, batch_size=32, precision=precision, accelerator="cpu")).fit()
    difference = (method.student[0].weight - other.student[0].weight).abs().max()
    assert 0 < difference < 0.05


def test_one_sample_left_over_is_a_batch(net):
    arrays = Arrays({"input": torch.randn(33, 8), "label": torch.arange(33) % 3}, classes=("a", "b", "c"))
    history = Trainer(Supervised(net()), Batches(arrays, 32), TrainOptions(epochs=1, batch_size=32, accelerator="cpu")).fit()
    assert history.steps == 2


def test_tensorboard_events_hold_the_scalars(blobs, net, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = TrainOptions(epochs=2, batch_size=32, tensorboard=True, accelerator="cpu")
    history = Trainer(Supervised(net()), Batches(blobs, 32), options, directory=tmp_path).fit()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("epoch/ce")] == pytest.approx(history.series("ce"))
