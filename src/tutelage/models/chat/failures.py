"""What went wrong with a request: whether to try again, how long to wait, and what to tell the user."""

from __future__ import annotations

import email.utils
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RETRIED = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed."""

FATAL = frozenset({401, 402, 403, 404, 405})
"""Statuses that every other request would get too."""

CURES = {
    400: "The server does not take this request: look at its length and at the sampling options",
    401: "Set the environment variable {key_env} to a valid key, or name another with key_env=NAME",
    402: "The account has no credit left",
    403: "The key in {key_env} may not use this model",
    404: "Check the model's name and base_url (most end in /v1)",
    405: "Check base_url (most end in /v1)",
    408: "Raise retries, or lower concurrency",
    413: "The conversation is too long for this server",
    422: "The server does not take this request: look at its length and at the sampling options",
    429: "Lower rpm, tpm or concurrency, or raise retries",
}
SERVER_CURE = "The server is failing: try again later; what was answered is not asked again"


@dataclass(frozen=True)
class Failure:
    """Why a request brought no reply.

    Args:
        what: what happened, with the status and the server's words, and what to do.
        status: the HTTP status, if there was one.
        retry: whether the same request may succeed later.
        wait: seconds that the server asks to wait, if it does.
        fatal: whether every other request would fail alike.
        billed: whether the request may have been billed all the same.
    """

    what: str
    status: int | None = None
    retry: bool = False
    wait: float | None = None
    fatal: bool = False
    billed: bool = False


def of_status(status: int, content: bytes, headers: Mapping[str, str], *, key_env: str) -> Failure:
    """Judge a response with an error's status.

    Args:
        status: 400 or more.
        content: the response's body.
        headers: its headers.
        key_env: name of the environment variable that holds the key, for the advice.

    Returns:
        The failure.
    """
    said, code = _said(content)
    empty = code in {"insufficient_quota", "billing_hard_limit_reached"}  # a 429 that no waiting cures
    cure = CURES[402] if empty else CURES.get(status, SERVER_CURE if status >= 500 else CURES[400])
    return Failure(
        what=f"HTTP {status}: {said}. {cure.format(key_env=key_env)}.",
        status=status,
        retry=(status in RETRIED or status >= 500) and not empty,
        wait=retry_after(headers),
        fatal=status in FATAL or empty,
    )


def of_connection(error: BaseException, *, timed_out: bool, timeout: float, base_url: str) -> Failure:
    """Judge a request to which no response came.

    Args:
        error: what the client raised.
        timed_out: whether it waited too long.
        timeout: seconds that it waits.
        base_url: the server's address.

    Returns:
        The failure.
    """
    cause = error.__cause__ or error
    unsent = type(cause).__name__ in {"ConnectError", "ConnectTimeout", "PoolTimeout"}
    if timed_out:
        what = f"no answer within {timeout:g} seconds. Raise timeout, or lower max_tokens or concurrency."
    elif unsent:
        what = f"no connection ({cause}). Is a server listening at {base_url}?"
    else:
        what = f"the connection broke off ({type(cause).__name__}: {cause}). Try again later; what was answered is not asked again."
    return Failure(what, retry=True, billed=not unsent)


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Read how long a server asks to wait.

    Args:
        headers: of the response; `retry-after-ms`, then `retry-after` (seconds or a date).
        now: seconds since the epoch, for tests.

    Returns:
        Seconds, at least 0; `None` if it does not say.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
            except (ValueError, TypeError):
                continue
        if seconds == seconds and seconds != float("inf"):
            return max(0.0, seconds)
    return None


def backoff(attempt: int, *, first: float, longest: float, random: random.Random) -> float:
    """Return how long to wait after a failure: twice as long each time, of which a random half is taken off.

    Args:
        attempt: number of failures before this one.
        first: seconds after the first.
        longest: never more than this.
        random: source of the jitter, which keeps clients from coming back at once.

    Returns:
        Seconds.
    """
    whole: float = min(longest, first * 2.0 ** min(attempt, 60))
    return whole * (0.5 + 0.5 * random.random())


def _said(content: bytes) -> tuple[str, str | None]:
    """Return a server's own words and its code for the error."""
    try:
        payload: Any = json.loads(content)
    except (ValueError, RecursionError):
        payload = None
    error = payload.get("error", payload) if isinstance(payload, dict) else payload
    if isinstance(error, dict):
        words, code = error.get("message") or error.get("detail") or error, error.get("code") or error.get("type")
        return str(words).rstrip(". \n"), code if isinstance(code, str) else None
    words = str(error) if isinstance(error, str) else content[:500].decode("utf-8", "replace")
    return words.strip().rstrip(".") or "no explanation", None
