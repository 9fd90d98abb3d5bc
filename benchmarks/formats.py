"""Which file format a label store should have: `python -m benchmarks.formats [--rows N] [--out FILE]`.

Every candidate writes and reads the same rows in processes of its own, on one core. The readers of all candidates stay open
together and take turns, so that a machine whose speed drifts favours none. Files are in the page cache: what is compared is the
format, not the disk. Linux only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.kinds import CANDIDATES, Batch, Candidate
from benchmarks.kinds.base import gathered

SHARD, BATCH, CLASSES = 16_384, 256, 1000
CONTENTS = ("dense 10", "top-32 of 1000")
DISTRIBUTIONS = {"lance": "pylance"}
THREADS = ("OMP_NUM_THREADS", "LANCE_CPU_THREADS", "LANCE_IO_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS")


def shard(content: str, number: int, rows: int) -> Batch:
    """Return the outputs of one shard, which depend on its number alone."""
    generator = np.random.default_rng((CONTENTS.index(content), number))
    if content == "dense 10":
        return {"logits": generator.standard_normal((rows, 10), np.float32).astype(np.float16)}
    table = np.random.default_rng(0).permuted(np.tile(np.arange(CLASSES, dtype=np.int32), (512, 1)), axis=1)[:, :32]
    indices = (table[generator.integers(0, 512, rows)] + generator.integers(0, CLASSES, (rows, 1), np.int32)) % CLASSES
    log_probs = -np.cumsum(generator.random((rows, 32), np.float32) * 0.3, axis=1)
    return {
        "log_probs": log_probs.astype(np.float16),
        "indices": indices.astype(np.uint16),
        "log_rest": log_probs[:, -1] - generator.random(rows, np.float32),
    }


def shards(content: str, rows: int) -> list[Batch]:
    return [shard(content, number, min(SHARD, rows - start)) for number, start in enumerate(range(0, rows, SHARD))]


def one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def resident() -> dict[str, float]:
    """Return this process's memory in MB: `own`, and `mapped` pages of files, which the system takes back when it needs them."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss"))
    return {"own": int(lines["RssAnon"].split()[0]) / 1024, "mapped": int(lines["RssFile"].split()[0]) / 1024}


def write(candidate: Candidate, content: str, rows: int, folder: Path, answer: Connection) -> None:
    """Write all rows in this process and report the seconds, flushed to disk."""
    one_core()
    parts = shards(content, rows)
    for module in candidate.modules:
        importlib.import_module(module)
    folder.mkdir(parents=True)
    started = time.perf_counter()
    candidate.write(folder, parts)
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    answer.send({"write_s": time.perf_counter() - started, "bytes": sum(path.stat().st_size for path in files), "files": len(files)})


def read(candidate: Candidate, rows: int, folder: Path, line: Connection) -> None:
    """Answer trials until told to stop: each is (seed, seconds) and is answered by the seconds of its batches."""
    one_core()
    started = time.perf_counter()
    for module in candidate.modules:
        importlib.import_module(module)
    imported = time.perf_counter() - started
    before = resident()
    started = time.perf_counter()
    reader = candidate.open(folder)
    first = reader(np.random.default_rng(0).integers(0, rows, BATCH))
    line.send({"import_s": imported, "open_s": time.perf_counter() - started, "first": first})
    while (trial := line.recv()) is not None:
        seed, seconds = trial
        generator = np.random.default_rng(seed)
        taken: list[float] = []
        stop = time.perf_counter() + seconds
        while (started := time.perf_counter()) < stop:
            wanted = generator.integers(0, rows, BATCH)
            started = time.perf_counter()
            reader(wanted)
            taken.append(time.perf_counter() - started)
        line.send(taken)
    after = resident()
    line.send({name: after[name] - before[name] for name in after})


def measure(content: str, rows: int, rounds: int, seconds: float, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the measurements of every candidate for one content."""
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, dict[str, Any]] = {}
    wanted = np.random.default_rng(0).integers(0, rows, BATCH)
    expected = gathered(shards(content, rows), SHARD)(wanted)
    for candidate in track(CANDIDATES, f"writing {content}"):
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=write, args=(candidate, content, rows, folder / candidate.name.replace(" ", "-"), theirs))
        process.start()
        theirs.close()
        found[candidate.name] = mine.recv()
        process.join()
    lines: dict[str, Connection] = {}
    with ExitStack() as stack:
        for candidate in track(CANDIDATES, f"opening {content}"):
            mine, theirs = spawn.Pipe()
            process = spawn.Process(target=read, args=(candidate, rows, folder / candidate.name.replace(" ", "-"), theirs))
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(mine.close)
            lines[candidate.name] = mine
            opened = mine.recv()
            for name, values in expected.items():
                if not np.array_equal(opened["first"][name].view(np.uint8), values.view(np.uint8)):
                    raise AssertionError(f"{candidate.name} gave other rows of '{name}' than were written.")
            found[candidate.name] |= {"import_s": opened["import_s"], "open_s": opened["open_s"]}
        batches: dict[str, list[list[float]]] = {name: [] for name in lines}
        for number in track(range(rounds), f"reading {content}"):
            for name in list(lines)[number % len(lines) :] + list(lines)[: number % len(lines)]:
                lines[name].send((number + 1, seconds))
                batches[name].append(lines[name].recv())
        for name, line in lines.items():
            line.send(None)
            found[name] |= summary(rows, found[name], batches[name], line.recv())
    return found


def summary(rows: int, written: dict[str, Any], rounds: list[list[float]], memory: dict[str, float]) -> dict[str, Any]:
    """Return the numbers that the table shows."""
    taken = sorted(second for each in rounds for second in each)
    return {
        "write_rows_per_s": rows / written["write_s"],
        "bytes_per_row": written["bytes"] / rows,
        # The median over rounds of each round's rate, so that one disturbed round does not decide.
        "read_rows_per_s": statistics.median(BATCH * len(each) / sum(each) for each in rounds),
        "batch_ms_median": 1000 * statistics.median(taken),
        "batch_ms_p95": 1000 * taken[int(0.95 * (len(taken) - 1))],
        "batches": len(taken),
        "own_mb": memory["own"],
        "mapped_mb": memory["mapped"],
    }


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.formats", description=__doc__.split("\n")[0])
    options.add_argument("--rows", type=int, default=1_000_000, help="samples in each store (default 1,000,000)")
    options.add_argument("--rounds", type=int, default=5, help="turns of every format (default 5)")
    options.add_argument("--seconds", type=float, default=0.7, help="length of a turn (default 0.7)")
    options.add_argument("--out", type=Path, default=Path("results/benchmarks/formats.json"), help="where the numbers go")
    chosen = options.parse_args()
    os.environ |= {name: "1" for name in (*THREADS, "HF_HUB_OFFLINE")}
    result: dict[str, Any] = {"benchmark": "formats", "rows": chosen.rows, "batch": BATCH, "shard_rows": SHARD, "contents": {}}
    result["platform"] = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, one core"
    packages = sorted({module for candidate in CANDIDATES for module in candidate.modules})
    result["versions"] = {DISTRIBUTIONS.get(m, m): importlib.metadata.version(DISTRIBUTIONS.get(m, m)) for m in packages}
    result["formats"] = {c.name: {"layout": c.layout, "remote": c.remote, "pages": list(c.pages)} for c in CANDIDATES}
    for content in CONTENTS:
        with tempfile.TemporaryDirectory(prefix="formats-") as folder:
            result["contents"][content] = measure(content, chosen.rows, chosen.rounds, chosen.seconds, Path(folder))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    Console().print(f"Written to {chosen.out}")


if __name__ == "__main__":
    main()
