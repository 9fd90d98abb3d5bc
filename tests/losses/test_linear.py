import math
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tutelage import losses
from tutelage.errors import OptionError, ShapeError, TrainingError
from tutelage.targets import TopK, top_k

PROGRAM = Path(__file__).parents[1] / "programs" / "vocabulary.py"

repeatable = settings(max_examples=30, derandomize=True, deadline=None)

DENSE = {
    "forward": losses.forward_kl,
    "reverse": losses.reverse_kl,
    "jsd": lambda s, t, *, temperature: losses.jensen_shannon(s, t, beta=0.3, temperature=temperature),
    "ce": lambda s, t, *, temperature: losses.soft_cross_entropy(s, (t / temperature).softmax(-1), temperature=temperature),
}
every_kind = pytest.mark.parametrize("kind", DENSE)


class Case:
    """Hidden states and heads of a student (5 wide, with bias) and a teacher (6 wide)."""

    def __init__(self, *leading, vocabulary=11, dtype=torch.float64, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)

        self.hidden = normal(*leading, 5).requires_grad_()
        self.head = nn.Linear(5, vocabulary, dtype=dtype)
        with torch.no_grad():
            self.head.weight.copy_(normal(vocabulary, 5))
            self.head.bias.copy_(normal(vocabulary))
        self.teacher_hidden, self.teacher_head = normal(*leading, 6), normal(vocabulary, 6)
        self.weight = torch.rand(leading, dtype=torch.float64, generator=generator).to(dtype) + 0.1
        self.labels = torch.randint(0, vocabulary, leading, generator=generator)
        self.trained = [self.hidden, self.head.weight, self.head.bias]

    @property
    def logits(self):
        return self.head(self.hidden)

    @property
    def teacher_logits(self):
        return self.teacher_hidden @ self.teacher_head.t()

    def ours(self, **options):
        return losses.linear_divergence(self.hidden, self.head, self.teacher_hidden, self.teacher_head, **options)


def uneven(loss):
    """Reduce a loss with a different weight for each token."""
    return (loss * torch.linspace(-1.0, 2.0, loss.numel(), dtype=loss.dtype).view_as(loss)).sum()


def assert_same(case, ours, dense, reduce=torch.mean, inputs=None, **close):
    torch.testing.assert_close(ours, dense, **close)
    inputs = inputs or case.trained
    for got, expected in zip(torch.autograd.grad(reduce(ours), inputs), torch.autograd.grad(reduce(dense), inputs), strict=True):
        torch.testing.assert_close(got, expected, **close)


@every_kind
@pytest.mark.parametrize("chunk", [1, 3, 12, 100, None])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("reduce", [torch.mean, uneven])
def test_value_and_gradient_are_those_of_the_dense_loss(kind, chunk, recompute, reduce):
    for dtype, close in ((torch.float64, {}), (torch.float32, {"rtol": 1e-5, "atol": 1e-5})):
        case = Case(3, 4, dtype=dtype)
        ours = case.ours(kind=kind, beta=0.3, temperature=1.7, chunk=chunk, recompute=recompute)
        assert ours.dtype == dtype
        assert_same(case, ours, DENSE[kind](case.logits, case.teacher_logits, temperature=1.7), reduce, **close)


@repeatable
@given(
    st.sampled_from(list(DENSE)),
    st.lists(st.integers(0, 4), max_size=3),
    st.integers(1, 9),
    st.integers(1, 7),
    st.sampled_from([0.5, 1.0, 4.0]),
    st.integers(0, 1000),
)
def test_any_shape(kind, leading, vocabulary, chunk, temperature, seed):
    case = Case(*leading, vocabulary=vocabulary, seed=seed)
    ours = case.ours(kind=kind, beta=0.3, temperature=temperature, chunk=chunk)
    assert ours.shape == torch.Size(leading)
    assert_same(case, ours, DENSE[kind](case.logits, case.teacher_logits, temperature=temperature), torch.sum, atol=1e-9, rtol=1e-7)


@every_kind
@pytest.mark.parametrize("reduce", [torch.mean, uneven])
def test_gradients_by_finite_differences(kind, reduce):
    case = Case(4, vocabulary=5)
    weight = case.weight.requires_grad_()

    def loss(hidden, head, weight):
        divergence, ce = losses.linear_divergence(
            hidden, head, case.teacher_hidden, case.teacher_head, kind=kind, temperature=1.5, chunk=3, weight=weight, labels=case.labels
        )
        return reduce(divergence + ce)

    assert torch.autograd.gradcheck(loss, (case.hidden, case.head.weight.detach().requires_grad_(), weight))


