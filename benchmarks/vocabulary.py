"""Divergences over large vocabularies: memory and time of `linear_divergence`, the dense loss, and the peers that are there.

`python -m benchmarks.vocabulary --write` writes all numbers into `results/benchmarks` and the page's table. The peers are those
of `requirements-peers.txt`, in whichever interpreter runs this. Memory is the highest resident set of a fresh process (`VmHWM`) beyond
what was resident when hidden states and heads stood in it: what a user sees, with the allocator's share and the gradients of the head,
unlike a count of tensors. Time is that of forward and backward, all contestants in turn in one process, by clock and by processor;
ratios are of the latter, which other work on the machine changes less, and which is the same on a quiet one. One thread; Linux.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Row, conditions, paired_ratio, show, take_turns
from tutelage import losses
from tutelage.files import write_json
from tutelage.report import write_between_markers

VOCABULARIES = (32_768, 131_072, 262_144)
TOKENS, HIDDEN = 2048, 512
MIB = 2**20
KINDS = {"forward": "forward KL", "jsd": "Jensen-Shannon"}
ROOT = Path(__file__).parents[1]
PAGE, OUT = ROOT / "docs" / "vocabulary.md", ROOT / "results" / "benchmarks" / "vocabulary.json"

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def ours(kind: str, *, recompute: bool = False) -> Loss:
    return lambda hidden, head, teacher_hidden, teacher_head: losses.mean(
        losses.linear_divergence(hidden, head, teacher_hidden, teacher_head, kind=kind, recompute=recompute)
    )


def dense(kind: str) -> Loss:
    divergence = {"forward": losses.forward_kl, "jsd": losses.jensen_shannon}[kind]
    return lambda hidden, head, teacher_hidden, teacher_head: losses.mean(divergence(hidden @ head.t(), teacher_hidden @ teacher_head.t()))


def liger(kind: str) -> Loss:
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    # Without its label cross-entropy, and without torch.compile, which trl leaves out too.
    loss = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta={"forward": 0.0, "jsd": 0.5}[kind], compiled=False, chunk_size=256
    )
    labels = torch.zeros(TOKENS, dtype=torch.int64)
    return lambda hidden, head, teacher_hidden, teacher_head: loss(hidden, head, teacher_hidden, teacher_head, labels)


def trl_distillation(kind: str) -> Loss:
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    beta, mask = {"forward": 0.0, "jsd": 0.5}[kind], torch.ones(1, TOKENS)

    def loss(hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor) -> Tensor:
        found: Tensor = _chunked_divergence_loss(hidden[None], teacher_hidden[None], head, teacher_head, mask, beta)[0]
        return found

    return loss


def trl_gkd(kind: str) -> Loss:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd import GKDTrainer

    beta = {"forward": 0.0, "jsd": 0.5}[kind]

    def loss(hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor) -> Tensor:
        found: Tensor = GKDTrainer.generalized_jsd_loss(hidden @ head.t(), teacher_hidden @ teacher_head.t(), beta=beta)
        return found

    return loss


CONTESTANTS: dict[str, Callable[[str], Loss]] = {
    "ours": ours,
    "ours, recomputing": functools.partial(ours, recompute=True),
    "dense": dense,
    "liger": liger,
    "trl, distillation": trl_distillation,
    "trl, gkd": trl_gkd,
}


def contestants(kind: str, names: Iterable[str] = CONTESTANTS) -> dict[str, Loss]:
    """Return the losses that can be imported here."""
    found = {}
    for name in names:
        try:
            found[name] = CONTESTANTS[name](kind)
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name}: left out, it cannot be imported here ({str(error).splitlines()[0]})")
    return found


def tensors(vocabulary: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return hidden states and heads of a student and a teacher."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((TOKENS, HIDDEN), (vocabulary, HIDDEN)) * 2
    made = [torch.empty(shape).normal_(0.0, 1.0 if shape[0] == TOKENS else 0.05, generator=generator) for shape in shapes]
    hidden, head, teacher_hidden, teacher_head = made
    return hidden.requires_grad_(), head.requires_grad_(), teacher_hidden, teacher_head


def step(loss: Loss, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> float:
    given[0].grad = given[1].grad = None
    value = loss(*given)
    value.backward()
    return value.item()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak(name: str, kind: str, vocabulary: int, answer: Connection) -> None:
    """Send value, gradient norms and extra memory in bytes of one step in this fresh process."""
    torch.set_num_threads(1)
    loss, given = CONTESTANTS[name](kind), tensors(vocabulary)
    (torch.ones(8, 8, requires_grad=True) @ torch.ones(8, 8)).sum().backward()
    before = resident()
    value = step(loss, given)
    # Not ru_maxrss, which a process inherits from the one that started it.
    highest = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    answer.send((value, float(given[0].grad.norm()), float(given[1].grad.norm()), highest - before))


def memory(name: str, kind: str, vocabulary: int) -> tuple[float, float, float, int]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=peak, args=(name, kind, vocabulary, sender))
    process.start()
    sender.close()
    try:
        answer: tuple[float, float, float, int] = receiver.recv()
    except EOFError:
        raise SystemExit(f"{name} did not survive a step at vocabulary {vocabulary}; is there enough memory?") from None
    finally:
        process.join()
    return answer


def race(kind: str, vocabulary: int, rounds: int, names: Iterable[str] = CONTESTANTS) -> dict[str, dict[str, Any]]:
    """Return loss, gradient norms, memory and seconds of every contestant."""
    entrants = contestants(kind, names)
    results: dict[str, dict[str, Any]] = {}
    for name in entrants:
        value, of_hidden, of_head, extra = memory(name, kind, vocabulary)
        results[name] = {"loss": value, "gradient_norms": [of_hidden, of_head], "extra_mib": extra / MIB}
    torch.set_num_threads(1)
    given = tensors(vocabulary)
    processor: dict[str, list[float]] = {name: [] for name in entrants}

    def run(name: str) -> None:
        started = time.process_time()
        step(entrants[name], given)
        processor[name].append(time.process_time() - started)

    clock = take_turns(*(functools.partial(run, name) for name in entrants), rounds=rounds, warm_up=1)
    for name, seconds in zip(entrants, clock, strict=True):
        its, counted = results[name], processor[name][1:]
        its |= {"seconds": statistics.median(seconds), "processor_seconds": statistics.median(counted)}
        its["time_of_dense"] = paired_ratio(counted, processor["dense"][1:])
        its["memory_of_dense"] = its["extra_mib"] / results["dense"]["extra_mib"]
    return results


def compared(kind: str, vocabulary: int, results: dict[str, dict[str, Any]]) -> Iterator[Row]:
    """Return ours against each of the others; the goals are those against the dense loss, at a vocabulary of 128k."""
    own = results["ours"]
    for name, its in results.items():
        if name.startswith("ours"):
            continue
        what = f"{KINDS[kind]}, vocabulary {vocabulary:,}: {{}} (beside {name})"
        ratio, goal = own["extra_mib"] / its["extra_mib"], 1 / 8 if name == "dense" else 1.0
        yield Row(what.format("memory"), own["extra_mib"], its["extra_mib"], "MiB", ratio, f"<= {goal:g}", ratio <= goal)
        ratio, goal = own["time_of_dense"] / its["time_of_dense"], 1.1 if name == "dense" else 1.0
        yield Row(what.format("time"), own["processor_seconds"], its["processor_seconds"], "s", ratio, f"<= {goal:g}", ratio <= goal)


def rows() -> Iterator[Row]:
    """Return the quick comparison with the dense loss alone."""
    for kind in KINDS:
        yield from compared(kind, VOCABULARIES[0], race(kind, VOCABULARIES[0], 3, ("ours", "dense")))


def table(races: list[dict[str, Any]]) -> str:
    heads = ("divergence", "vocabulary", "loss", "extra memory, MiB", "of dense", "processor seconds", "of dense")
    lines = [f"| {' | '.join(heads)} |", "| --- | ---: | --- | ---: | ---: | ---: | ---: |"]
    for each in races:
        for name, its in each["results"].items():
            cells = [KINDS[each["kind"]], f"{each['vocabulary']:,}", f"**{name}**" if name == "ours" else name, f"{its['extra_mib']:,.0f}"]
            cells += [f"{its['memory_of_dense']:.3f}", f"{its['processor_seconds']:.1f}", f"{its['time_of_dense']:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    measured = dict.fromkeys(", ".join(f"{name} {value}" for name, value in each["conditions"].items()) for each in races)
    return "\n".join([*lines, "", f"Written by `python -m benchmarks.vocabulary --write`; {'; '.join(measured)}."])


def kept(path: Path, races: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write races into a file, in place of those of the same vocabulary and divergence that it has, and return all of them."""

    def key(each: dict[str, Any]) -> tuple[int, str]:
        return each["vocabulary"], each["kind"]

    before = json.loads(path.read_text())["races"] if path.exists() else []
    together = {key(each): each for each in (*before, *races)}
    ordered = [together[each] for each in sorted(together)]
    write_json(path, {"races": ordered})
    return ordered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="*", default=VOCABULARIES, help="classes of both heads; none to run nothing")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument(
        "--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS), help="'ours' and 'dense' must be among them"
    )
    parser.add_argument("--rounds", type=int, default=3, help="timed steps of each contestant")
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file for all numbers; races that it has stay unless run again")
    parser.add_argument("--write", action="store_true", help="write the file's table into docs/vocabulary.md")
    options = parser.parse_args()
    found: list[Row] = []
    races: list[dict[str, Any]] = []
    for vocabulary in options.vocabularies:
        for kind in options.kinds:
            results = race(kind, vocabulary, options.rounds, options.contestants)
            measured = conditions() | {"tokens": str(TOKENS), "hidden": str(HIDDEN), "rounds": str(options.rounds)}
            races.append({"kind": kind, "vocabulary": vocabulary, "conditions": measured, "results": results})
            found += compared(kind, vocabulary, results)
            # After every race: the last ones take long and much memory.
            kept(options.out, races)
    show(found)
    if options.write:
        write_between_markers(PAGE, table(kept(options.out, races)), name="vocabulary")


if __name__ == "__main__":
    main()
