"""One server behind HTTP: its address, its key, and sending it one request."""

from __future__ import annotations

import ipaddress
import os
import threading
import urllib.parse
from typing import Any

from tutelage.errors import OptionError, optional
from tutelage.models.chat.failures import Failure, of_connection, of_status
from tutelage.models.chat.text import printable

OPENAI = "https://api.openai.com/v1"
KEY_ENV = "OPENAI_API_KEY"
SHORTEST_SECRET = 8  # a shorter key is a placeholder, such as "none", which stands in innocent texts too


class Endpoint:
    """A server that speaks the chat-completions protocol, through the `openai` client.

    The key is read once from the environment, goes into the request's header, and is taken out of every text that comes back. It is
    never sent over plain HTTP to another machine unless `key_env` names it.

    Args:
        base_url: its address.
        key_env: name of the environment variable that holds the key; `None` for `OPENAI_API_KEY`, which may be absent where the
            server is not OpenAI's.
        timeout: seconds without a sign of life after which a request is given up.

    Raises:
        OptionError: for an address or a key that cannot be used.
        MissingExtra: if `openai` is not installed.
    """

    def __init__(self, base_url: str = OPENAI, *, key_env: str | None = None, timeout: float = 120.0) -> None:
        if not 0 < timeout < float("inf"):
            raise OptionError(f"Option timeout={timeout}: expected a positive number of seconds.")
        self.base_url = _address(base_url)
        self.key_env = key_env or KEY_ENV
        self.timeout = timeout
        self._openai = optional("openai", "chat")
        self._secret = _key(self.base_url, key_env)
        self._client: Any = None
        self._process = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r})"

    def redact(self, text: str) -> str:
        """Return a text without the key."""
        return text.replace(self._secret, f"[{self.key_env}]") if len(self._secret) >= SHORTEST_SECRET else text

    def send(self, body: dict[str, Any]) -> bytes | Failure:
        """Send one request, once.

        Args:
            body: its JSON.

        Returns:
            The response's body, or why there is none, in words that are safe to print and hold no secret.
        """
        rest = {name: value for name, value in body.items() if name not in {"model", "messages"}}
        try:
            sent = self._open().chat.completions.with_raw_response.create(model=body["model"], messages=body["messages"], extra_body=rest)
            return bytes(sent.content)
        except self._openai.APIStatusError as error:
            failure = of_status(error.response.status_code, error.response.content, error.response.headers, key_env=self.key_env)
        except self._openai.APIConnectionError as error:
            timed_out = isinstance(error, self._openai.APITimeoutError)
            failure = of_connection(error, timed_out=timed_out, timeout=self.timeout, base_url=self.base_url)
        return self.safe(failure)

    def safe(self, failure: Failure) -> Failure:
        """Return a failure whose words hold neither the key nor control characters."""
        what = printable(self.redact(failure.what), 600).replace("\n", " ")
        return Failure(what, failure.status, failure.retry, failure.wait, failure.fatal, failure.billed)

    def _open(self) -> Any:
        """Return this process's client: open connections must not be shared with a fork."""
        with self._lock:
            if self._client is None or self._process != os.getpid():
                key = self._secret or "none"
                self._client = self._openai.OpenAI(api_key=key, base_url=self.base_url, max_retries=0, timeout=self.timeout)
                self._process = os.getpid()
            return self._client


def _address(base_url: str) -> str:
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise OptionError(
            f"Option base_url={printable(base_url, 200)!r}: expected an address such as {OPENAI} or http://localhost:8000/v1."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise OptionError(
            f"Option base_url for {parts.hostname} holds a user, password or query: an address is written down in caches and transcripts. "
            "Put the key into an environment variable and name it with key_env=NAME."
        )
    return base_url.rstrip("/")


def _key(base_url: str, key_env: str | None) -> str:
    """Read the key; empty where none is needed or none may be sent."""
    name = key_env or KEY_ENV
    key = os.environ.get(name, "").strip()
    if not key:
        if key_env or base_url == OPENAI:
            raise OptionError(f"The environment variable {name} holds no key for {base_url}. Set it, or name another with key_env=NAME.")
        return ""
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise OptionError(f"The environment variable {name} holds characters that no key has (spaces, line ends or others). Set it again.")
    parts = urllib.parse.urlsplit(base_url)
    return key if key_env or parts.scheme == "https" or _here(parts.hostname or "") else ""


def _here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
