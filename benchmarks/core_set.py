"""The greedy k-centre rule against the full matrix of distances and against every row at every pick.

`sweep` measures time and memory against size, from mapped files, for `benchmarks.scaling`.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage.selection.core_set import euclidean, greedy_k_centre

ROOT = Path(__file__).parents[1]
CLASSES, LABELLED, PICKS = 1000, 100, 100


def clusters(rows: int, classes: int, seed: int) -> torch.Tensor:
    """Probability vectors as a distilled student has them: sharp around one class, a second one beside it."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator)
    first, second = (torch.randint(0, classes, (rows, 1), generator=generator) for _ in range(2))
    logits.scatter_add_(1, first, 12 + 2 * torch.randn(rows, 1, generator=generator))
    logits.scatter_add_(1, second, 9 + 3 * torch.randn(rows, 1, generator=generator))
    return logits.softmax(1)


def full_matrix(pool: torch.Tensor, centres: torch.Tensor, picks: int) -> list[int]:
    """Choose with all distances between all rows held at once, as common implementations do."""
    from sklearn.metrics import pairwise_distances

    rows = torch.cat([centres, pool]).numpy()
    distances = pairwise_distances(rows)
    far = distances[len(centres) :, : len(centres)].min(1)
    chosen = []
    for _ in range(picks):
        chosen.append(int(far.argmax()))
        far = np.minimum(far, distances[len(centres) :, len(centres) + chosen[-1]])
    return chosen


def row_by_row(pool: torch.Tensor, centres: torch.Tensor, picks: int) -> list[int]:
    """Choose by comparing every row with the new centre at every pick."""
    from sklearn.metrics import pairwise_distances

    rows = pool.numpy()
    far = pairwise_distances(rows, centres.numpy()).min(1)
    chosen = []
    for _ in range(picks):
        chosen.append(int(far.argmax()))
        far = np.minimum(far, pairwise_distances(rows, rows[chosen[-1] : chosen[-1] + 1])[:, 0])
    return chosen


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    pool, centres = clusters(4000, 200, 0), clusters(100, 200, 1)
    ours, matrix, simple = (lambda f=f: f(pool, centres, 200) for f in (greedy_k_centre, full_matrix, row_by_row))
    assert greedy_k_centre(pool, centres, 200).positions.tolist() == full_matrix(pool, centres, 200)
    a, b, c = take_turns(ours, matrix, simple, rounds=5)
    for name, theirs in (("the full matrix of distances", b), ("every row at every pick", c)):
        ratio = paired_ratio(a, theirs)
        title = f"k-centre, 200 of 4,000 x 200, against {name}"
        yield Row(title, statistics.median(a) * 1000, statistics.median(theirs) * 1000, "ms", ratio, "<= 1", ratio <= 1)
    big, known = clusters(100_000, 200, 2), clusters(100, 200, 3)
    a, b = take_turns(lambda: greedy_k_centre(big, known, 200), lambda: row_by_row(big, known, 200), rounds=3)
    ratio = paired_ratio(a, b)
    title = "k-centre, 200 of 100,000 x 200, against every row at every pick"
    yield Row(title, statistics.median(a), statistics.median(b), "s", ratio, "<= 0.5", ratio <= 0.5)


def measure(path: str, picks: int) -> dict[str, float]:
    """Choose from a mapped file in this process; seconds, and the highest memory this process ever held."""
    torch.set_num_threads(1)
    pool, centres = np.load(path, mmap_mode="r"), clusters(LABELLED, CLASSES, 1)
    chunk, before = 8192, peak()
    ends: list[float] = []

    def timed(rows: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        found = euclidean(rows, known)
        ends.append(time.perf_counter())
        return found

    started = time.perf_counter()
    greedy_k_centre(pool, centres, picks, metric=timed, chunk=chunk)
    ended = time.perf_counter()
    first = ends[math.ceil(len(pool) / chunk) - 1]  # the pass over the whole pool makes one call per chunk
    return {
        "rows": len(pool),
        "first_s": first - started,
        "per_pick_ms": (ended - first) / picks * 1000,
        "peak_mb": peak(),
        "peak_before_mb": before,
    }


def peak() -> float:
    """Return the largest resident memory of this process, mapped files included, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def make(path: Path, size: int) -> None:
    stored = np.lib.format.open_memmap(path, "w+", np.float32, (size, CLASSES))
    for number, start in enumerate(range(0, size, 20_000)):
        stop = min(start + 20_000, size)
        stored[start:stop] = clusters(stop - start, CLASSES, 10 + number).numpy()
    stored.flush()


def sweep(sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """Measure pools of several sizes, each in a fresh process."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = Path(folder) / "pool.npy"
            make(path, size)
            command = [sys.executable, "-m", "benchmarks.core_set", "--measure", str(path), str(PICKS)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout))
            print(found[-1], file=sys.stderr)
    return found


def main() -> None:
    if "--measure" not in sys.argv:
        sys.exit("Run 'python -m benchmarks core_set' for the comparison, 'python -m benchmarks.scaling' for time and memory against size.")
    print(json.dumps(measure(sys.argv[-2], int(sys.argv[-1]))))


if __name__ == "__main__":
    main()
