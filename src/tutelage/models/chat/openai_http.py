"""Chat models behind HTTP: any server that speaks OpenAI's chat-completions protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import BudgetError, ChatError, OptionError
from tutelage.models.chat.asking import Asker, Outcome, Question
from tutelage.models.chat.cache import Cache, cache_key
from tutelage.models.chat.crew import crew
from tutelage.models.chat.endpoint import OPENAI, Endpoint
from tutelage.models.chat.limits import Account, Pace, Prices
from tutelage.models.chat.protocol import Conversation, Reply, Sampling, all_messages
from tutelage.models.chat.transcript import Transcript

GIVE_UP = 3
"""So many conversations in succession whose retries were all in vain end the call: the server does not recover."""


@dataclass
class Tally:
    """What a client did since it was made.

    Args:
        answered: conversations that were paid for and answered.
        cached: conversations answered from the cache, or together with an equal one.
        failed: conversations without a usable reply.
        prompt_tokens: tokens of the conversations paid for, as the server counted them.
        completion_tokens: tokens of their replies.
        without_log_probs: replies to which log-probabilities were asked for and not given.
    """

    answered: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    without_log_probs: int = 0

    def add(self, question: Question, outcome: Outcome) -> None:
        """Count what came of a question."""
        reply, copies = outcome.reply, len(question.positions)
        if reply is None:
            self.failed += copies if outcome.failure else 0
            return
        paid = 0 if reply.cached else 1
        self.answered += paid
        self.cached += copies - paid
        self.prompt_tokens += paid * (reply.prompt_tokens or 0)
        self.completion_tokens += paid * (reply.completion_tokens or 0)
        self.without_log_probs += copies * (question.sampling.log_probs is not None and reply.log_probs is None)


class OpenAIChat:
    """A chat model behind HTTP, asked by several threads, with retries, limits, a budget, a cache and a transcript.

    Only what may succeed later is tried again: 408, 409, 425, 429, 5xx, time-outs and lost connections, after exponentially growing
    waits with jitter, or as long as `Retry-After` says. Where a cache is, equal conversations of one call are asked once, and
    every reply is committed as soon as it arrives: what is paid is kept, whatever happens next. A process killed at any instant
    pays again for at most the requests that were on their way (at most `concurrency`); what one process is asking, others wait for.

    Args:
        model: the model's name.
        base_url: the server's address.
        key_env: name of the environment variable that holds the key (see `Endpoint`).
        sampling: how replies are drawn.
        concurrency: most requests on their way at a time.
        retries: how often one request is sent again.
        timeout: seconds without a sign of life after which a request is given up.
        backoff: seconds before the first retry.
        longest_wait: longest wait between two tries, in seconds; a server that asks for more ends the call.
        rpm: most requests per minute.
        tpm: most tokens per minute, conversations and replies together.
        prices: what tokens cost; `None` counts no cost.
        budget: what this client may spend, in the currency of the prices; a request that could pass it is not sent.
        cache: a `Cache` or its path; `"auto"` for `chat.sqlite` in the cache folder; `None` for none.
        transcript: file to which every request and what came of it is appended as a JSON line, without secrets.
        progress: is called in the calling thread with (conversations done, all, tally).
        max_tokens_field: what the server calls the longest reply; OpenAI's reasoning models want `max_completion_tokens`.
        extra: further parameters of every request.

    Raises:
        OptionError: for an option out of range, a budget without prices, or a missing key.
        MissingExtra: if `openai` is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI,
        key_env: str | None = None,
        sampling: Sampling | None = None,
        concurrency: int = 8,
        retries: int = 6,
        timeout: float = 120.0,
        backoff: float = 0.5,
        longest_wait: float = 120.0,
        rpm: float | None = None,
        tpm: float | None = None,
        prices: Prices | None = None,
        budget: float | None = None,
        cache: Cache | str | Path | None = "auto",
        transcript: str | Path | None = None,
        progress: Callable[[int, int, Tally], None] | None = None,
        max_tokens_field: str = "max_tokens",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0)):
            if not isinstance(value, int) or value < least:
                raise OptionError(f"Option {name}={value!r}: expected a whole number of at least {least}.")
        if not (0 <= backoff < float("inf") and 0 <= longest_wait < float("inf")):
            raise OptionError(f"Options backoff={backoff} and longest_wait={longest_wait}: expected seconds of at least 0.")
        if budget is not None and prices is None:
            raise OptionError(f"A budget of {budget} needs prices per million tokens: give price_in and price_out.")
        self.model, self.sampling, self.concurrency, self.progress = model, sampling or Sampling(), concurrency, progress
        self.endpoint = Endpoint(base_url, key_env=key_env, timeout=timeout)
        self.account, self.tally = Account(budget), Tally()
        self.cache = Cache(None if cache == "auto" else cache) if isinstance(cache, str | Path) else cache
        self._asker = Asker(
            model=model,
            endpoint=self.endpoint,
            pace=Pace(requests=rpm, tokens=tpm),
            account=self.account,
            prices=prices,
            cache=self.cache,
            transcript=None if transcript is None else Transcript(transcript, redact=self.endpoint.redact),
            retries=retries,
            backoff=backoff,
            longest_wait=longest_wait,
            max_tokens_field=max_tokens_field,
            extra=dict(extra or {}),
        )

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r}, base_url={self.endpoint.base_url!r}, {self.sampling})"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the replies: model, address, sampling, further parameters."""
        return cache_key(self.model, self.endpoint.base_url, (), self.sampling, self._asker.extra)

    def complete(self, conversations: Sequence[Conversation], *, sampling: Sampling | None = None) -> list[Reply]:
        """Answer every conversation.

        Args:
            conversations: what to answer.
            sampling: how to draw the replies; by default as the client was set up.

        Returns:
            One reply per conversation, in their order.

        Raises:
            ChatError: if some got no usable reply; the others are in its `replies` (and in the cache).
            BudgetError: the same, because the next request could have passed the budget.
            OptionError: if a budget is set and the length of replies is not.
        """
        sampling = sampling or self.sampling
        if self.account.budget is not None and sampling.max_tokens is None:
            raise OptionError("A budget needs max_tokens: without it nobody knows what a request can cost at most.")
        job = _Job([None] * len(conversations))
        questions = self._unknown(self._questions(conversations, sampling), job)
        self._report(job)

        def done(question: Question, outcome: Outcome) -> bool:
            self.tally.add(question, outcome)
            job.take(question, outcome)
            return job.last is None

        crew(questions, self._asker.ask, done, concurrency=self.concurrency, tick=lambda: self._report(job))
        answered = [reply for reply in job.replies if reply is not None]
        if len(answered) < len(job.replies) or job.failures:
            raise self._error(job, len(answered))
        return answered

    def _questions(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Question]:
        """Group equal conversations where a cache keeps one reply for them; without one each is a draw of its own."""
        grouped: dict[tuple[str, int], list[int]] = {}
        asked = all_messages(conversations)
        for position, said in enumerate(asked):
            key = cache_key(self.model, self.endpoint.base_url, said, sampling, self._asker.extra)
            grouped.setdefault((key, position if self.cache is None else 0), []).append(position)
        return [Question(tuple(places), asked[places[0]], sampling, key) for (key, _), places in grouped.items()]

    def _unknown(self, questions: list[Question], job: _Job) -> list[Question]:
        """Fill in what the cache knows; return the rest."""
        found = self.cache.get(question.key for question in questions) if self.cache is not None else {}
        for question in questions:
            if question.key in found:
                outcome = Outcome(found[question.key])
                self.tally.add(question, outcome)
                job.take(question, outcome)
        return [question for question in questions if question.key not in found]

    def _report(self, job: _Job) -> None:
        if self.progress is not None:
            self.progress(job.done, len(job.replies), self.tally)

    def _error(self, job: _Job, answered: int) -> ChatError:
        """Say how many are missing, why, and where the others are."""
        total = len(job.replies)
        alike: dict[str, list[int]] = {}
        for place in sorted(job.failures):
            alike.setdefault(job.failures[place], []).append(place)
        shown = list(alike.items())[:3]
        why = " ".join(f"Conversation{_listed(places)}: {what}" for what, places in shown)
        if len(alike) > len(shown):
            why += f" And {sum(map(len, alike.values())) - sum(len(places) for _, places in shown)} more failed."
        if job.done < total:
            why += f" {total - job.done} more were not asked."
        kept = (
            f"are kept in '{self.cache.path}': the same call asks only the rest"
            if self.cache is not None
            else "are in this error's `replies`"
        )
        message = (
            f"{total - answered} of {total} conversations with '{self.model}' at {self.endpoint.base_url} have no reply. "
            f"{why} The {answered} replies {kept}."
        )
        kind = BudgetError if job.last is not None and job.last.budget else ChatError
        return kind(message, replies=job.replies, failures=job.failures)


def _listed(places: Sequence[int]) -> str:
    if len(places) == 1:
        return f" {places[0]}"
    return "s " + ", ".join(map(str, places[:3])) + (f" and {len(places) - 3} more" if len(places) > 3 else "")


@dataclass
class _Job:
    """One call: what was answered, what failed, and what ended it early."""

    replies: list[Reply | None]
    failures: dict[int, str] = dataclasses.field(default_factory=dict)
    done: int = 0
    last: Outcome | None = None
    _vain: int = 0

    def take(self, question: Question, outcome: Outcome) -> None:
        """Write down what came of a question."""
        for copy, position in enumerate(question.positions):
            if outcome.reply is not None:
                self.replies[position] = dataclasses.replace(outcome.reply, cached=True) if copy else outcome.reply
            if outcome.failure is not None:
                self.failures[position] = outcome.failure.what
        if outcome.reply is not None or outcome.failure is not None:
            self.done += len(question.positions)
        self._vain = self._vain + 1 if outcome.exhausted else 0 if outcome.reply else self._vain
        fatal = outcome.failure is not None and outcome.failure.fatal
        if self.last is None and (outcome.budget or fatal or self._vain >= GIVE_UP):
            self.last = outcome