def test_ends_of_beta_are_the_kl_divergences():
    case = Case(4)
    assert torch.equal(case.ours(kind="jsd", beta=0.0), case.ours(kind="forward"))
    assert torch.equal(case.ours(kind="jsd", beta=1.0), case.ours(kind="reverse"))


@every_kind
def test_large_logits_and_a_large_vocabulary_in_single_precision(kind):
    # Logits of a few hundred, and blocks of rows that are smaller than a chunk.
    case = Case(40, vocabulary=30_000, dtype=torch.float32)
    with torch.no_grad():
        case.head.weight.mul_(50.0)
        case.teacher_head.mul_(50.0)
    exact = Case(40, vocabulary=30_000)
    with torch.no_grad():
        exact.head.weight.mul_(50.0)
        exact.teacher_head.mul_(50.0)
    ours = case.ours(kind=kind, beta=0.3, chunk=25)
    # float32 rounds a logit of 500 by 3e-5.
    torch.testing.assert_close(ours.double(), DENSE[kind](exact.logits, exact.teacher_logits, temperature=1.0), rtol=1e-5, atol=1e-3)


@every_kind
def test_a_class_that_both_exclude_counts_as_absent(kind):
    case = Case(4)
    with torch.no_grad():
        case.head.bias[3] = -math.inf
    teacher = nn.Linear(6, 11, dtype=torch.float64)
    with torch.no_grad():
        teacher.weight.copy_(case.teacher_head)
        teacher.bias.zero_()[3] = -math.inf
    options = {"kind": kind, "beta": 0.3, "temperature": 2.0}
    loss = losses.linear_divergence(case.hidden, case.head, case.teacher_hidden, teacher, **options)
    others = torch.tensor([i for i in range(11) if i != 3])
    expected = DENSE[kind](case.logits[..., others], case.teacher_logits[..., others], temperature=2.0)
    assert_same(case, loss, expected)


def test_labels_weights_and_their_gradients():
    case = Case(2, 6)
    labels, weight = case.labels.clone(), case.weight.clone()
    labels[0, 1], weight[1, 2] = -1, 0.0
    weight.requires_grad_()
    ours = case.ours(weight=weight, labels=labels, label_weight=0.4, ignore_index=-1, temperature=3.0, chunk=5)
    kept = torch.nn.functional.cross_entropy(case.logits.flatten(0, 1), labels.flatten(), ignore_index=-1, reduction="none").view(2, 6)
    dense = (weight * losses.forward_kl(case.logits, case.teacher_logits, temperature=3.0), 0.4 * weight * kept)
    for got, expected in zip(ours, dense, strict=True):
        torch.testing.assert_close(got, expected)
    for reduce in (lambda a, b: (a + b).mean(), lambda a, b: a.sum() + 2.0 * b.sum(), lambda a, b: uneven(a), lambda a, b: b.sum()):
        *got, of_weight = torch.autograd.grad(reduce(*ours), [*case.trained, weight], retain_graph=True)
        *expected, of_expected = torch.autograd.grad(reduce(*dense), [*case.trained, weight], retain_graph=True)
        torch.testing.assert_close(got, expected)
        # A token without weight is not looked at.
        torch.testing.assert_close(of_weight, of_expected.masked_fill(weight == 0, 0.0))


def test_a_token_without_weight_costs_nothing_whatever_it_holds():
    case = Case(20)
    weight = case.weight.index_fill(0, torch.tensor([1, 3, 4, *range(8, 16)]), 0.0)
    clean = losses.mean(case.ours(weight=weight))
    expected = torch.autograd.grad(clean, case.trained)
    with torch.no_grad():
        case.hidden[1], case.teacher_hidden[3] = math.nan, math.inf
    watch = Watch()
    with watch:
        loss = case.ours(weight=weight, chunk=100)
        got = torch.autograd.grad(losses.mean(loss), case.trained)
    assert loss[1] == loss[3] == loss[4] == 0.0
    torch.testing.assert_close(got, expected)
    assert watch.rows_of(11) == 9
    nothing = case.ours(weight=torch.zeros(20, dtype=torch.bool))
    assert torch.equal(nothing, torch.zeros(20, dtype=torch.float64))
    assert all(not g.any() for g in torch.autograd.grad(nothing.sum(), case.trained))


