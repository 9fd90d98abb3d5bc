import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import entropy as scipy_entropy
from torch.nn import functional

from tutelage import losses, targets
from tutelage.errors import OptionError, ShapeError

repeatable = settings(max_examples=40, derandomize=True, deadline=None)

DIVERGENCES = {
    "forward": losses.forward_kl,
    "reverse": losses.reverse_kl,
    "jeffreys": losses.jeffreys,
    "js": losses.jensen_shannon,
    "js-0.1": lambda s, t, **o: losses.jensen_shannon(s, t, beta=0.1, **o),
    "js-0": lambda s, t, **o: losses.jensen_shannon(s, t, beta=0.0, **o),
    "js-1": lambda s, t, **o: losses.jensen_shannon(s, t, beta=1.0, **o),
    "js-scaled": lambda s, t, **o: losses.jensen_shannon(s, t, beta=0.3, scaled=True, **o),
    "forward-of-pair": lambda s, t, **o: losses.forward_and_reverse_kl(s, t, **o)[0],
    "reverse-of-pair": lambda s, t, **o: losses.forward_and_reverse_kl(s, t, **o)[1],
}
every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES.values(), ids=DIVERGENCES.keys())

# p_t = (0.9, 0.1), p_s = (0.6, 0.4).
TEACHER = torch.tensor([0.9, 0.1], dtype=torch.float64).log()
STUDENT = torch.tensor([0.6, 0.4], dtype=torch.float64).log()


def pair(*shape, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(*shape, dtype=torch.float64, generator=generator) for _ in range(2))


@st.composite
def logit_pairs(draw):
    seed = draw(st.integers(0, 2**31))
    return pair(draw(st.integers(1, 4)), draw(st.integers(2, 6)), seed=seed, scale=draw(st.sampled_from([0.1, 1.0, 10.0])))


def test_closed_form_values():
    assert losses.forward_kl(STUDENT, TEACHER).item() == pytest.approx(0.226289, abs=1e-6)
    assert losses.reverse_kl(STUDENT, TEACHER).item() == pytest.approx(0.311239, abs=1e-6)
    assert losses.jeffreys(STUDENT, TEACHER).item() == pytest.approx(0.226289 + 0.311239, abs=2e-6)
    assert losses.entropy(TEACHER).item() == pytest.approx(0.325083, abs=1e-6)
    assert losses.entropy(STUDENT).item() == pytest.approx(0.673012, abs=1e-6)
    # m = (0.75, 0.25)
    expected = 0.5 * (0.9 * math.log(0.9 / 0.75) + 0.1 * math.log(0.1 / 0.25) + 0.6 * math.log(0.6 / 0.75) + 0.4 * math.log(0.4 / 0.25))
    assert losses.jensen_shannon(STUDENT, TEACHER).item() == pytest.approx(expected, abs=1e-12)
    # beta = 0.25: the teacher has a quarter of the mixture (0.675, 0.325).
    expected = 0.25 * (0.9 * math.log(0.9 / 0.675) + 0.1 * math.log(0.1 / 0.325))
    expected += 0.75 * (0.6 * math.log(0.6 / 0.675) + 0.4 * math.log(0.4 / 0.325))
    assert losses.jensen_shannon(STUDENT, TEACHER, beta=0.25).item() == pytest.approx(expected, abs=1e-12)


def test_temperature_divides_both_logits():
    # At temperature 2, (0.9, 0.1) becomes (3, 1) / 4 and (0.6, 0.4) becomes (sqrt 3, sqrt 2), normalised.
    q = math.sqrt(3.0) / (math.sqrt(3.0) + math.sqrt(2.0))
    expected = 0.75 * math.log(0.75 / q) + 0.25 * math.log(0.25 / (1.0 - q))
    assert losses.forward_kl(STUDENT, TEACHER, temperature=2.0).item() == pytest.approx(expected, abs=1e-12)
    assert losses.entropy(TEACHER, temperature=2.0).item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), abs=1e-12)


