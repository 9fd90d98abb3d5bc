"""Whole training steps of a small language model under a larger one: ours with `linear_divergence`, and both trainers of trl.

Each lane has a process of its own, so that its memory is its own; they take turns.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.races.harness import Lane, Section, measured, ratio, turns
from tutelage import losses
from tutelage.data import Arrays, Batches
from tutelage.teachers import Frozen
from tutelage.train import Batch, Method, Trainer, TrainOptions

OURS, DISTILLATION, GKD = "ours", "trl DistillationTrainer", "trl GKDTrainer"
RATE = 1e-3
PROBE = 997  # Every so manieth weight is compared between lanes.
CLOSE = 0.05
MIB = 2**20


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Args:
        vocabulary: tokens that exist.
        length: tokens of a text.
        batch: texts of a batch.
        steps: steps of a turn.
        threads: of torch.
    """

    vocabulary: int
    length: int
    batch: int
    steps: int
    threads: int

    @property
    def texts(self) -> Tensor:
        """All texts of a turn, int64 [steps x batch, length]."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(3, self.vocabulary, (self.steps * self.batch, self.length), generator=generator)

    def model(self, width: int, seed: int) -> nn.Module:
        """Return a Llama of two layers with random weights."""
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=self.length,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        return LlamaForCausalLM(config)

    def models(self) -> tuple[nn.Module, nn.Module]:
        """Return teacher and student."""
        return self.model(512, 1).eval().requires_grad_(False), self.model(256, 0)


class States(nn.Module):
    """A language model that answers hidden states in place of logits."""

    def __init__(self, language: nn.Module) -> None:
        super().__init__()
        self.language = language

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.language.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden[:, :-1]


class NextToken(Method):
    """Forward KL of the next token's distribution, from hidden states."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student = States(student)
        self.teacher = Frozen(States(teacher))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        tokens = batch["input"]
        heads = [model.language.lm_head for model in (self.student, self.teacher.model)]
        return {"kl": losses.mean(losses.linear_divergence(self.student(tokens), heads[0], self.teacher(tokens), heads[1]))}


def ours(setting: Setting, student: nn.Module, teacher: nn.Module, folder: Path) -> Callable[[], object]:
    options = TrainOptions(
        epochs=1, batch_size=setting.batch, optimizer="AdamW", learning_rate=RATE, schedule="constant", accelerator="cpu"
    )
    return Trainer(NextToken(student, teacher), Batches(Arrays({"input": setting.texts}), setting.batch, shuffle=False), options).fit


def tokenizer(setting: Setting) -> Any:
    """Return a tokenizer of words w0, w1, ..., which trl's trainers ask for and have nothing to do with here."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, setting.vocabulary)}}
    plain = Tokenizer(WordLevel(words, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def common(setting: Setting, folder: Path) -> dict[str, Any]:
    """Return the arguments of both configurations of trl: ours in their words, and nothing that costs time without need."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": setting.batch,
        "max_steps": setting.steps,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "max_grad_norm": 0.0,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "dataloader_num_workers": 0,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "beta": 0.0,
        "temperature": 1.0,
    }


def trl_distillation(setting: Setting, student: nn.Module, teacher: nn.Module, folder: Path) -> Callable[[], object]:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import DistillationConfig, DistillationTrainer

    class Ready(DistillationTrainer):
        """Trains on ready texts instead of generating them."""

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            tokens = torch.tensor([row["tokens"] for row in inputs])
            prompt, completion = tokens[:, :1], tokens[:, 1:]
            return {
                "prompt_ids": prompt,
                "prompt_mask": torch.ones_like(prompt),
                "completion_ids": completion,
                "completion_mask": torch.ones_like(completion),
                "num_items_in_batch": torch.tensor(completion.numel()),
            }

    rows = Dataset.from_dict({"prompt": ["w3"] * len(setting.texts), "tokens": setting.texts.tolist()})
    config = DistillationConfig(**common(setting, folder))
    return Ready(model=student, teacher_model=teacher, args=config, train_dataset=rows, processing_class=tokenizer(setting)).train