def test_a_mask_is_a_weight():
    case = Case(6)
    mask = torch.tensor([True, False, True, True, False, True])
    dense = losses.mean(losses.forward_kl(case.logits, case.teacher_logits), mask)
    assert_same(case, losses.mean(case.ours(weight=mask), mask), dense, torch.sum)


def kept_of(case, k, temperature=1.0):
    return top_k(case.teacher_logits, k, temperature=temperature)


@every_kind
@pytest.mark.parametrize("chunk", [1, 3, None])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_a_stored_teacher_is_the_divergence_over_kept_classes_and_rest(kind, chunk, k):
    case = Case(2, 3)
    top = kept_of(case, k, 1.7)
    for reduce in (torch.mean, uneven):
        ours = losses.linear_divergence(case.hidden, case.head, top_k=top, kind=kind, beta=0.3, temperature=1.7, chunk=chunk)
        assert_same(case, ours, DENSE[kind](*top.beside(case.logits, 1.7), temperature=1.0), reduce)


@every_kind
@repeatable
@given(st.integers(0, 1000), st.integers(1, 10))
def test_a_stored_teacher_bounds_the_divergence_from_below(kind, seed, k):
    case = Case(4, seed=seed)
    whole = case.ours(kind=kind, beta=0.3)
    some = losses.linear_divergence(case.hidden, case.head, top_k=kept_of(case, k), kind=kind, beta=0.3)
    more = losses.linear_divergence(case.hidden, case.head, top_k=kept_of(case, k + 1), kind=kind, beta=0.3)
    assert (some <= more + 1e-12).all()
    assert (more <= whole + 1e-12).all()
    every = losses.linear_divergence(case.hidden, case.head, top_k=kept_of(case, 11), kind=kind, beta=0.3)
    torch.testing.assert_close(every, whole)


def test_all_classes_serve_any_temperature_and_fewer_only_their_own():
    case = Case(4)
    for stored in (1.0, 2.5):
        loss = losses.linear_divergence(case.hidden, case.head, top_k=kept_of(case, 11, stored), temperature=0.8, chunk=2)
        torch.testing.assert_close(loss, losses.forward_kl(case.logits, case.teacher_logits, temperature=0.8))
    with pytest.raises(OptionError, match="kept at temperature 1, but temperature is 2"):
        losses.linear_divergence(case.hidden, case.head, top_k=kept_of(case, 4), temperature=2.0)


def test_stored_teacher_with_labels_and_weights():
    case = Case(6)
    top, weight = kept_of(case, 3), case.weight.clone()
    weight[2] = 0.0
    ours = losses.linear_divergence(case.hidden, case.head, top_k=top, weight=weight, labels=case.labels, chunk=2)
    dense = weight * losses.forward_kl(*top.beside(case.logits, 1.0)), weight * losses.cross_entropy(case.logits, case.labels)
    assert_same(case, ours[0] + ours[1], dense[0] + dense[1])


def test_the_rest_of_a_very_sure_student_and_teacher():
    head = nn.Parameter(torch.tensor([[200.0], [0.0], [-10.0]]))
    hidden = torch.ones(1, 1, requires_grad=True)
    top = TopK(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64), torch.tensor([-math.inf]))
    loss = losses.linear_divergence(hidden, head, top_k=top)
    loss.sum().backward()
    assert loss.item() == 0.0
    assert head.grad.isfinite().all()
    assert hidden.grad.isfinite().all()


class Watch(TorchDispatchMode):
    """Follows the memory of the tensors that operations make."""

    def __init__(self):
        super().__init__()
        self.shapes, self.live, self.peak, self.used = set(), 0, 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.shapes.add(tuple(tensor.shape))
                self._hold(tensor)
        return out

    def _hold(self, tensor):
        place, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        if place not in self.used:
            self.used[place] = 0
            self.live += size
            self.peak = max(self.peak, self.live)
        self.used[place] += 1
        weakref.finalize(tensor, self._drop, place, size)

    def _drop(self, place, size):
        self.used[place] -= 1
        if not self.used[place]:
            del self.used[place]
            self.live -= size

    def rows_of(self, vocabulary):
        return max((shape[0] for shape in self.shapes if len(shape) == 2 and shape[1] == vocabulary), default=0)


