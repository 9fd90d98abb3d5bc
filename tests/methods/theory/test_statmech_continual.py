from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tutelage.data import Arrays, Batches
from tutelage.data.perceptrons import perceptron_task, perceptron_teachers
from tutelage.errors import OptionError, ShapeError
from tutelage.evaluate.mean_field import generalisation_error
from tutelage.losses.anchor import binary_kl
from tutelage.methods.theory.statmech_continual import Annealed, StatMechContinual, descend, overlap
from tutelage.models.binary import FieldMLP, FieldPerceptron, field_variance, stability
from tutelage.schedules import constant
from tutelage.train import Run, TrainOptions


def network() -> FieldMLP:
    torch.manual_seed(0)
    return FieldMLP(num_classes=3, input_shape=(6,), widths=(5,))


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"input": torch.rand(8, 6, generator=generator), "label": torch.arange(8) % 3}


def stepped(method: StatMechContinual, steps: int = 1, rate: float = 0.1) -> StatMechContinual:
    optimizer = torch.optim.SGD(method.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(method.losses(batch()).values()).backward()
        optimizer.step()
        method.update_teachers()
    return method


def test_the_sharpness_is_annealed_over_all_tasks():
    schedule = Annealed()
    assert schedule(0.0) == pytest.approx(10 * math.tanh(0.1))
    assert schedule(1.0) == pytest.approx(10 * math.tanh(2.1))
    method = StatMechContinual(network(), 8, tasks=2)
    method.progress = 0.5
    method.losses(batch())
    assert [float(layer.sharpness) for layer in method.layers] == pytest.approx([schedule(0.25)] * 2)
    method.consolidate()
    method.losses(batch())
    assert float(method.layers[0].sharpness) == pytest.approx(schedule(0.75))


def test_the_first_task_is_free_or_held_to_a_flat_prior_and_the_next_to_the_last_posterior():
    free, flat = (StatMechContinual(network(), 8, prior=prior, tasks=2, sharpness=1.5) for prior in ("none", "flat"))
    assert set(free.losses(batch())) == {"ce"}
    expected = sum(binary_kl(layer.field, torch.zeros_like(layer.field), sharpness=1.5).sum() for layer in flat.layers)
    torch.testing.assert_close(flat.losses(batch())["kl"], expected / 8)
    stepped(free).consolidate()
    assert free.losses(batch())["kl"] == 0
    old = [layer.field.detach().clone() for layer in free.layers]
    stepped(free, 3)
    expected = sum(binary_kl(layer.field, before, sharpness=1.5).sum() for layer, before in zip(free.layers, old, strict=True))
    assert expected > 0
    torch.testing.assert_close(free.losses(batch())["kl"], expected / 8)


def test_the_anchor_pulls_with_the_variance_of_each_weight():
    method = StatMechContinual(network(), 4, gamma=0.7, tasks=2, sharpness=1.3)
    method.consolidate()
    old = method.layers[0].field.detach().clone()
    method.layers[0].field.data += 0.3 * torch.randn_like(old)
    method.losses(batch())["kl"].backward()
    field = method.layers[0].field
    expected = 0.7 / 4 * 1.3**2 * field_variance(field.detach(), 1.3) * (field.detach() - old)
    torch.testing.assert_close(field.grad, expected, atol=1e-6, rtol=1e-4)


def test_the_quadratic_anchor_is_the_limit_of_the_exact_one():
    values = []
    for divergence in ("exact", "quadratic"):
        method = StatMechContinual(network(), 4, divergence=divergence, tasks=2, sharpness=1.0)
        method.consolidate()
        for layer in method.layers:
            layer.field.data += 1e-2
        values.append(method.kl(1.0).item())
    assert values[0] == pytest.approx(values[1], rel=0.02)
    assert values[0] > 0


def test_without_gamma_it_is_plain_fine_tuning():
    first, second = StatMechContinual(network(), 8, gamma=0.0, tasks=2), StatMechContinual(network(), 8, gamma=0.0)
    first.consolidate()
    first.tasks, first.task = 1, 0
    for method in (first, second):
        torch.manual_seed(3)
        stepped(method, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_step_anchor_is_one_optimizer_step_behind():
    method = StatMechContinual(network(), 8, anchor="step", sharpness=1.0)
    history = [method.layers[0].field.detach().clone()]
    for _ in range(3):
        stepped(method)
        history.append(method.layers[0].field.detach().clone())
        # The next step starts from the newest fields, and its reference is the one before.
        assert torch.equal(method.get_buffer("reference_0"), history[-2])
        assert method.losses(batch())["kl"] > 0


def test_answers_average_the_probabilities_of_draws():
    method = StatMechContinual(network(), 8, draws=400, sharpness=0.5)
    with torch.no_grad():
        method.losses(batch())
        answers = method.predict(batch()).exp()
        single = torch.stack([method.student(batch()["input"]).softmax(-1) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(answers.sum(-1), torch.ones(8))
    torch.testing.assert_close(answers, single, atol=0.05, rtol=0)


def test_descent_of_several_perceptrons_is_that_of_each_and_of_the_method():
    generator = torch.Generator().manual_seed(0)
    teacher = perceptron_teachers(40, 0.0, generator=generator)[0]
    task = perceptron_task(teacher, 60, generator=generator)
    x, y = task.column("input"), task.labels * 2.0 - 1
    start, reference = torch.randn(2, 40, generator=generator), torch.randn(40, generator=generator)
    options = {"steps": 20, "learning_rate": 0.02, "decay": 0.1}
    both = descend(start, x, y, reference=reference, gamma=torch.tensor([0.0, 2.0]), **options)
    torch.testing.assert_close(both[:1], descend(start[:1], x, y, **options), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both[1:], descend(start[1:], x, y, reference=reference, gamma=2.0, **options), atol=1e-4, rtol=1e-4)

    student = FieldPerceptron(40)
    student.field.data.copy_(reference)
    method = StatMechContinual(student, 60, gamma=2.0, sharpness=constant(1.0), tasks=2)
    method.consolidate()
    student.field.data.copy_(start[1])
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.02, weight_decay=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        (60 * sum(method.losses({"input": x, "label": task.labels}).values())).backward()
        optimizer.step()
    torch.testing.assert_close(student.field.detach(), both[1], atol=1e-4, rtol=1e-4)


def test_small_batches_visit_every_pattern_of_an_epoch():
    x, y = torch.eye(6) * 2 - 1, torch.ones(6)
    seen = descend(torch.zeros(1, 6), x, y, steps=3, batch_size=2, generator=torch.Generator().manual_seed(0), decay=0.0)
    again = descend(torch.zeros(1, 6), x, y, steps=3, batch_size=2, generator=torch.Generator().manual_seed(0), decay=0.0)
    assert torch.equal(seen, again)
    assert not torch.equal(
        seen, descend(torch.zeros(1, 6), x, y, steps=3, batch_size=2, generator=torch.Generator().manual_seed(5), decay=0.0)
    )


def test_a_perceptron_of_100_weights_learns_forgets_and_is_held():
    kept = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        teachers = perceptron_teachers(100, 0.0, generator=generator)
        tasks = [perceptron_task(teacher, count, generator=generator) for teacher, count in zip(teachers, (200, 100), strict=True)]
        first, second = ((task.column("input"), task.labels * 2.0 - 1) for task in tasks)
        old = descend(torch.randn(1, 100, generator=generator), *first, steps=500)
        after = descend(old.expand(2, -1), *second, steps=500, reference=old, gamma=torch.tensor([0.0, 1.0]))
        kept.append([generalisation_error(float(p)) for f in (old, after) for p in overlap(f, teachers[0])])
        assert (stability(after[0], second[0]) * second[1] > 0).float().mean() > 0.85
    before, free, held = (sum(column) / 3 for column in zip(*kept, strict=True))
    # Over these seeds the errors are 0.14, 0.46 and 0.23.
    assert before < 0.25
    assert free > before + 0.1
    assert held < free - 0.08


def test_a_run_of_two_tasks_taken_up_again_ends_with_the_same_weights(tmp_path):
    arrays = Arrays({"input": torch.rand(24, 6), "label": torch.arange(24) % 3}, ("a", "b", "c"))
    options = TrainOptions(epochs=2, batch_size=8, optimizer="Adam", learning_rate=0.02, schedule="constant")

    def learn(run: Run, tasks: int) -> StatMechContinual:
        method = StatMechContinual(network(), 24, tasks=2, gamma=0.5)
        for number in range(tasks):
            if number:
                method.consolidate()
            run.train(f"task-{number}", method, Batches(arrays, 8, seed=number), options)
        return method

    whole = learn(Run(), 2)
    learn(Run(tmp_path / "run", config={}), 1)
    resumed = learn(Run(tmp_path / "run", config={}, resume=True), 2)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))
    assert whole.losses(batch())["kl"] > 0


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match="Linear has no layer of binary fields"):
        StatMechContinual(nn.Linear(3, 2), 5)
    with pytest.raises(OptionError, match="anchor is 'epoch'"):
        StatMechContinual(network(), 5, anchor="epoch")
    with pytest.raises(OptionError, match=r"gamma -1"):
        StatMechContinual(network(), 5, gamma=-1)
    with pytest.raises(OptionError, match="All 1 tasks"):
        StatMechContinual(network(), 5).consolidate()
    with pytest.raises(ShapeError, match=r"expected \[K, N\], \[P, N\] and \[P\]"):
        descend(torch.zeros(3), torch.zeros(2, 3), torch.ones(2), steps=1)