@every_divergence
def test_a_tensor_of_temperatures_is_one_per_distribution(divergence):
    student, teacher = pair(3, 5)
    temperatures = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    together = divergence(student, teacher, temperature=temperatures)
    for i, temperature in enumerate(temperatures.tolist()):
        torch.testing.assert_close(together[i], divergence(student[i], teacher[i], temperature=temperature))
    torch.testing.assert_close(divergence(student, teacher, temperature=temperatures[1]), divergence(student, teacher, temperature=2.0))


@repeatable
@given(logit_pairs(), st.sampled_from([0.5, 1.0, 4.0]))
def test_agrees_with_independent_references(logits, temperature):
    student, teacher = logits
    p_s, p_t = (student / temperature).softmax(-1), (teacher / temperature).softmax(-1)
    close = {"rtol": 1e-9, "atol": 1e-11}
    forward = torch.from_numpy(rel_entr(p_t.numpy(), p_s.numpy())).sum(-1)
    reverse = torch.from_numpy(rel_entr(p_s.numpy(), p_t.numpy())).sum(-1)
    torch.testing.assert_close(losses.forward_kl(student, teacher, temperature=temperature), forward, **close)
    torch.testing.assert_close(losses.reverse_kl(student, teacher, temperature=temperature), reverse, **close)
    torch.testing.assert_close(losses.jeffreys(student, teacher, temperature=temperature), forward + reverse, **close)
    squared_root = torch.from_numpy(jensenshannon(p_s.numpy(), p_t.numpy(), axis=-1)).nan_to_num()
    torch.testing.assert_close(
        losses.jensen_shannon(student, teacher, temperature=temperature), squared_root.square(), rtol=1e-6, atol=1e-9
    )
    torch.testing.assert_close(
        losses.entropy(teacher, temperature=temperature), torch.from_numpy(scipy_entropy(p_t.numpy(), axis=-1)), **close
    )


def test_forward_kl_agrees_with_torch():
    student, teacher = pair(4, 6, 7)
    expected = functional.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="none").sum(-1)
    torch.testing.assert_close(losses.forward_kl(student, teacher), expected)