def test_logits_of_one_chunk_are_alive_at_a_time():
    tokens, vocabulary, chunk = 512, 4096, 16
    case = Case(tokens, vocabulary=vocabulary, dtype=torch.float32)
    for recompute in (False, True):
        with Watch() as watch:
            case.ours(chunk=chunk, recompute=recompute).mean().backward()
        assert watch.rows_of(vocabulary) == chunk
        assert not [shape for shape in watch.shapes if math.prod(shape) > chunk * vocabulary]
        of_chunk, of_gradients = chunk * vocabulary * 4, sum(p.numel() * 4 for p in case.trained)
        # Logits of student and teacher, three tensors of a block, and gradients that one addition may copy.
        assert watch.peak <= 6 * of_chunk + 3 * of_gradients
    with Watch() as dense:
        losses.forward_kl(case.logits, case.teacher_logits).mean().backward()
    assert dense.peak > 8 * watch.peak
    assert dense.rows_of(vocabulary) == tokens


def test_losses_that_are_summed_or_averaged_need_no_second_walk():
    def walks_again(reduce, **options):
        case = Case(20)
        loss = case.ours(**options)
        with Watch() as watch:
            reduce(loss).backward()
        return watch.rows_of(11) > 0

    mask, labels = torch.arange(20) % 3 > 0, Case(20).labels
    assert not walks_again(torch.mean)
    assert not walks_again(lambda loss: 3.0 * loss.sum() / 7.0)
    assert not walks_again(lambda loss: losses.mean(loss, mask), weight=mask)
    assert not walks_again(lambda loss: loss.sum() / 7.0, weight=Case(20).weight)
    assert not walks_again(lambda both: losses.mean(both[0] + both[1], mask), weight=mask, labels=labels, label_weight=0.3)
    assert walks_again(uneven)
    assert walks_again(torch.mean, recompute=True)
    assert walks_again(lambda both: both[0].mean(), labels=labels)


def test_the_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "vocabulary.md").read_text()
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)[1], names)
    log_s, log_t = names["student_head"](names["student_hidden"]), names["teacher_head"](names["teacher_hidden"])
    dense = losses.reverse_kl(log_s, log_t, temperature=2.0) + 0.5 * losses.cross_entropy(log_s, names["labels"])
    torch.testing.assert_close(names["loss"], losses.mean(dense))
    assert str(losses.linear_chunk(2048, 131_072).chunks) + " chunks of 256 tokens with 256 MiB" in page


def test_the_chunk_follows_from_the_budget():
    mib = 2**20
    # 4,096 classes of student and teacher in float32 take 32 KiB a token.
    assert losses.linear_chunk(1000, 4096, memory_budget=10 * 32 * 1024) == (10, 100, 10 * 32 * 1024)
    assert losses.linear_chunk(1000, 4096, memory_budget=10 * 32 * 1024, top_k=True).tokens == 20
    assert losses.linear_chunk(1000, 4096, memory_budget=10 * 32 * 1024, dtype=torch.bfloat16).tokens == 20
    # Even chunks: 1,000 tokens by at most 300 are four of 250.
    assert losses.linear_chunk(1000, 4096, chunk=300) == (250, 4, 250 * 32 * 1024)
    # An eighth of 2 GiB of logits; never above 256 MiB; small problems whole.
    assert losses.linear_chunk(2048, 131_072) == (256, 8, 256 * mib)
    assert losses.linear_chunk(100_000, 131_072).logit_bytes <= 256 * mib
    assert losses.linear_chunk(64, 100).chunks == 1
    assert losses.linear_chunk(64, 10**9, memory_budget=1).tokens == 1
    assert losses.linear_chunk(0, 100).chunks == 0
    case = Case(20)
    with Watch() as watch:
        case.ours(memory_budget=7 * 2 * 11 * 8).sum()
    assert watch.rows_of(11) == 7


@pytest.mark.parametrize("frozen", ["hidden", "head", "bias", "all"])
def test_what_needs_no_gradient_gets_none(frozen):
    case = Case(4)
    parts = {"hidden": case.hidden, "head": case.head.weight, "bias": case.head.bias}
    for part in parts if frozen == "all" else [frozen]:
        parts[part].requires_grad_(False)
    trained = [p for p in case.trained if p.requires_grad]
    loss = case.ours()
    assert loss.requires_grad == (frozen != "all")
    if trained:
        assert_same(case, loss, losses.forward_kl(case.logits, case.teacher_logits), inputs=trained)
    torch.testing.assert_close(case.ours(), losses.forward_kl(case.logits, case.teacher_logits))


