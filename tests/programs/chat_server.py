"""A server on this machine that speaks the chat-completions protocol, with faults on demand; it counts what it is asked.

usage, as a program: chat_server.py COUNTS [DELAY] serves until it is stopped, prints its port, and appends one line per answer to COUNTS.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Fault = str | tuple[Any, ...]
"""`"drop"`, `"half"`, `"slow"`, `"not-json"`, or (status, body, headers)."""


def answer(prompt: str) -> str:
    return f"you said {prompt}"


def payload(text: Any, prompt: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response as OpenAI's; tokens are words."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": None}
    if body.get("logprobs"):
        entries = [
            {"token": word, "logprob": -0.5, "top_logprobs": [{"token": word, "logprob": -0.5}, {"token": "x", "logprob": -1.5}]}
            for word in str(text).split()
        ]
        choice["logprobs"] = {"content": entries}
    words, said = len(prompt.split()), len(str(text).split())
    usage = {"prompt_tokens": words, "completion_tokens": said, "total_tokens": words + said}
    return {"id": "1", "object": "chat.completion", "model": f"{body['model']}-0613", "choices": [choice], "usage": usage}


class ChatServer:
    """Serves in threads until the `with` block ends.

    Args:
        reply: prompt to reply: a text, or a dictionary that is sent as it is.
        faults: prompt (or "" for any) to what happens to its first requests in place of an answer, in turn.
        delay: seconds before each answer.
        counts: file to which each answered prompt is appended.
    """

    def __init__(
        self,
        reply: Callable[[str], Any] = answer,
        *,
        faults: Mapping[str, Sequence[Fault]] | None = None,
        delay: float = 0.0,
        counts: str | None = None,
    ) -> None:
        self.reply, self.delay = reply, delay
        self.faults = {prompt: list(some) for prompt, some in (faults or {}).items()}
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.counts = None if counts is None else os.open(counts, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        outer = self

        class Handler(_Handler):
            server_of_chat = outer

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self.http = Server(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ChatServer:
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def next_fault(self, prompt: str) -> Fault | None:
        for key in (prompt, ""):
            if self.faults.get(key):
                return self.faults[key].pop(0)
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_chat: ChatServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        chat = self.server_of_chat
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        with chat.lock:
            chat.times.append(time.monotonic())
            chat.bodies.append(body)
            chat.headers.append({name.lower(): value for name, value in self.headers.items()})
            chat.asked[prompt] += 1
            chat.at_once += 1
            chat.most_at_once = max(chat.most_at_once, chat.at_once)
            fault = chat.next_fault(prompt) if self.path == "/v1/chat/completions" else (404, {"error": {"message": "no such page"}}, {})
        try:
            self.respond(chat, prompt, body, fault)
        except OSError:
            self.close_connection = True  # the client is gone
        finally:
            with chat.lock:
                chat.at_once -= 1

    def respond(self, chat: ChatServer, prompt: str, body: dict[str, Any], fault: Fault | None) -> None:
        if chat.delay:
            chat.closing.wait(chat.delay)
        if fault == "drop":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
            self.connection.close()
            self.close_connection = True
            return
        if fault == "slow":
            chat.closing.wait(5)
            return
        if isinstance(fault, tuple):
            status, content, headers = fault
            self.send(status, content if isinstance(content, bytes) else json.dumps(content).encode(), headers)
            return
        with chat.lock:
            chat.answered[prompt] += 1
            if chat.counts is not None:
                os.write(chat.counts, (json.dumps(prompt) + "\n").encode())
        said = chat.reply(prompt)
        content = json.dumps(said if isinstance(said, dict) else payload(said, prompt, body)).encode()
        self.send(200, b"<html>busy</html>" if fault == "not-json" else content, {}, half=fault == "half")

    def send(self, status: int, content: bytes, headers: Mapping[str, str], *, half: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


if __name__ == "__main__":
    with ChatServer(counts=sys.argv[1], delay=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0) as served:
        print(served.port, flush=True)
        sys.stdin.read()
