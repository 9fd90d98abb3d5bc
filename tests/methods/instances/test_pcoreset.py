from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tutelage.data import Arrays
from tutelage.errors import OptionError
from tutelage.methods.instances.pcoreset import PCoreSet
from tutelage.models.dual_head import DualHead
from tutelage.recipes.instances.pcoreset import OPTIONS
from tutelage.selection.core_set import greedy_k_centre
from tutelage.teachers import Frozen, Stored
from tutelage.teachers.memory import Memory


def student(seed=0, classes=4):
    torch.manual_seed(seed)
    return DualHead(nn.Sequential(nn.Linear(6, 5), nn.Tanh()), 5, classes)


def teacher(seed=9, classes=4):
    torch.manual_seed(seed)
    return nn.Linear(6, classes)


def batch(seed=1, classes=4):
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(n, 6, generator=generator) for n in (8, 12)]
    return {"input": draw[0], "label": torch.arange(8) % classes, "unlabelled": {"input": draw[1]}}


def kl(t, s, temperature):
    p, q = (t / temperature).softmax(1), (s / temperature).softmax(1)
    return temperature**2 * (p * (p.log() - q.log())).sum(1).mean()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_that_of_the_paper(temperature):
    model, speaker, b = student(), teacher(), batch()
    losses = PCoreSet(model, Frozen(speaker), temperature=temperature).losses(b)
    z_ce, z_kd = model.heads(b["input"])
    u = b["unlabelled"]["input"]
    torch.testing.assert_close(losses["ce"], 0.5 * nn.functional.cross_entropy(z_ce, b["label"]))
    expected = 0.5 * (kl(speaker(b["input"]), z_kd, temperature) + kl(speaker(u), model.heads(u)[1], temperature))
    torch.testing.assert_close(losses["kd"], expected)


def test_what_the_teacher_speaks_about_is_an_option():
    b, speaker = batch(), Frozen(teacher())
    parts = {d: PCoreSet(student(), speaker, distil=d).losses(b) for d in ("both", "labelled", "unlabelled")}
    torch.testing.assert_close(parts["labelled"]["kd"] + parts["unlabelled"]["kd"], parts["both"]["kd"])
    del b["unlabelled"]
    assert set(PCoreSet(student(), None, distil="none").losses(b)) == {"ce"}
    PCoreSet(student(), speaker, distil="labelled").losses(b)


def test_agreement_leaves_only_half_the_cross_entropy():
    model = student()

    class Same(nn.Module):
        def forward(self, x):
            return model.heads(x)[1].detach()

    losses = PCoreSet(model, Frozen(Same())).losses(batch())
    assert losses["kd"].item() == pytest.approx(0, abs=1e-6)
    assert losses["ce"].item() == pytest.approx(
        0.5 * nn.functional.cross_entropy(model.heads(batch()["input"])[0], batch()["label"]).item()
    )


def test_each_head_learns_from_its_own_loss_and_the_backbone_from_both():
    model = student()
    losses = PCoreSet(model, Frozen(teacher())).losses(batch())

    def gradient(loss, module):
        found = torch.autograd.grad(losses[loss], list(module.parameters()), allow_unused=True, retain_graph=True)
        return sum(float(g.abs().sum()) for g in found if g is not None)

    assert gradient("kd", model.ce_head) == 0
    assert gradient("ce", model.kd_head) == 0
    assert (
        min(gradient(a, m) for a, m in (("ce", model.ce_head), ("kd", model.kd_head), ("ce", model.backbone), ("kd", model.backbone)))
        > 0.01
    )


@given(st.floats(-50, 50), st.integers(0, 100))
def test_a_constant_on_all_teacher_logits_changes_nothing(constant, seed):
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    method = PCoreSet(student(), Frozen(teacher()))
    torch.testing.assert_close(method.kd(logits.flip(0), logits + constant), method.kd(logits.flip(0), logits))


def test_gradients_of_kd_agree_with_finite_differences():
    logits, other = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, dtype=torch.float64)
    method = PCoreSet(student(), Frozen(teacher()))
    assert torch.autograd.gradcheck(lambda z: method.kd(z, other), logits)


