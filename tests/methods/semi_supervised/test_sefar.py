from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tutelage import data, models, schedules
from tutelage.errors import OptionError
from tutelage.methods.semi_supervised.sefar import SeFAR
from tutelage.teachers.uncertainty import passes
from tutelage.train import Run, Supervised, TrainOptions
from tutelage.views import horizontal_flip
from tutelage.views.temporal import beta, tube_mask

SHAPE = (16, 3, 16, 16)


def network(dropout=0.5, seed=0, **options):
    torch.manual_seed(seed)
    return models.VideoCNN(num_classes=4, input_shape=SHAPE, width=16, depth=1, channels=(8, 8), hidden=16, dropout=dropout, **options)


def clips(number, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {"input": torch.randint(0, 256, (number, *SHAPE), generator=g, dtype=torch.uint8), "label": torch.arange(number) % 4}


def batch():
    return clips(6, 1) | {"labelled": clips(4, 2)}


def method(epoch=9, **options):
    made = SeFAR(options.pop("student", None) or network(options.pop("dropout_rate", 0.5)), **options)
    made.epoch, made.generator = epoch, torch.Generator().manual_seed(5)
    return made


def test_losses_are_those_of_the_algorithm_box():
    """The whole box again, written out with torch alone, from the draws of the same generator."""
    m = method(channel_drop=0.0).eval()  # evaluation mode: the student has no noise of its own
    b = batch()
    with torch.no_grad():
        for p in m.teacher.model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    torch.manual_seed(11)
    got = m.losses(b)

    g = torch.Generator().manual_seed(5)
    sampler, student, teacher = m.student.elements, m.student, m.teacher.model
    labelled, weak, strong = sampler(b["labelled"]["input"], g), sampler(b["input"], g), sampler(b["input"], g)
    strong = [strong[0].flip(1), strong[1].flip(1), strong[2]]
    torch.manual_seed(11)
    asked = passes(teacher.head, teacher.features(teacher.tokens(weak)), 10)
    eta = 2 * torch.sigmoid(asked.top.exp() - math.e) * (2 * torch.sigmoid(1 / (20 * asked.spread)) - 1)
    share = beta(10.0, g)
    partner = torch.randperm(6, generator=g)
    tokens = student.tokens(strong)
    mixed = []
    for t in tokens:
        mask = tube_mask(16, share, g)
        both = t.clone()
        both[:, :, ~mask] = t[partner][:, :, ~mask]
        mixed.append(both)
    xi = math.sin(math.pi / 2 * (9 + 1 - 5) / (30 - 5))
    z, z_mixed = student(strong), student.answer(mixed)
    soft = share * asked.mean + (1 - share) * asked.mean[partner]
    eta_mixed = share * eta + (1 - share) * eta[partner]
    ce = nn.functional.cross_entropy
    torch.testing.assert_close(got["supervised"], ce(student(labelled), b["labelled"]["label"]))
    torch.testing.assert_close(got["unlabelled"], xi * 2 * (eta * ce(z, asked.label, reduction="none")).mean())
    torch.testing.assert_close(got["mixed"], xi * 2 * (eta_mixed * (z_mixed - soft).square().mean(1)).mean())


def test_softmax_variant_of_the_mixed_loss_is_bounded():
    loss = method(mix_output="softmax").losses(batch())["mixed"]
    assert 0 < loss < 2 * 2 / 4


def test_student_sees_fine_elements_backwards_in_time_with_their_colours_in_order(monkeypatch):
    m = method(channel_drop=0.0, gamma_mixed=0.0)
    seen = []
    real = m.student.tokens
    monkeypatch.setattr(m.student, "tokens", lambda elements: seen.append(elements) or real(elements))
    b = batch()
    m.losses(b)
    g = torch.Generator().manual_seed(5)
    sampler = m.student.elements
    sampler(b["labelled"]["input"], g), sampler(b["input"], g)
    index = sampler.draw(torch.full((6,), 16), g)
    frames = b["input"].float() / 255
    rows = torch.arange(6)[:, None]
    for i, element in enumerate(seen[-1]):
        order = index[i].flip(1) if i < 2 else index[i]
        torch.testing.assert_close(element, frames[rows, order])


def test_teacher_and_student_see_independent_draws(monkeypatch):
    m = method(perturbation="none", channel_drop=0.0)
    seen = {}
    monkeypatch.setattr(m, "ask", lambda e: seen.update(weak=e) or passes(nn.Identity(), torch.zeros(6, 4), 1))
    real = m.student.tokens
    monkeypatch.setattr(m.student, "tokens", lambda e: seen.update(strong=e) or real(e))
    m.losses(batch())
    assert not torch.equal(seen["weak"][2], seen["strong"][2])


def test_one_permutation_serves_all_elements():
    m = method()
    tokens = [torch.arange(6.0)[:, None, None, None].expand(6, t, 16, 8) for t in (2, 2, 4)]
    partner = torch.tensor([1, 2, 3, 4, 5, 0])
    mixed = m.mixed(tokens, partner, torch.tensor(0.5))
    for element in mixed:
        assert (element == element[:, :1]).all()  # a tube: the same patches in every frame
        own = (element[:, 0, :, 0] == torch.arange(6.0)[:, None]).sum(1)
        assert own.tolist() == [8] * 6
        assert torch.equal(element[:, 0, :, 0].amin(1), torch.minimum(torch.arange(6), partner).float())
        assert torch.equal(element[:, 0, :, 0].amax(1), torch.maximum(torch.arange(6), partner).float())


def test_a_share_of_one_is_the_clip_itself():
    m = method()
    tokens = m.student.tokens([torch.rand(6, t, 3, 16, 16) for t in (2, 2, 4)])
    same = m.mixed(tokens, torch.randperm(6), torch.tensor(1.0))
    assert all(torch.equal(a, b) for a, b in zip(tokens, same, strict=True))


def test_the_warm_up_is_supervised_and_the_ramp_begins_after_it():
    assert set(method(epoch=4).losses(batch())) == {"supervised"}
    assert set(method(epoch=5).losses(batch())) == {"supervised", "unlabelled", "mixed"}
    assert method(epoch=5)._xi == pytest.approx(math.sin(math.pi / 50))
    assert method(epoch=5)._xi == pytest.approx(0.0628, abs=5e-5)
    assert method(epoch=29)._xi == method(epoch=40)._xi == 1.0
    assert method(epoch=29, ramp=0.3)._xi == 0.3
    assert method(epoch=17, ramp=schedules.linear(0, 1))._xi == pytest.approx(13 / 25)


def test_without_dropout_the_weight_knows_confidence_only():
    m = method(dropout_rate=0.0)
    asked = m.ask(m.student.elements(batch()["input"], m.generator))
    assert torch.equal(asked.spread, torch.zeros(6))
    torch.testing.assert_close(m.weight(asked), 2 * torch.sigmoid(asked.top.exp() - math.e))
    off = method(dropout=False)
    assert torch.equal(off.ask(off.student.elements(batch()["input"], off.generator)).spread, torch.zeros(6))


def test_asking_runs_the_trunk_once_and_says_what_whole_passes_say():
    m = method()
    elements = m.student.elements(batch()["input"], m.generator)
    calls = []
    handle = m.teacher.model.place.register_forward_hook(lambda *a: calls.append(len(a[1][0])))
    torch.manual_seed(0)
    asked = m.ask(elements)
    handle.remove()
    assert sum(calls) == 6 * 8
    assert asked.spread.min() > 0
    many, whole = (
        torch.stack([f().mean for _ in range(60)]).mean(0) for f in (lambda: m.ask(elements), lambda: passes(m.teacher, elements, 10))
    )
    torch.testing.assert_close(many, whole, atol=0.02, rtol=0)
    m.teacher.model.blocks[0].dropout.p = 0.5  # now the trunk is random too
    assert m.ask(elements).spread.mean() > asked.spread.mean()


def test_weightings():
    m = method(weighting="none")
    asked = m.ask(m.student.elements(batch()["input"], m.generator))
    assert m.weight(asked).tolist() == [1.0] * 6
    m = method(weighting="threshold", threshold=float(asked.top.median()))
    assert torch.equal(m.weight(asked), (asked.top >= asked.top.median()).float())
    w = method().weight(asked)
    assert ((w > 0) & (w <= 1)).all()


def test_teacher_is_a_copy_at_the_end_of_the_warm_up_and_follows_with_its_buffers():
    student = network()
    student.register_buffer("seen", torch.tensor(1.0))
    m = method(student=student, momentum=0.9999, epoch=0)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1.0)
        student.seen.add_(1)
    m.epoch = 4
    m.update_teachers()
    assert all(torch.equal(a, b) for a, b in zip(student.state_dict().values(), m.teacher.model.state_dict().values(), strict=True))
    old = {k: v.clone() for k, v in student.state_dict().items()}
    with torch.no_grad():
        for p in student.parameters():
            p.mul_(1.5)
        student.seen.add_(1)
    m.epoch = 5
    m.update_teachers()
    for name, value in m.teacher.model.state_dict().items():
        torch.testing.assert_close(value, 0.9999 * old[name] + 0.0001 * student.state_dict()[name])


