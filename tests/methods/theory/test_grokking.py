from __future__ import annotations

import pytest
import torch

from tutelage.data.teacher_task import TeacherTask, teacher_task
from tutelage.errors import OptionError, ShapeError, TrainingError
from tutelage.evaluate.kernels import kernel_change, tangent_kernel
from tutelage.methods.theory.grokking import Grokking, descend
from tutelage.models.linearised import Linearised

D, P = 5, 12


@pytest.fixture
def task() -> TeacherTask:
    return teacher_task(D, P, test=40, seed=0)


def batch(task: TeacherTask) -> dict[str, torch.Tensor]:
    return {"input": task.train_input, "target": task.train_target}


def test_the_gradient_is_the_papers(task):
    student = Grokking(D, alpha=1.3, epsilon=0.2, width=6)
    with torch.no_grad():
        student.weight.mul_(1.2)
    loss = student(batch(task))["mse"]
    (found,) = torch.autograd.grad(loss, student.weight)
    x, w = task.train_input, student.weight.detach()
    error = student.student(x).detach() - task.train_target
    by_hand = 2 * 1.3 / (6 * P) * torch.einsum("m,mi,md->id", error, 1 + 0.2 * x @ w.mT, x)
    torch.testing.assert_close(found, by_hand)


def test_the_descent_is_that_of_the_neurons(task):
    """The affine map of all neurons against autograd and SGD on every neuron, with the trainer's loss."""
    knobs = ({"alpha": 0.5, "epsilon": 0.3}, {"alpha": 2.0, "epsilon": 0.05, "centred": False}, {"alpha": 1.0, "epsilon": 1.0})
    together = [Grokking(D, width=8, seed=1, **k) for k in knobs]
    tracks = descend(together, [task] * 3, 200)
    for k, fast, track in zip(knobs, together, tracks, strict=True):
        slow = Grokking(D, width=8, seed=1, **k)
        optimizer = torch.optim.SGD([slow.weight], lr=slow.learning_rate)
        losses = []
        for _ in range(201):
            optimizer.zero_grad()
            loss = slow.losses(batch(task))["mse"]
            losses.append(loss.item())
            loss.backward()
            if len(losses) < 201:
                optimizer.step()
        assert [losses[step] for step in track.steps] == pytest.approx(track.values["train_loss"], rel=1e-9)
        torch.testing.assert_close(fast.weight, slow.weight)
        test_loss = ((fast.student(task.test_input) - task.test_target) ** 2).mean().item()
        assert track.values["test_loss"][-1] == pytest.approx(test_loss)
        assert track.values["weight_norm"][-1] == pytest.approx(fast.weight.norm().item())
        changed = kernel_change(tangent_kernel(fast.student, task.train_input), tangent_kernel(slow_start(k), task.train_input))
        assert track.values["kernel_change"][-1] == pytest.approx(float(changed))


def slow_start(knobs):
    return Grokking(D, width=8, seed=1, **knobs).student


@pytest.mark.parametrize("centred", [True, False])
def test_the_linearised_student_is_the_wrapper_under_the_same_rule(task, centred):
    student = Grokking(D, alpha=1.5, epsilon=0.3, width=8, centred=centred)
    line = Linearised(student.student)
    optimizer = torch.optim.SGD([p for p in line.parameters() if p.requires_grad], lr=student.learning_rate)
    for _ in range(50):
        optimizer.zero_grad()
        ((line(task.train_input) - task.train_target) ** 2).mean().backward()
        optimizer.step()
    (track,) = descend([student], [task], 50)
    for name, x, y in (("train", task.train_input, task.train_target), ("test", task.test_input, task.test_target)):
        assert track.values[f"linear_{name}_loss"][-1] == pytest.approx(float(((line(x) - y) ** 2).mean()))


def test_the_first_training_loss_is_the_mean_squared_label_and_the_first_answer_zero(task):
    student = Grokking(D, alpha=3.0)
    assert torch.equal(student.student(task.train_input), torch.zeros(P, dtype=torch.float64))
    (track,) = descend([student], [task], 10)
    assert track.values["train_loss"][0] == pytest.approx(float((task.train_target**2).mean()))
    assert track.power == task.power


def test_without_the_square_the_kernel_stays_and_the_features_never_turn(task):
    student = Grokking(D, epsilon=0.0)
    (track,) = descend([student], [task], 300)
    assert max(track.values["kernel_change"]) < 1e-9
    assert max(track.values["B"]) == pytest.approx(min(track.values["B"]))
    assert track.values["train_loss"] == pytest.approx(track.values["linear_train_loss"])


def test_the_linearised_student_does_not_know_alpha_and_a_lazy_one_follows_it(task):
    students = [Grokking(D, alpha=alpha, epsilon=0.3, width=50) for alpha in (0.02, 2.0, 500.0)]
    tracks = descend(students, [task] * 3, 100)
    assert tracks[0].values["linear_test_loss"] == pytest.approx(tracks[1].values["linear_test_loss"])
    assert tracks[2].values["test_loss"] == pytest.approx(tracks[2].values["linear_test_loss"], rel=0.02)
    assert tracks[0].values["test_loss"][-1] != pytest.approx(tracks[0].values["linear_test_loss"][-1], rel=0.02)


def test_training_together_changes_nothing(task):
    other = teacher_task(D, P, test=40, seed=5)
    both = descend([Grokking(D, alpha=0.5), Grokking(D, alpha=2.0, seed=3)], [task, other], 50)
    (alone,) = descend([Grokking(D, alpha=2.0, seed=3)], [other], 50)
    for name, column in alone.values.items():
        assert both[1].values[name] == pytest.approx(column, rel=1e-9, abs=1e-12), name


def test_a_second_descent_starts_from_the_initial_weights(task):
    student = Grokking(D)
    (first,) = descend([student], [task], 30)
    (again,) = descend([student], [task], 30)
    assert first == again


def test_any_teacher_can_be_learned_from(task):
    other = teacher_task(D, P, test=40, teacher=lambda x: torch.relu(x).sum(-1))
    (track,) = descend([Grokking(D, alpha=0.5, epsilon=0.5)], [other], 500, kernels=False)
    assert track.values["test_loss"][-1] < 0.5 * track.values["test_loss"][0]
    assert not {"A", "alignment", "cka"} & track.values.keys()
    assert track.kernel_test_loss is None


def test_what_cannot_be_trained_is_refused(task):
    for wrong in ({"alpha": 0.0}, {"rate": 0.0}, {"epsilon": -0.1}, {"alpha": float("nan")}):
        with pytest.raises(OptionError, match="expected alpha and rate above 0"):
            Grokking(D, **wrong)
    with pytest.raises(ShapeError, match="one task per student"):
        descend([Grokking(D)], [], 10)
    with pytest.raises(ShapeError, match="one size"):
        descend([Grokking(D), Grokking(D)], [task, teacher_task(D, P + 1)], 10)
    with pytest.raises(ShapeError, match="takes 6 dimensions"):
        descend([Grokking(6)], [task], 10)
    with pytest.raises(TrainingError, match=r"alpha 0\.01, epsilon 4 diverged before step"):
        descend([Grokking(D, alpha=0.01, epsilon=4.0, rate=5.0)], [task], 1000)
