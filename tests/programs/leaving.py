"""The end of a program of several processes, for those that tests start."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def leave() -> NoReturn:
    """End this process at once, with success: the threads of gloo, at times, abort the interpreter's own end."""
    sys.stdout.flush()
    os._exit(0)