def test_teacher_gets_no_gradient_and_may_come_from_inference_mode():
    case = Case(4)
    head = nn.Linear(6, 11, dtype=torch.float64)
    with torch.inference_mode():
        inferred = case.teacher_hidden.tanh()
    hidden = inferred.clone().requires_grad_()
    for given_hidden in (inferred, hidden):
        expected = losses.forward_kl(case.logits, head(hidden).detach())
        assert_same(case, losses.linear_divergence(case.hidden, case.head, given_hidden, head), expected, uneven)
    losses.linear_divergence(case.hidden, case.head, hidden, head).sum().backward()
    assert hidden.grad is None
    assert head.weight.grad is None
    with torch.no_grad():
        assert not case.ours().requires_grad


def test_backward_twice_over_one_graph():
    case = Case(4)
    loss = case.ours().mean()
    first = torch.autograd.grad(loss, case.trained, retain_graph=True)
    kept = [g.clone() for g in first]
    second = torch.autograd.grad(3.0 * loss, case.trained, retain_graph=True)
    torch.testing.assert_close(list(first), kept)
    torch.testing.assert_close(second, tuple(3.0 * g for g in kept))


def test_second_derivatives_are_refused():
    case = Case(4)
    # A graph may be asked for, as long as nothing is differentiated through it.
    (gradient,) = torch.autograd.grad(case.ours().mean(), case.hidden, create_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(case.ours().mean(), case.hidden)[0])
    for wanted in case.trained:
        with pytest.raises(TrainingError, match=r"linear_divergence was differentiated twice.*forward_kl"):
            torch.autograd.grad(gradient.square().sum(), wanted, retain_graph=True)


def test_layouts_and_tied_tensors():
    case = Case(3, 4)
    expected = case.ours()
    turned = case.hidden.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    assert not turned.is_contiguous()
    head = case.head.weight.detach().t().contiguous().t().requires_grad_()
    loss = losses.linear_divergence(turned, head, case.teacher_hidden[:, :, :], case.teacher_head, chunk=5)
    dense = losses.forward_kl(turned @ head.t(), case.teacher_logits)
    assert_same(case, loss, dense, inputs=[turned, head])
    # A vocabulary that is also the table of embeddings gets both gradients.
    tokens = torch.tensor([1, 4, 4])

    def tied(table, divergence):
        return divergence(nn.functional.embedding(tokens, table).tanh(), table).mean()

    teacher = case.teacher_hidden[0, :3]
    ours = tied(head, lambda hidden, table: losses.linear_divergence(hidden, table, teacher, case.teacher_head))
    dense = tied(head, lambda hidden, table: losses.forward_kl(hidden @ table.t(), teacher @ case.teacher_head.t()))
    assert_same(case, ours, dense, torch.sum, inputs=[head])
    assert expected.shape == (3, 4)


@every_kind
@pytest.mark.parametrize("chunk", [7, None])
def test_autocast_and_half_types(kind, chunk):
    exact = Case(48, vocabulary=200)
    expected = DENSE[kind](exact.logits, exact.teacher_logits, temperature=1.0)
    gradients = torch.autograd.grad(expected.mean(), exact.trained)
    single, half = Case(48, vocabulary=200, dtype=torch.float32), Case(48, vocabulary=200, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = single.ours(kind=kind, beta=0.3, chunk=chunk)
        rough = DENSE[kind](single.logits, single.teacher_logits, temperature=1.0)
    for case, ours in ((single, loss), (half, half.ours(kind=kind, beta=0.3, chunk=chunk))):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), expected, rtol=2e-2, atol=4e-2)
        for reduce in (torch.mean, lambda each: (each * torch.ones(48).index_fill(0, torch.tensor(0), 1.0001)).mean()):
            for got, of_exact, of in zip(
                torch.autograd.grad(reduce(ours), case.trained, retain_graph=True), gradients, case.trained, strict=True
            ):
                assert got.dtype == of.dtype
                assert (got.double() - of_exact).norm() < 0.02 * of_exact.norm()
    # No worse than the dense loss under the same autocast.
    assert (loss.double() - expected).abs().mean() < 1.5 * (rough.double() - expected).abs().mean()


def test_student_and_teacher_of_different_types():
    case = Case(6, dtype=torch.float32)
    loss = losses.linear_divergence(case.hidden, case.head, case.teacher_hidden.bfloat16(), case.teacher_head.bfloat16())
    dense = losses.forward_kl(case.logits, case.teacher_hidden.bfloat16() @ case.teacher_head.bfloat16().t().float().bfloat16())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, dense.float(), rtol=2e-2, atol=2e-2)


