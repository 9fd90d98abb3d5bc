"""Asking a server one question: waiting for the turn, setting money aside, sending, trying again, keeping the reply."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.errors import BudgetError, DataError
from tutelage.models.chat import wire
from tutelage.models.chat.cache import Cache
from tutelage.models.chat.endpoint import Endpoint
from tutelage.models.chat.failures import Failure, backoff
from tutelage.models.chat.limits import Account, Pace, Prices, most_tokens
from tutelage.models.chat.protocol import Message, Reply, Sampling
from tutelage.models.chat.transcript import Transcript

_POLL = 0.05  # seconds between two looks for a reply that another process is waiting for


@dataclass(frozen=True)
class Question:
    """One thing to ask, for all the conversations that ask it.

    Args:
        positions: where these conversations stand in the list.
        messages: what to ask.
        sampling: how the reply is drawn.
        key: its name in the cache.
    """

    positions: tuple[int, ...]
    messages: tuple[Message, ...]
    sampling: Sampling
    key: str


@dataclass(frozen=True)
class Outcome:
    """What came of a question; with neither reply nor failure it was not asked, because all should stop.

    Args:
        reply: what was said.
        failure: what went wrong; beside a reply, that it could not be kept.
        exhausted: whether every retry was in vain.
        budget: whether it was not sent for want of money.
    """

    reply: Reply | None = None
    failure: Failure | None = None
    exhausted: bool = False
    budget: bool = False


@dataclass(frozen=True)
class Asker:
    """All that one question needs, shared by the threads that ask.

    Args:
        model: the model's name.
        endpoint: the server.
        pace: requests and tokens per minute.
        account: what was spent, and the budget.
        prices: what tokens cost, or `None`.
        cache: where replies are kept, or `None`.
        transcript: where requests are written down, or `None`.
        retries: how often one request is sent again.
        backoff: seconds before the first retry.
        longest_wait: longest wait between two tries, in seconds.
        max_tokens_field: what the server calls the longest reply.
        extra: further parameters of every request.
        jitter: randomness of the waits.
    """

    model: str
    endpoint: Endpoint
    pace: Pace
    account: Account
    prices: Prices | None
    cache: Cache | None
    transcript: Transcript | None
    retries: int
    backoff: float
    longest_wait: float
    max_tokens_field: str
    extra: Mapping[str, Any]
    jitter: random.Random = dataclasses.field(default_factory=random.Random)

    def ask(self, question: Question, stop: threading.Event) -> Outcome:
        """Get one reply, with as many tries as it may take.

        Args:
            question: what to ask.
            stop: is set when nothing new should be sent.

        Returns:
            What came of it.
        """
        if self.cache is None:
            return self._insist(question, stop)
        try:
            while not self.cache.claim(question.key):  # somebody else is asking this: the reply will be for all
                if stop.wait(_POLL):
                    return Outcome()
            try:
                found = self.cache.get([question.key])
                return Outcome(found[question.key]) if found else self._insist(question, stop)
            finally:
                self.cache.release(question.key)
        except DataError as error:  # to pay on would lose replies
            return Outcome(failure=Failure(str(error), fatal=True))

    def _insist(self, question: Question, stop: threading.Event) -> Outcome:
        """Send the request, and again as long as that may help."""
        outcome = Outcome()
        for attempt in range(self.retries + 1):
            try:
                outcome = self._try(question, attempt, stop)
            except BudgetError as error:
                return Outcome(failure=Failure(str(error)), budget=True)
            failure = outcome.failure
            if failure is None or not failure.retry:
                return outcome
            if failure.wait is not None and failure.wait > self.longest_wait:
                what = f"{failure.what} It asks to wait {failure.wait:.0f} seconds, more than longest_wait={self.longest_wait:g}."
                return Outcome(failure=dataclasses.replace(failure, what=what, fatal=True))
            if attempt < self.retries and stop.wait(self._patience(failure, attempt)):
                return Outcome()
        assert outcome.failure is not None
        what = f"{outcome.failure.what} Tried {self.retries + 1} times."
        return Outcome(failure=dataclasses.replace(outcome.failure, what=what), exhausted=True)

    def _patience(self, failure: Failure, attempt: int) -> float:
        """Return seconds to wait before the next try; where the server named them, everybody waits."""
        wait = backoff(attempt, first=self.backoff, longest=self.longest_wait, random=self.jitter)
        if failure.wait is None:
            return wait
        self.pace.pause(failure.wait)
        return max(wait, failure.wait)

    def _try(self, question: Question, attempt: int, stop: threading.Event) -> Outcome:
        """Send the request once, within pace and budget, keep the reply and write down what came of it."""
        said, longest = question.messages, question.sampling.max_tokens or 0
        expected = sum(len(message.content) for message in said) // 4 + longest
        if not self._turn(expected, stop):
            return Outcome()
        most = self.prices.cost(most_tokens(said), longest) if self.prices else 0.0
        self.account.reserve(most)
        cost, certain = (0.0, True) if stop.is_set() else (most, False)  # the worst, as long as nobody knows better
        started = time.perf_counter()
        try:
            if stop.is_set():
                return Outcome()
            result, tokens = self._send(question)
            if tokens is not None:
                cost, certain = self.prices.cost(*tokens) if self.prices else 0.0, True
                self.pace.settle(expected, sum(tokens))
            elif isinstance(result, Failure) and not result.billed:
                cost, certain = 0.0, True
        finally:
            self.account.settle(most, cost, certain=certain)
        outcome = Outcome(failure=result) if isinstance(result, Failure) else self._keep(question, result)
        try:
            self._log(question, attempt, result, time.perf_counter() - started)
        except DataError as error:
            return Outcome(outcome.reply, Failure(str(error), fatal=True))
        return outcome

    def _turn(self, expected: int, stop: threading.Event) -> bool:
        """Wait until the pace allows a request of so many tokens; false if all should stop."""
        wait = self.pace.enter(expected)
        while wait > 0:
            if stop.wait(wait):
                return False
            wait = self.pace.paused()
        return True

    def _send(self, question: Question) -> tuple[Reply | Failure, tuple[int, int] | None]:
        """Send the request; return what came back and how many tokens the server counted, if it said so."""
        body = wire.body(self.model, question.messages, question.sampling, max_tokens_field=self.max_tokens_field, extra=self.extra)
        sent = self.endpoint.send(body)
        if isinstance(sent, Failure):
            return sent, None
        try:
            reply = wire.reply(sent, model=self.model, prices=self.prices)
        except wire.Malformed as error:
            what = f"HTTP 200, but {error}. Ask again, or look at base_url and the sampling options."
            return self.endpoint.safe(Failure(what, 200, billed=True)), error.tokens
        known = reply.prompt_tokens is not None and reply.completion_tokens is not None
        return reply, (reply.prompt_tokens or 0, reply.completion_tokens or 0) if known else None

    def _keep(self, question: Question, reply: Reply) -> Outcome:
        if self.cache is None:
            return Outcome(reply)
        try:
            return Outcome(self.cache.put(question.key, reply))
        except DataError as error:
            return Outcome(reply, Failure(str(error), fatal=True))

    def _log(self, question: Question, attempt: int, result: Reply | Failure, seconds: float) -> None:
        if self.transcript is None:
            return
        if isinstance(result, Failure):
            came: dict[str, Any] = {"status": result.status, "error": result.what}
        else:
            came = {"status": 200, "reply": result.to_json()}
        self.transcript.add(
            key=question.key,
            position=question.positions[0],
            attempt=attempt,
            base_url=self.endpoint.base_url,
            model=self.model,
            messages=[dataclasses.asdict(message) for message in question.messages],
            sampling=dataclasses.asdict(question.sampling),
            seconds=round(seconds, 3),
            **came,
        )
