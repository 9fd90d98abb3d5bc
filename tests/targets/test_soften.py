import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import targets
from tutelage.errors import OptionError

repeatable = settings(max_examples=40, derandomize=True, deadline=None)


def logits_of(*shape, seed=0):
    return 3.0 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_closed_form_values():
    logits = torch.tensor([0.9, 0.1], dtype=torch.float64).log()
    torch.testing.assert_close(targets.soften(logits), torch.tensor([0.9, 0.1], dtype=torch.float64))
    torch.testing.assert_close(targets.soften(logits, 2.0), torch.tensor([0.75, 0.25], dtype=torch.float64))
    torch.testing.assert_close(targets.log_soften(logits, 2.0).exp(), targets.soften(logits, 2.0))
    torch.testing.assert_close(targets.sharpen(torch.tensor([0.75, 0.25, 0.0])), torch.tensor([0.9, 0.1, 0.0]))


@repeatable
@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
def test_sharpening_undoes_softening(seed, temperature):
    logits = logits_of(3, 4, seed=seed)
    softened = targets.soften(logits, temperature)
    torch.testing.assert_close(targets.sharpen(softened, 1.0 / temperature), targets.soften(logits), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(targets.sharpen(5.0 * softened, 1.0), softened)


@repeatable
@given(st.integers(0, 10_000), st.floats(0.1, 5.0))
def test_higher_temperature_is_flatter(seed, temperature):
    logits = logits_of(3, 4, seed=seed)
    assert (targets.soften(logits, temperature + 1.0).amax(-1) < targets.soften(logits, temperature).amax(-1)).all()
    assert torch.equal(targets.soften(logits, temperature).argmax(-1), logits.argmax(-1))


def test_limits_of_temperature():
    logits = torch.tensor([1.0, 2.0, 0.5])
    torch.testing.assert_close(targets.soften(logits, 1e-4), torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(targets.soften(logits, 1e6), torch.full((3,), 1 / 3))


def test_a_tensor_of_temperatures_is_one_per_distribution():
    logits, temperatures = logits_of(2, 4), torch.tensor([0.5, 3.0], dtype=torch.float64)
    for part in (targets.soften, targets.log_soften):
        together = part(logits, temperatures)
        for i in range(2):
            torch.testing.assert_close(together[i], part(logits[i], temperatures[i].item()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_and_excluded_classes(dtype):
    logits = torch.tensor([1e4, -1e4, -math.inf], dtype=dtype, requires_grad=True)
    log_probs = targets.log_soften(logits)
    assert log_probs.dtype == torch.float32
    assert log_probs.isfinite().all()
    assert targets.soften(logits, 4.0).tolist() == [1.0, 0.0, 0.0]
    assert targets.sharpen(targets.soften(logits).to(dtype)).tolist() == [1.0, 0.0, 0.0]
    (targets.soften(logits) * log_probs).sum().backward()
    assert logits.grad.isfinite().all()


def test_log_soften_is_differentiable_twice():
    logits = logits_of(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: targets.log_soften(x, 1.5), (logits,))
    assert torch.autograd.gradgradcheck(lambda x: targets.log_soften(x, 1.5), (logits,))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_that_do_not_exist_are_refused(temperature):
    for part in (targets.soften, targets.log_soften, targets.sharpen):
        with pytest.raises(OptionError, match="temperature"):
            part(torch.ones(3), temperature)