def test_the_teacher_follows_inside_an_accumulated_step_too():
    m = method(momentum=0.9)
    with torch.no_grad():
        m.teacher.model.head.out.bias.fill_(0)
        m.student.head.out.bias.fill_(1)
    m(batch())
    assert m.teacher.model.head.out.bias[0] == 0
    m(batch())  # second batch of the same step
    torch.testing.assert_close(m.teacher.model.head.out.bias[0], torch.tensor(0.1))
    m.steps_done += 1
    m(batch())
    torch.testing.assert_close(m.teacher.model.head.out.bias[0], torch.tensor(0.1))


def _trained(made, batches):
    Run().train("t", made, batches, TrainOptions(epochs=2, batch_size=4, learning_rate=0.01))
    return made.student.state_dict()


def test_without_weights_it_is_supervised_training():
    labelled = data.Batches(data.Arrays(clips(8, 2), tuple("abcd")), 4, seed=1)
    both = data.Batches(data.Arrays(clips(8, 1), tuple("abcd")), 4, seed=1, companions={"labelled": labelled})
    ours = _trained(SeFAR(network(), gamma_unlabelled=0.0, gamma_mixed=0.0, epochs=2, warmup_epochs=0), both)

    class Plain(Supervised):
        def losses(self, batch):
            return super().losses({"input": self.student.elements(batch["input"], self.generator), "label": batch["label"]})

    alone = _trained(Plain(network()), labelled)
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), alone.values(), strict=True))


