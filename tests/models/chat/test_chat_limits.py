from __future__ import annotations

import random
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import BudgetError
from tutelage.models.chat.crew import crew
from tutelage.models.chat.failures import backoff, retry_after
from tutelage.models.chat.limits import Account, Pace


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 300)), min_size=1, max_size=60), st.integers(2, 60), st.integers(300, 3000))
def test_no_minute_holds_more_than_allowed(arrivals, requests, tokens):
    clock = Clock()
    pace = Pace(requests=requests, tokens=tokens, clock=clock)
    sent = []
    for later, amount in arrivals:
        clock.now += later
        sent.append((clock.now + pace.enter(amount), amount))
    for start, _ in sent:
        inside = [amount for at, amount in sent if start <= at < start + 60 - 1e-6]
        assert len(inside) <= requests
        assert sum(inside) - inside[-1] <= tokens
    assert [at for at, _ in sent] == sorted(at for at, _ in sent)


def test_tokens_are_settled_and_pauses_last():
    clock = Clock()
    pace = Pace(tokens=60, clock=clock)
    assert pace.enter(30) == 0
    pace.settle(30, 10)
    assert pace.enter(1) == pytest.approx(10)
    pace.pause(50)
    assert pace.enter(1) == pytest.approx(50)
    clock.now += 20
    assert pace.paused() == pytest.approx(30)
    assert Pace(clock=clock).enter(10**9) == 0


def test_the_account_waits_for_requests_that_may_turn_out_cheaper():
    account = Account(budget=1.0)
    account.reserve(0.9)
    got = []
    thread = threading.Thread(target=lambda: (account.reserve(0.5), got.append(time.perf_counter())))
    thread.start()
    time.sleep(0.05)
    assert not got
    account.settle(0.9, 0.1)
    thread.join(5)
    assert got
    account.settle(0.5, 0.5, certain=False)
    assert (account.spent, account.uncertain) == (0.1, 0.5)
    account.reserve(0.4)
    account.settle(0.4, 0.0)
    with pytest.raises(BudgetError, match=r"budget of 1 would be passed: 0\.1 was spent, and up to 0\.5 more .* next request .* 0\.41"):
        account.reserve(0.41)


@given(st.integers(0, 2000), st.integers(0, 9))
def test_backoff_doubles_up_to_a_limit_with_jitter(attempt, seed):
    whole = min(30.0, 0.5 * 2.0 ** min(attempt, 60))
    assert whole / 2 <= backoff(attempt, first=0.5, longest=30.0, random=random.Random(seed)) <= whole


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 60.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(headers, seconds):
    assert retry_after(headers, now=40.0) == seconds


def test_the_crew_begins_in_order_and_stops_when_told():
    begun, finished = [], []

    def work(item, stop):
        begun.append(item)
        time.sleep(0.01)
        return item * item

    def done(item, result):
        finished.append((item, result))
        return item != 3

    assert crew([], work, done, concurrency=3) == 0
    number = crew(range(100), work, done, concurrency=2)
    assert sorted(begun) == list(range(number))
    assert sorted(finished) == [(i, i * i) for i in range(number)]
    assert 4 <= number < 50


def test_an_exception_in_a_worker_is_raised_after_the_others_are_done():
    ended, both = [], threading.Barrier(2)

    def work(item, stop):
        both.wait(5)
        if item == 0:
            raise ZeroDivisionError
        assert stop.wait(5)
        ended.append(item)

    with pytest.raises(ZeroDivisionError):
        crew([0, 1, 2], work, lambda item, result: True, concurrency=2)
    assert ended == [1]