def test_the_student_answers_the_mixture_and_alone_only_its_label_head():
    model, x = student(), batch()["input"]
    label, taught = model.heads(x)
    mixed = PCoreSet(model, Frozen(teacher()), share=0.6, sharpness=0.5).predict({"input": x}).softmax(1)
    torch.testing.assert_close(mixed, 0.4 * label.softmax(1) + 0.6 * (taught / 0.5).softmax(1))
    alone = PCoreSet(model, None, distil="none", share=0.6).predict({"input": x}).softmax(1)
    torch.testing.assert_close(alone, label.softmax(1))


def test_both_networks_see_one_draw_of_the_view():
    seen = []

    class Keeps(nn.Module):
        def forward(self, x):
            seen.append(x)
            return teacher()(x)

    model = student()
    model.backbone.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    method = PCoreSet(model, Frozen(Keeps()), lambda x, generator: x + torch.rand(x.shape, generator=generator))
    method.generator = torch.Generator().manual_seed(0)
    b = batch()
    method.losses(b)
    students, *teachers = seen
    assert sorted(len(t) for t in teachers) == [8, 12]
    torch.testing.assert_close(students, torch.cat(sorted(teachers, key=len)))
    assert not torch.allclose(students[:8], b["input"])


def test_stored_answers_teach_what_the_live_teacher_does():
    speaker = teacher()
    pool = Arrays({"input": torch.randn(20, 6)}, tuple("abcd"))
    b = pool.gather(range(8)) | {"label": torch.arange(8) % 4, "unlabelled": pool.gather(range(8, 20))}
    found = [PCoreSet(student(), t).forward(b)["kd"] for t in (Frozen(speaker), Stored(Memory.of(speaker, pool)))]
    torch.testing.assert_close(*found)


def test_queries_are_the_core_set_of_combined_probabilities():
    pool = Arrays({"input": torch.randn(40, 6)}, tuple("abcd"))
    labelled = Arrays({"input": torch.randn(5, 6), "label": torch.arange(5) % 4}, tuple("abcd"))
    model = student()
    method = PCoreSet(model, Frozen(teacher()))
    with torch.no_grad():
        p, c = (model(a.column("input")).softmax(1) for a in (pool, labelled))
    assert method.query(pool, labelled, 6).tolist() == greedy_k_centre(p, c, 6).positions.tolist()
    for name in ("coreset", "badge", "entropy", "class-balanced", "random"):
        assert len(PCoreSet(model, Frozen(teacher()), rule=name).query(pool, labelled, 6)) == 6
    looked = []
    PCoreSet(model, Frozen(teacher()), rule=lambda p, k, n, g: (looked.append((p, k)), torch.arange(n))[1]).query(pool, labelled, 2)
    assert looked[0][0].features.shape == (40, 5)
    assert looked[0][0].labels is None
    assert looked[0][1].labels.tolist() == [0, 1, 2, 3, 0]


def test_answers_keep_the_student_in_its_mode():
    model = student()
    method = PCoreSet(model, None, distil="none").train()
    answers = method.answers(Arrays({"input": torch.randn(9, 6)}), batch_size=4)
    assert model.training
    torch.testing.assert_close(answers.probabilities.sum(1), torch.ones(9))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"ce_weight": 0.0},
        {"kd_weight": -1.0},
        {"share": 1.5},
        {"sharpness": 0.0},
        {"distil": "all"},
        {"rule": "bald"},
    ],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError):
        PCoreSet(student(), Frozen(teacher()), **wrong)


def test_a_plain_student_or_no_teacher_is_refused():
    with pytest.raises(OptionError, match="DualHead"):
        PCoreSet(nn.Linear(6, 4), Frozen(teacher()))
    with pytest.raises(OptionError, match="no teacher"):
        PCoreSet(student(), None)


def test_the_teacher_is_nobodys_to_train():
    method = PCoreSet(student(), Frozen(teacher()))
    held = {id(p) for p in method.teacher.parameters()}
    assert not held & {id(p) for p in method.players()["student"].parameters}


def test_options_are_the_keyword_arguments():
    keywords = {p.name: p.default for p in inspect.signature(PCoreSet).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {f.name: f.default for f in dataclasses.fields(OPTIONS)} == keywords
