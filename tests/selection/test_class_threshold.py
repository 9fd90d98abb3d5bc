import math

import pytest
import torch

from tutelage.errors import OptionError, ShapeError
from tutelage.selection import ClassThreshold, UseCounter, uncertainty


def labels_of(count, classes, seed=0):
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("value", [1 / 3, 1 / 7, math.log(20.0), 0.1])
def test_equal_scores_all_reach_their_common_threshold(value):
    bar = ClassThreshold(7, momentum=0.9)
    for step in range(5):
        label = labels_of(61, 7, step)
        score = torch.full((61,), value)
        bar.update(score, label)
        assert torch.allclose(bar.thresholds()[label], score)
        assert bar(score, label).tolist() == [1.0] * 61


def test_the_level_is_the_moving_average_in_closed_form():
    m, a, first = 0.9, 0.4, 0.75
    bar = ClassThreshold(2, momentum=m)
    label = torch.tensor([0, 1, 1, 0])
    bar.update(torch.full((4,), first), label)
    assert float(bar.level) == pytest.approx(first)
    for step in range(1, 30):
        bar.update(torch.tensor([0.2, 0.6, 0.3, 0.5]), label)  # mean a
        assert float(bar.level) == pytest.approx(m**step * first + (1 - m**step) * a, abs=1e-6)
    constant = ClassThreshold(2, momentum=m)
    for _ in range(30):
        constant.update(torch.tensor([0.2, 0.6, 0.3, 0.5]), label)
        assert float(constant.level) == pytest.approx(a)


def test_the_highest_class_faces_the_level_and_all_others_a_lower_bar():
    bar = ClassThreshold(4, momentum=0.5)
    for step in range(6):
        label = labels_of(40, 4, step)
        bar.update(0.2 + 0.2 * label + 0.01 * torch.rand(40, generator=torch.Generator().manual_seed(step)), label)
    found = bar.thresholds()
    assert int(found.argmax()) == 3
    assert float(found[3]) == pytest.approx(float(bar.level))
    assert (found <= bar.level + 1e-7).all()
    assert found.tolist() == sorted(found.tolist())


def test_a_class_begins_with_its_own_first_batch_and_stays_where_it_is_absent():
    bar = ClassThreshold(3, momentum=0.9)
    bar.update(torch.tensor([0.4, 0.6]), torch.tensor([0, 0]))
    assert bar.local.tolist() == pytest.approx([0.5, 0.0, 0.0])
    assert bar.seen.tolist() == [True, False, False]
    bar.update(torch.tensor([0.8]), torch.tensor([2]))
    assert bar.local.tolist() == pytest.approx([0.5, 0.0, 0.8])
    assert float(bar.level) == pytest.approx(0.9 * 0.5 + 0.1 * 0.8)
    bar.update(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert bar.local.tolist() == pytest.approx([0.5, 0.0, 0.8])
    assert float(bar.level) == pytest.approx(0.9 * 0.5 + 0.1 * 0.8)


def test_order_inside_a_batch_does_not_matter():
    score, label = torch.rand(50, generator=torch.Generator().manual_seed(3)), labels_of(50, 5)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(4))
    one, other = ClassThreshold(5), ClassThreshold(5)
    one.update(score, label)
    other.update(score[order], label[order])
    assert torch.allclose(one.thresholds(), other.thresholds(), atol=1e-6)
    assert torch.equal(one(score, label)[order], other(score[order], label[order]))


def test_without_classes_all_face_the_level():
    bar = ClassThreshold(3, per_class=False)
    bar.update(torch.tensor([0.2, 0.9, 0.7]), torch.tensor([0, 1, 2]))
    assert bar.thresholds().tolist() == pytest.approx([0.6, 0.6, 0.6])
    assert bar(torch.tensor([0.5, 0.61, 0.7]), torch.tensor([0, 1, 2])).tolist() == [0.0, 1.0, 1.0]


def test_momentum_may_be_a_schedule():
    bar = ClassThreshold(2, momentum=lambda progress: progress)
    label = torch.tensor([0, 1])
    bar.update(torch.tensor([1.0, 1.0]), label)
    bar.update(torch.tensor([0.0, 0.0]), label, progress=1.0)
    assert float(bar.level) == 1.0
    bar.update(torch.tensor([0.0, 0.5]), label, progress=0.0)
    assert bar.local.tolist() == [0.0, 0.5]


def test_it_carries_no_graph_and_is_saved():
    bar = ClassThreshold(2)
    score = torch.tensor([0.3, 0.9], requires_grad=True)
    bar.update(score, torch.tensor([0, 1]))
    assert not bar(score, torch.tensor([0, 1])).requires_grad
    again = ClassThreshold(2)
    again.load_state_dict(bar.state_dict())
    assert torch.equal(again.thresholds(), bar.thresholds())
    with pytest.raises(ShapeError, match=r"\[N\] and \[N\]"):
        bar(torch.rand(2, 2), torch.tensor([0, 1]))


def test_uncertainty_has_its_closed_forms():
    assert float(uncertainty(torch.tensor([0.5, 0.5]).log())) == pytest.approx(0.693147, abs=1e-6)
    assert float(uncertainty(torch.tensor([0.9, 0.1]).log())) == pytest.approx(0.325083, abs=1e-6)
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [100.0, -100.0, -100.0, -100.0]], requires_grad=True)
    found = uncertainty(logits)
    assert found.tolist() == pytest.approx([math.log(4), 0.0])
    assert found[1] == 0
    assert not found.requires_grad
    assert uncertainty(logits, normalised=True).tolist() == pytest.approx([1.0, 0.0])


def test_the_counter_counts_uses_and_samples():
    counter = UseCounter(6)
    counter.add(torch.tensor([4, 0, 2]), torch.tensor([1.0, 0.0, 0.3]))
    counter.add(torch.tensor([4, 5]), torch.tensor([1.0, 0.0]))
    assert counter.uses.tolist() == [0, 0, 1, 0, 2, 0]
    assert counter.summary() == pytest.approx({"uses": 3.0, "used_share": 60.0, "distinct_share": 50.0})
    assert UseCounter(3).summary() == {"uses": 0.0, "used_share": 0.0, "distinct_share": 0.0}
    with pytest.raises(OptionError, match="at least 1"):
        UseCounter(0)
