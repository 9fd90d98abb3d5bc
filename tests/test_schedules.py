import copy
import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import schedules
from tutelage.errors import OptionError
from tutelage.schedules import chain, constant, cosine, exponential, linear, product, sine, step, value, warmup

repeatable = settings(max_examples=40, derandomize=True, deadline=None)

shares = st.floats(0.0, 1.0)
numbers = st.floats(-1e6, 1e6)

EXAMPLES = [
    constant(3.0),
    linear(0.0, 2.0),
    cosine(0.996, 1.0),
    sine(0.0, 2.0),
    exponential(1.0, 1e-3),
    step(1.0, at=(0.5, 0.75), factor=0.1),
    warmup(cosine(1.0, 0.0), share=0.2),
    product(2.0, linear(0.0, 1.0)),
    chain((0.3, linear(0.0, 1.0)), (1.0, 1.0)),
]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (constant(3.0), {0.0: 3.0, 0.4: 3.0, 1.0: 3.0}),
        (linear(1.0, 3.0), {0.0: 1.0, 0.25: 1.5, 1.0: 3.0}),
        (cosine(0.0, 1.0), {0.0: 0.0, 1 / 3: 0.25, 0.5: 0.5, 2 / 3: 0.75, 1.0: 1.0}),
        (sine(1.0, 3.0), {0.0: 1.0, 1 / 3: 2.0, 0.5: 1 + math.sqrt(2), 1.0: 3.0}),
        (exponential(1.0, 0.01), {0.0: 1.0, 0.5: 0.1, 1.0: 0.01}),
        (exponential(-4.0, -1.0), {0.0: -4.0, 0.5: -2.0, 1.0: -1.0}),
        (step(8.0, at=(0.5, 0.75), factor=0.5), {0.0: 8.0, 0.499: 8.0, 0.5: 4.0, 0.75: 2.0, 1.0: 2.0}),
        (step(8.0, at=()), {0.0: 8.0, 1.0: 8.0}),
        (warmup(2.0, share=0.1), {0.0: 0.0, 0.05: 1.0, 0.1: 2.0, 1.0: 2.0}),
        (warmup(linear(4.0, 0.0), share=0.5, start=1.0), {0.0: 1.0, 0.25: 2.5, 0.5: 4.0, 0.75: 2.0, 1.0: 0.0}),
        (warmup(linear(4.0, 0.0), share=0.0), {0.0: 4.0, 1.0: 0.0}),
        (product(2.0, linear(0.0, 1.0), constant(3.0)), {0.0: 0.0, 0.5: 3.0, 1.0: 6.0}),
        (chain((0.2, linear(0.0, 1.0)), (0.6, 5.0), (1.0, linear(2.0, 0.0))), {0.0: 0.0, 0.1: 0.5, 0.2: 5.0, 0.6: 2.0, 0.8: 1.0, 1.0: 0.0}),
        (chain((1.0, linear(1.0, 2.0))), {0.0: 1.0, 1.0: 2.0}),
    ],
    ids=repr,
)
def test_closed_form(schedule, expected):
    for progress, number in expected.items():
        assert schedule(progress) == pytest.approx(number, abs=1e-12)


def test_step_multiplies_by_a_tenth_by_default():
    assert step(1.0, at=(0.5,))(0.5) == pytest.approx(0.1)


@repeatable
@given(numbers, numbers, shares)
def test_linear_and_cosine_stay_between_their_ends_and_hit_them(start, end, progress):
    for schedule in (linear(start, end), cosine(start, end)):
        assert schedule(0.0) == start
        assert schedule(1.0) == end
        slack = 1e-9 * (1.0 + abs(start) + abs(end))
        assert min(start, end) - slack <= schedule(progress) <= max(start, end) + slack


@repeatable
@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), shares)
def test_exponential_is_linear_in_the_logarithm(start, end, progress):
    expected = (1.0 - progress) * math.log(start) + progress * math.log(end)
    assert math.log(exponential(start, end)(progress)) == pytest.approx(expected, abs=1e-9)


@repeatable
@given(shares)
def test_value_takes_numbers_functions_and_schedules(progress):
    assert value(0.3, progress) == 0.3
    assert value(lambda p: 2.0 * p, progress) == 2.0 * progress
    assert value(linear(0.0, 1.0), progress) == progress


@repeatable
@given(shares, shares)
def test_warmup_rises(a, b):
    schedule = warmup(1.0, share=0.3)
    assert (schedule(min(a, b))) <= schedule(max(a, b))


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan, math.inf])
def test_progress_outside_is_refused(schedule, progress):
    with pytest.raises(OptionError, match="progress is"):
        schedule(progress)
    with pytest.raises(OptionError, match="progress is"):
        value(0.5, progress)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_schedules_are_plain_values(schedule):
    assert eval(repr(schedule), vars(schedules)) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert copy.deepcopy(schedule) == schedule
    assert hash(schedule) == hash(copy.deepcopy(schedule))
    with pytest.raises(AttributeError):
        schedule.start = 5.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: exponential(1.0, 0.0), "non-zero"),
        (lambda: exponential(1.0, -1.0), "one sign"),
        (lambda: step(1.0, at=(0.5, 0.5)), "must increase"),
        (lambda: step(1.0, at=(30.0, 60.0)), "divide epochs"),
        (lambda: warmup(1.0, share=1.0), "share of the training"),
        (lambda: product(), "no factors"),
        (lambda: chain(), "the last of them 1"),
        (lambda: chain((0.5, 1.0)), "the last of them 1"),
        (lambda: chain((0.5, 1.0), (0.4, 1.0), (1.0, 2.0)), "increasing ends"),
        (lambda: chain((0.0, 1.0), (1.0, 2.0)), "increasing ends"),
    ],
)
def test_options_that_make_no_schedule_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