def test_compiled():
    case = Case(6, dtype=torch.float32)
    weight = torch.tensor([1.0, 0.0, 1.0, 2.0, 1.0, 1.0])

    def loss(hidden):
        states = hidden.tanh() * 2.0
        return (losses.linear_divergence(states, case.head, case.teacher_hidden, case.teacher_head, weight=weight, chunk=2) * 3.0).mean()

    compiled = torch.compile(loss, backend="aot_eager")
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for _ in range(2):
        assert_same(case, compiled(case.hidden), loss(case.hidden), torch.sum)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 2


def test_no_token_at_all():
    for case in (Case(0), Case(3, 0)):
        loss, ce = case.ours(labels=case.labels)
        assert loss.shape == ce.shape == case.labels.shape
        for gradient, of in zip(torch.autograd.grad(losses.mean(loss) + ce.sum(), case.trained), case.trained, strict=True):
            assert torch.equal(gradient, torch.zeros_like(of))


def test_one_token_without_leading_axes():
    case = Case()
    assert case.ours().shape == ()
    assert_same(case, case.ours(), losses.forward_kl(case.logits, case.teacher_logits), torch.sum)


def test_nan_is_not_hidden():
    case = Case(4)
    with torch.no_grad():
        case.hidden[1] = math.nan
    loss = case.ours()
    assert loss.isnan().tolist() == [False, True, False, False]
    assert torch.autograd.grad(loss.sum(), case.head.weight)[0].isnan().any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "kl"}, OptionError, "kind is 'kl'; expected one of forward, reverse, jsd, ce"),
        ({"beta": 1.2}, OptionError, "beta is 1.2"),
        ({"temperature": 0.0}, OptionError, "temperature is 0.0"),
        ({"temperature": torch.ones(4)}, OptionError, "temperature is tensor"),
        ({"chunk": 0}, OptionError, "chunk is 0"),
        ({"memory_budget": 0}, OptionError, "memory_budget is 0"),
        ({"teacher_head": None}, OptionError, "expected one teacher"),
        ({"teacher_hidden": torch.ones(5, 6).double()}, ShapeError, r"teacher_hidden is of tokens \(5,\), student_hidden of tokens \(4,\)"),
        ({"teacher_head": torch.ones(12, 6).double()}, ShapeError, r"11 and 12 classes.*head.weight\[:V\]"),
        ({"teacher_head": torch.ones(11, 7).double()}, ShapeError, r"teacher_hidden of shape \(4, 6\) does not fit .*\(11, 7\)"),
        ({"student_head": torch.ones(5, 11).double()}, ShapeError, "classes first"),
        ({"student_head": torch.ones(11, 5)}, ShapeError, r"torch.float64 and torch.float32.*autocast"),
        ({"student_head": nn.Sequential()}, ShapeError, "student_head is a Sequential"),
        ({"student_hidden": torch.ones(4, 5, dtype=torch.int64)}, ShapeError, "expected floating-point"),
        ({"weight": torch.ones(4, 1)}, ShapeError, r"weight is of tokens \(4, 1\)"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, ShapeError, r"labels is of tokens \(3,\)"),
        ({"labels": torch.tensor([0, 1, 11, -100])}, ShapeError, "labels holds 11.*vocabulary of 11"),
        ({"labels": torch.tensor([0, 1, -1, -100])}, ShapeError, r"labels holds -1.*ignore_index \(-100\)"),
        ({"labels": torch.zeros(4)}, ShapeError, "labels is torch.float32"),
        ({"top_k": "both"}, OptionError, "expected one teacher"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    case = Case(4)
    if "top_k" in change:
        change = {"top_k": kept_of(case, 2)}
    options = {
        "student_hidden": case.hidden,
        "student_head": case.head,
        "teacher_hidden": case.teacher_hidden,
        "teacher_head": case.teacher_head,
    }
    with pytest.raises(error, match=message):
        losses.linear_divergence(**(options | change))


def test_bad_stores_are_refused():
    case = Case(4)
    top = kept_of(case, 3)
    for bad, message in (
        (top._replace(log_rest=torch.zeros(5)), r"top_k is of tokens \(5,\)"),
        (top._replace(log_probs=torch.zeros(4, 2)), r"\(4, 2\), \(4, 3\)"),
        (top._replace(indices=top.indices + 9), "top_k.indices holds 1"),
        (TopK(torch.zeros(4, 12), torch.zeros(4, 12, dtype=torch.int64), torch.zeros(4)), "k at most 11"),
    ):
        with pytest.raises(ShapeError, match=message):
            losses.linear_divergence(case.hidden, case.head, top_k=bad)


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("same: ddp;") == done.stdout.count("same: sharded head;") == 2
