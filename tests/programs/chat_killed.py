"""Asks a chat server in child processes that share one cache.

usage: chat_killed.py DIRECTORY BASE_URL SEED    one child after the other, killed at random moments until all is answered; prints how often
       chat_killed.py DIRECTORY BASE_URL --together    three at once, each in another order
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import openai

from tutelage.models.chat import OpenAIChat

assert openai  # imported before the children are made, so that each starts at once
PROMPTS = [f"prompt {i}" for i in range(120)]


def ask(directory: Path, base_url: str, first: int = 0) -> None:
    prompts = PROMPTS[first:] + PROMPTS[:first]
    replies = OpenAIChat("m", base_url=base_url, concurrency=4, cache=directory / "chat.sqlite").complete(prompts)
    assert [reply.text for reply in replies] == [f"you said {prompt}" for prompt in prompts]
    (directory / "done").touch()


def child(directory: Path, base_url: str, first: int = 0) -> int:
    made = os.fork()
    if made == 0:
        code = 1
        try:
            ask(directory, base_url, first)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return made


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed(directory: Path, base_url: str, seed: int) -> None:
    moments, kills = random.Random(seed), 0
    for _ in range(100):
        process = child(directory, base_url)
        time.sleep(moments.uniform(0.02, 0.25))
        if kills < 12:
            os.kill(process, signal.SIGKILL)
        code = wait(process)
        assert code in (0, -signal.SIGKILL), code
        kills += code == -signal.SIGKILL
        if (directory / "done").exists():
            break
    print(f"kills {kills}")


if sys.argv[3] == "--together":
    processes = [child(Path(sys.argv[1]), sys.argv[2], first) for first in (0, 40, 80)]
    assert [wait(process) for process in processes] == [0, 0, 0]
else:
    killed(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