def test_gradients_reach_the_student_alone_and_clips_on_disk_serve_as_tensors_do():
    class OnDisk:
        def __init__(self, frames):
            self.frames = frames

        def __len__(self):
            return len(self.frames)

        def read(self, index):
            return self.frames[list(index)]

    b = batch()
    disk = b | {
        "input": [OnDisk(c) for c in b["input"]],
        "labelled": b["labelled"] | {"input": [OnDisk(c) for c in b["labelled"]["input"]]},
    }
    found = []
    for given in (b, disk):
        m = method(view=horizontal_flip(), strong=horizontal_flip())
        torch.manual_seed(0)
        losses = m.losses(given)
        sum(losses.values()).backward()
        assert all(p.grad is not None for p in m.student.parameters())
        assert all(p.grad is None for p in m.teacher.parameters())
        found.append(losses)
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value)
    assert set(m.take_logged()) == {"pseudo_label_accuracy", "confidence", "spread", "weight"}


def test_answers_do_not_depend_on_when_they_are_asked_for():
    m = method().eval()
    b = clips(5)
    assert torch.equal(m.predict(b), m.predict(b))
    torch.testing.assert_close(m.predict_teacher(b), m.predict(b))  # a copy as yet
    assert not m.predict_teacher(b).requires_grad
    several = method(eval_draws=4).eval().predict(b)
    torch.testing.assert_close(several.exp().sum(-1), torch.ones(5))
    middle = method(eval_draws=0).eval()
    torch.testing.assert_close(middle.predict(b), middle.student(b["input"]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 5}, "warmup_epochs is 5 of epochs 5"),
        ({"perturbation": "reversed"}, "Did you mean 'reverse'"),
        ({"weighting": "eta"}, "weighting is 'eta'"),
        ({"mix_output": "probs"}, "mix_output"),
        ({"count": 0}, "at least one pass"),
        ({"channel_drop": 1.0}, "below 1"),
        ({"gamma_mixed": -1.0}, "0 or more"),
    ],
)
def test_options_out_of_range_are_refused(wrong, message):
    with pytest.raises(OptionError, match=message):
        SeFAR(network(), **wrong)
    with pytest.raises(OptionError, match="ElementNet"):
        SeFAR(nn.Linear(2, 2))
