"""What a client may spend: requests and tokens per minute, and money."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tutelage.errors import BudgetError, OptionError
from tutelage.models.chat.protocol import Message


@dataclass(frozen=True)
class Prices:
    """What a model costs.

    Args:
        input: price of a million tokens of conversation, in any one currency.
        output: price of a million tokens of reply.

    Raises:
        OptionError: if one is negative.
    """

    input: float
    output: float

    def __post_init__(self) -> None:
        if not (0 <= self.input < float("inf") and 0 <= self.output < float("inf")):
            raise OptionError(f"Prices per million tokens are {self.input} and {self.output}: expected numbers of at least 0.")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of a request with so many tokens."""
        return (self.input * prompt_tokens + self.output * completion_tokens) / 1e6


def most_tokens(messages: Sequence[Message]) -> int:
    """Return more tokens than a conversation can have: a token is a byte at least; roles and a default system prompt come on top."""
    return 64 + sum(16 + len(message.content.encode("utf-8", "surrogatepass")) for message in messages)


class Pace:
    """Spreads requests evenly, so that no minute holds more than are allowed.

    Args:
        requests: requests per minute; `None` sets no limit.
        tokens: tokens per minute, of conversations and replies together; `None` sets no limit.
        clock: seconds, for tests.

    Raises:
        OptionError: for a limit that is not positive.
    """

    def __init__(self, *, requests: float | None = None, tokens: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        for name, value in (("rpm", requests), ("tpm", tokens)):
            if value is not None and not 0 < value < float("inf"):
                raise OptionError(f"Option {name}={value}: expected a positive number per minute, or None.")
        self._seconds = tuple(60.0 / limit if limit else 0.0 for limit in (requests, tokens))
        self._clock = clock
        self._next = [0.0, 0.0]  # when requests, and tokens, are free again
        self._paused = 0.0
        self._lock = threading.Lock()

    def enter(self, tokens: int) -> float:
        """Take a place in the queue.

        Args:
            tokens: expected tokens of the request.

        Returns:
            Seconds to wait before it may be sent.
        """
        with self._lock:
            now = self._clock()
            start = max(now, self._paused, *self._next)
            for i, amount in enumerate((1, tokens)):
                self._next[i] = start + amount * self._seconds[i]
            return start - now

    def settle(self, expected: int, actual: int) -> None:
        """Correct the count of tokens once the server has said how many there were."""
        with self._lock:
            self._next[1] += (actual - expected) * self._seconds[1]

    def pause(self, seconds: float) -> None:
        """Let nobody send for a while, because the server asked for it."""
        with self._lock:
            self._paused = max(self._paused, self._clock() + seconds)

    def paused(self) -> float:
        """Return the seconds that the pause still lasts."""
        with self._lock:
            return max(0.0, self._paused - self._clock())


class Account:
    """Counts what was spent, and lets no request out that could pass the budget.

    Before a request, the most that it can cost is set aside; after it, what it did cost is written down. A request of which nobody
    knows whether it was billed (a time-out, a lost connection) stays written down at its most.

    Args:
        budget: what may be spent; `None` sets no limit.
    """

    def __init__(self, budget: float | None = None) -> None:
        if budget is not None and not 0 <= budget < float("inf"):
            raise OptionError(f"Option budget={budget}: expected a number of at least 0, or None.")
        self.budget = budget
        self.spent = 0.0
        self.uncertain = 0.0
        self._aside = 0.0
        self._changed = threading.Condition()

    def reserve(self, most: float) -> None:
        """Set money aside; waits while requests on their way may still turn out cheaper.

        Args:
            most: the most that the request can cost.

        Raises:
            BudgetError: if it could pass the budget.
        """
        with self._changed:
            while self.budget is not None and self.spent + self.uncertain + self._aside + most > self.budget:
                if self._aside <= 0:
                    raise BudgetError(self._refusal(most))
                self._changed.wait()
            self._aside += most

    def settle(self, most: float, cost: float, *, certain: bool = True) -> None:
        """Write down what a request did cost.

        Args:
            most: what was set aside for it.
            cost: what it cost.
            certain: false if nobody knows; then `cost` is the most that it can have cost.
        """
        with self._changed:
            self._aside = max(0.0, self._aside - most)
            if self._aside < 1e-12:  # the rest of adding and subtracting floats
                self._aside = 0.0
            if certain:
                self.spent += cost
            else:
                self.uncertain += cost
            self._changed.notify_all()

    def _refusal(self, most: float) -> str:
        lost = f", and up to {self.uncertain:.6g} more for requests whose replies were lost" if self.uncertain else ""
        return (
            f"the budget of {self.budget:.6g} would be passed: {self.spent:.6g} was spent{lost}, and the next request can cost up to "
            f"{most:.6g}. Raise the budget, or lower max_tokens."
        )
