"""How long `import tutelage` takes beyond torch, and how soon the command line answers."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, take_turns


def rows() -> Iterator[Row]:
    def python(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    everything = "import torch; import tutelage, tutelage.train, tutelage.losses, tutelage.teachers, tutelage.data, tutelage.models"
    everything += "; from tutelage import Trainer, Method"
    a, b = take_turns(lambda: python(everything), lambda: python("import torch"), rounds=5)
    beyond = statistics.median(x - y for x, y in zip(a, b, strict=True))
    yield Row("import of every part beyond torch", statistics.median(a), statistics.median(b), "s", beyond, "<= 0.3 s", beyond <= 0.3)
    command = str(Path(sys.executable).with_name("tutelage"))
    for words in (["list"], ["show", "hinton"], ["--help"], ["run", "hinton", "--help"]):

        def answer(words: list[str] = words) -> None:
            subprocess.run([command, *words], check=True, stdout=subprocess.DEVNULL)

        (seconds,) = take_turns(answer, rounds=5)
        median = statistics.median(seconds)
        yield Row(f"tutelage {' '.join(words)}", median, 0.5, "s", median / 0.5, "<= 0.5 s", median <= 0.5)