@every_divergence
@repeatable
@given(logit_pairs())
def test_invariances(divergence, logits):
    student, teacher = logits
    base = divergence(student, teacher)
    assert base.shape == student.shape[:-1]
    assert (base >= -1e-12).all()
    order = torch.randperm(student.shape[-1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(divergence(student[..., order], teacher[..., order]), base, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(divergence(student + 7.0, teacher - 3.0), base, rtol=1e-8, atol=1e-10)


@every_divergence
def test_no_value_and_no_gradient_between_equals(divergence):
    teacher = pair(3, 5)[1]
    student = teacher.clone().requires_grad_()
    divergence(student, teacher).sum().backward()
    torch.testing.assert_close(divergence(student, teacher), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher), atol=1e-12, rtol=0.0)


@every_divergence
def test_gradients_of_both_sides_and_of_second_order(divergence):
    student, teacher = (logits.requires_grad_() for logits in pair(2, 4, scale=1.0))
    assert torch.autograd.gradcheck(lambda s, t: divergence(s, t, temperature=1.7), (student, teacher))
    assert torch.autograd.gradgradcheck(lambda s, t: divergence(s, t, temperature=1.7), (student, teacher))


def test_gradient_formulas():
    student, teacher = pair(5, 4)
    student.requires_grad_()
    p_s, p_t = student.softmax(-1), teacher.softmax(-1)
    (forward,) = torch.autograd.grad(losses.forward_kl(student, teacher).sum(), student)
    torch.testing.assert_close(forward, p_s - p_t)
    divergence = losses.reverse_kl(student, teacher)
    (reverse,) = torch.autograd.grad(divergence.sum(), student)
    torch.testing.assert_close(reverse, p_s * ((p_s / p_t).log() - divergence.unsqueeze(-1)))


def test_jensen_shannon_ends_are_the_kl_divergences():
    student, teacher = pair(6, 5)
    forward, reverse = losses.forward_and_reverse_kl(student, teacher)
    for scaled in (False, True):
        assert torch.equal(losses.jensen_shannon(student, teacher, beta=0.0, scaled=scaled), losses.forward_kl(student, teacher))
        assert torch.equal(losses.jensen_shannon(student, teacher, beta=1.0, scaled=scaled), losses.reverse_kl(student, teacher))
    near = 1e-6
    torch.testing.assert_close(losses.jensen_shannon(student, teacher, beta=near) / near, forward, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(losses.jensen_shannon(student, teacher, beta=1.0 - near) / near, reverse, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(losses.jensen_shannon(student, teacher, beta=near, scaled=True), forward, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(losses.jensen_shannon(student, teacher, beta=1.0 - near, scaled=True), reverse, rtol=1e-3, atol=1e-6)
    half = losses.jensen_shannon(student, teacher)
    torch.testing.assert_close(losses.jensen_shannon(student, teacher, scaled=True), 4.0 * half)


@repeatable
@given(logit_pairs(), st.floats(0.05, 0.95))
def test_jensen_shannon_is_bounded_and_swaps_with_beta(logits, beta):
    student, teacher = logits
    divergence = losses.jensen_shannon(student, teacher, beta=beta)
    bound = -beta * math.log(beta) - (1.0 - beta) * math.log(1.0 - beta)
    assert (divergence <= bound + 1e-12).all()
    torch.testing.assert_close(losses.jensen_shannon(teacher, student, beta=1.0 - beta), divergence, rtol=1e-9, atol=1e-12)


@repeatable
@given(logit_pairs())
def test_entropy_is_between_zero_and_log_classes(logits):
    entropies = losses.entropy(logits[0])
    assert ((entropies >= 0.0) & (entropies <= math.log(logits[0].shape[-1]) + 1e-12)).all()
    uniform = torch.zeros(2, 8, dtype=torch.float64)
    torch.testing.assert_close(losses.entropy(uniform), torch.full((2,), math.log(8.0), dtype=torch.float64))


def extreme(dtype):
    """Rows of logits of magnitude 1e4: opposite, equal, uniform against certain, and random."""
    random_student, random_teacher = (1e4 * (2.0 * torch.rand(8, 4, generator=torch.Generator().manual_seed(s)) - 1.0) for s in (1, 2))
    rows = torch.tensor([[1e4, -1e4, 0.0, 0.0], [1e4, -1e4, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [-1e4, -1e4, -1e4, -1e4]])
    others = torch.tensor([[-1e4, 1e4, 0.0, 0.0], [1e4, -1e4, 0.0, 0.0], [1e4, -1e4, 0.0, 0.0], [1e4, 1e4, -1e4, -1e4]])
    return torch.cat([rows, random_student]).to(dtype), torch.cat([others, random_teacher]).to(dtype)


@every_divergence
@pytest.mark.parametrize(
    ("dtype", "temperature"),
    # Not float16 at 0.1: the gradient of the reverse KL, about 2e5, is beyond its largest number.
    [(d, t) for d in (torch.float32, torch.bfloat16, torch.float16) for t in (1.0, 4.0, 0.1) if (d, t) != (torch.float16, 0.1)],
)
def test_extreme_logits_give_finite_and_right_values_and_gradients(divergence, dtype, temperature):
    student, teacher = extreme(dtype)
    student.requires_grad_()
    loss = divergence(student, teacher, temperature=temperature)
    assert loss.dtype == torch.float32
    loss.sum().backward()
    exact_student = student.detach().double().requires_grad_()
    exact = divergence(exact_student, teacher.double(), temperature=temperature)
    exact.sum().backward()
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)
    # The gradient comes back in the type of the logits.
    precision = {"rtol": 1e-2, "atol": 1e-2} if dtype != torch.float32 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(student.grad.double(), exact_student.grad, **precision)


def test_extreme_logits_have_finite_entropy():
    for logits in extreme(torch.bfloat16):
        logits.requires_grad_()
        losses.entropy(logits).sum().backward()
        assert logits.grad.isfinite().all()
    assert losses.entropy(torch.tensor([1e4, -1e4])).item() == 0.0


@every_divergence
def test_a_class_that_both_exclude_counts_as_absent(divergence):
    student, teacher = pair(3, 4)
    excluded = torch.full((3, 1), -math.inf, dtype=torch.float64)
    masked = torch.cat([student, excluded], -1).requires_grad_()
    loss = divergence(masked, torch.cat([teacher, excluded], -1))
    torch.testing.assert_close(loss, divergence(student, teacher))
    loss.sum().backward()
    student.requires_grad_()
    divergence(student, teacher).sum().backward()
    torch.testing.assert_close(masked.grad, torch.cat([student.grad, torch.zeros_like(excluded)], -1))


def test_a_class_that_only_the_student_excludes_is_infinitely_far_in_forward_kl_alone():
    student = torch.tensor([0.0, 0.0, -math.inf])
    teacher = torch.tensor([0.0, 0.0, 0.0])
    assert losses.forward_kl(student, teacher).item() > 1e30
    assert losses.reverse_kl(student, teacher).item() == pytest.approx(math.log(1.5))
    assert losses.jensen_shannon(student, teacher).item() < math.log(2.0)


@every_divergence
def test_nan_is_not_hidden(divergence):
    student, teacher = pair(2, 3)
    student[0, 0] = math.nan
    loss = divergence(student, teacher)
    assert loss[0].isnan()
    assert loss[1].isfinite()


def test_function_transforms_see_the_same_gradient():
    student, teacher = pair(3, 4)
    per_sample = torch.vmap(torch.func.grad(lambda s, t: losses.forward_kl(s, t)))(student, teacher)
    torch.testing.assert_close(per_sample, student.softmax(-1) - teacher.softmax(-1))


@every_divergence
def test_bad_input_is_refused(divergence):
    student, teacher = pair(2, 3)
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(2, 1\)"):
        divergence(student, teacher[:, :1])
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(OptionError, match="temperature"):
            divergence(student, teacher, temperature=temperature)


@pytest.mark.parametrize("beta", [-0.1, 1.1, math.nan])
def test_beta_outside_is_refused(beta):
    with pytest.raises(OptionError, match="beta"):
        losses.jensen_shannon(*pair(2, 3), beta=beta)


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_top_k_with_the_rest_is_a_lower_bound_that_grows_with_k_and_ends_exact(kind, temperature):
    generator = torch.Generator().manual_seed(3)
    student, teacher = (3 * torch.randn(20, 7, dtype=torch.float64, generator=generator) for _ in range(2))
    exact = DIVERGENCES[kind](student, teacher, temperature=temperature)
    bounds = [DIVERGENCES[kind](student, targets.top_k(teacher, k, temperature=temperature), temperature=temperature) for k in range(1, 8)]
    for lower, higher in itertools.pairwise([torch.zeros_like(exact), *bounds]):
        assert (higher >= lower - 1e-12).all()
    assert (bounds[2] < exact - 1e-4).any()
    torch.testing.assert_close(bounds[-1], exact)
    torch.testing.assert_close(bounds[-2], exact)  # one class left over is the rest itself


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_gradients_towards_top_k_are_those_of_finite_differences(kind):
    generator = torch.Generator().manual_seed(4)
    student, teacher = (torch.randn(3, 6, dtype=torch.float64, generator=generator) for _ in range(2))
    top = targets.top_k(teacher, 2, temperature=2.0)
    assert torch.autograd.gradcheck(lambda s: DIVERGENCES[kind](s, top, temperature=2.0), student.requires_grad_())


def test_top_k_at_another_temperature_is_exact_from_all_classes_and_refused_from_fewer():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    whole = targets.top_k(teacher, 5, temperature=2.0)
    torch.testing.assert_close(losses.forward_kl(student, whole, temperature=3.0), losses.forward_kl(student, teacher, temperature=3.0))
    with pytest.raises(OptionError, match="kept at temperature 2"):
        losses.forward_kl(student, targets.top_k(teacher, 3, temperature=2.0), temperature=3.0)
    with pytest.raises(ShapeError, match="same samples"):
        losses.forward_kl(student[:2], targets.top_k(teacher, 3))
    with pytest.raises(OptionError, match="all its classes"):
        losses.entropy(targets.top_k(teacher, 3))