def trl_gkd(setting: Setting, student: nn.Module, teacher: nn.Module, folder: Path) -> Callable[[], object]:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    class InOrder(GKDTrainer):
        """Takes the texts in their order."""

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        tokens = torch.tensor([row["tokens"] for row in rows])
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}

    rows = Dataset.from_dict({"tokens": setting.texts.tolist()})
    # lmbda 0: never on texts that the student generates.
    config = GKDConfig(**common(setting, folder), lmbda=0.0, seq_kd=False, max_length=setting.length)
    return InOrder(
        model=student, teacher_model=teacher, args=config, train_dataset=rows, processing_class=tokenizer(setting), data_collator=collate
    ).train


LANES = {OURS: ours, DISTILLATION: trl_distillation, GKD: trl_gkd}


def resident(name: str) -> int:
    """Return bytes of one line of this process's status. Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def probe(model: nn.Module) -> Tensor:
    """Return a sample of a model's weights."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])[::PROBE].clone()


def serve(name: str, setting: Setting, line: Connection) -> None:
    """Be one lane: at each `ready` make models and trainer, at each `go` train, and answer the bytes and the weights."""
    torch.set_num_threads(setting.threads)
    # Their trainers print what they log.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), tempfile.TemporaryDirectory() as folder:
        while line.recv() == "ready":
            teacher, student = setting.models()
            start = probe(student)
            train = LANES[name](setting, student, teacher, Path(folder))
            gc.collect()
            # Forgets the highest resident set so far.
            Path("/proc/self/clear_refs").write_text("5")
            before = resident("VmRSS")
            line.send("ready")
            line.recv()
            train()
            line.send((resident("VmHWM") - before, probe(student).numpy(), start.numpy()))
            del train, teacher, student


def section(setting: Setting, *, rounds: int, console: Console) -> Section:
    """Race whole steps."""
    spawn = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    answers: dict[str, list[Any]] = {name: [] for name in LANES}

    def prepare(name: str) -> Callable[[], object]:
        lines[name].send("ready")
        try:
            lines[name].recv()
        except EOFError:
            raise SystemExit(f"The process of '{name}' ended; what it said is above.") from None
        return functools.partial(go, name)

    def go(name: str) -> None:
        lines[name].send("go")
        answers[name].append(lines[name].recv())

    with ExitStack() as stack:
        for name in LANES:
            mine, theirs = spawn.Pipe()
            process = spawn.Process(target=serve, args=(name, setting, theirs))
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(mine.send, "end")
            lines[name] = mine
        taken = turns([Lane(name, functools.partial(prepare, name)) for name in LANES], rounds=rounds, console=console)
    return summed_up(setting, taken, answers)


def summed_up(setting: Setting, taken: dict[str, list[float]], answers: dict[str, list[Any]]) -> Section:
    """Return the section of seconds and of what the lanes answered; the first answer is that of the warm-up."""
    _, ours_end, start = (torch.as_tensor(value) for value in answers[OURS][0])
    apart = {
        name: float(torch.linalg.vector_norm(torch.as_tensor(its[0][1]) - ours_end) / torch.linalg.vector_norm(ours_end - start))
        for name, its in answers.items()
    }
    for name, share in apart.items():
        if not share <= CLOSE:
            raise SystemExit(f"'{name}' did other work than ours: its student ends {share:.3f} of the way apart, {CLOSE} is allowed.")
    found = Section(
        f"Whole steps, vocabulary of {setting.vocabulary:,}",
        f"A Llama of two layers and width 256 learns from one of width 512: {setting.steps} steps of AdamW on {setting.batch} texts of "
        f"{setting.length} tokens, forward KL. Memory is the highest resident set beyond both models, of the first turn of a process.",
    )
    for name in LANES:
        found.measured.append(measured(f"{name}: time of a step", [seconds / setting.steps for seconds in taken[name]], "s"))
        found.measured.append(measured(f"{name}: memory", [answers[name][0][0] / MIB], "MiB"))
    for name in (DISTILLATION, GKD):
        found.ratios.append(ratio(f"ours, times as fast as {name}", taken[name], taken[OURS]))
        memory = [[float(answers[who][0][0])] for who in (OURS, name)]
        found.ratios.append(ratio(f"ours, memory of {name}'s", *memory, less=True))
    found.notes.append(f"After a turn the students ended at most {max(apart.values()):.1e} of the way that they had gone from ours.")
    return found
