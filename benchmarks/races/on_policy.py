"""Whole on-policy steps of a small language model: it writes, is judged, is scored and learns. Ours is `KDRL`; peers are trl's trainers.

Each lane has a process of its own, so that its memory is its own; they take turns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.races.harness import Lane, Race, Section, measured, ratio, turns
from benchmarks.races.language import MIB, probe, resident
from benchmarks.races.processes import apart
from tutelage.data import Arrays, Batches
from tutelage.methods.language.kdrl import KDRL
from tutelage.models.language import answer_pairs, tiny_decoder
from tutelage.train import NextToken, Trainer, TrainOptions

OURS, GRPO, DISTILLATION, GKD = "ours", "trl GRPOTrainer", "trl DistillationTrainer", "trl GKDTrainer"
RATE = 1e-4
BETA = 0.05
END, FIRST_WORD = 1, 3


@dataclass(frozen=True)
class Options:
    """Sizes of the race."""

    vocabulary: int = 4096
    """Tokens that exist."""
    width: int = 128
    """Of the student, which has three layers; the teacher is twice as wide."""
    questions: int = 8
    """Of a step."""
    group: int = 8
    """Answers to each."""
    prompt: int = 24
    """Longest prompt in tokens; the shortest has a third of it."""
    answer: int = 96
    """Longest answer in tokens; the models were shown texts of a third of it on average."""
    steps: int = 6
    """Steps of a turn."""

    def tiny(self) -> Options:
        """Return sizes that only show that it runs."""
        return dataclasses.replace(self, vocabulary=512, width=32, questions=2, group=4, answer=12, steps=1)

    @property
    def rows(self) -> int:
        """Answers of a step."""
        return self.questions * self.group

    @functools.cached_property
    def prompts(self) -> list[str]:
        """All prompts of a turn, one for each answer of its steps."""
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(max(1, self.prompt // 3), self.prompt + 1, (self.rows * self.steps,), generator=generator)
        return [" ".join(f"w{word}" for word in self._words(int(length), generator)) for length in lengths]

    def _words(self, length: int, generator: torch.Generator) -> list[int]:
        return torch.randint(FIRST_WORD, self.vocabulary, (length,), generator=generator).tolist()

    def model(self, width: int, seed: int) -> nn.Module:
        """Return a Llama of three layers that was shown texts of random words, a third as long as the longest answer on average."""
        model: nn.Module = tiny_decoder(
            self.vocabulary, width=width, layers=3, heads=4, context=self.prompt + self.answer, seed=seed, pad=0, end=END
        )
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.empty(64).geometric_(3 / self.answer, generator=generator).clamp(max=self.answer - 1).long().tolist()
        texts = answer_pairs([self._words(4, generator) for _ in lengths], [[*self._words(length, generator), END] for length in lengths])
        options = TrainOptions(epochs=6, batch_size=16, optimizer="AdamW", learning_rate=3e-3, schedule="constant", accelerator="cpu")
        Trainer(NextToken(model), Batches(texts, 16), options).fit()
        return model


def tokenizer(options: Options) -> Any:
    """Return a tokenizer of the words w3, w4, ..., with spaces between them."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<end>": END, "<unknown>": 2, **{f"w{i}": i for i in range(FIRST_WORD, options.vocabulary)}}
    plain = Tokenizer(WordLevel(words, unk_token="<unknown>"))
    plain.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>", padding_side="left")


def judged(text: str) -> float:
    """Return the share of an answer's words whose number is even."""
    words = text.split()
    return sum(word[-1] in "02468" for word in words) / max(len(words), 1)


Made = tuple[Callable[[], object], Callable[[], int]]
"""What trains for a turn, and what tells how many tokens were written."""


def ours(task: str, options: Options, student: nn.Module, teacher: nn.Module, folder: Path) -> Made:
    written = []

    def reward(response: str, row: Any) -> float:
        written.append(len(response.split()) + bool(row["finished"]))
        return judged(response)

    grouped = task != "distillation"
    chosen: dict[str, Any] = {
        "reward": {"signal": "reward", "beta": 0.0},
        "both": {"signal": "joint", "beta": BETA, "estimator": "k3"},
        "distillation": {"signal": "teacher", "estimator": "exact", "group": 1},
    }[task]
    shared = {"group": options.group, "max_new_tokens": options.answer, "average": "batch"}
    method = KDRL(student, None if task == "reward" else teacher, tokenizer(options), reward, **{**shared, **chosen})
    asked = options.prompts[: options.questions * options.steps] if grouped else options.prompts
    rows = options.questions if grouped else options.rows
    settings = TrainOptions(epochs=1, batch_size=rows, optimizer="AdamW", learning_rate=RATE, schedule="constant", accelerator="cpu")
    data = Arrays({"input": asked, "answer": [""] * len(asked)})
    return Trainer(method, Batches(data, rows, shuffle=False), settings).fit, lambda: sum(written)


def common(options: Options, folder: Path) -> dict[str, Any]:
    """Return what the configurations of all of trl's trainers share: ours in their words, and nothing that costs time without need."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": options.rows,
        "gradient_accumulation_steps": 1,
        "max_steps": options.steps,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "max_grad_norm": 0.0,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "dataloader_num_workers": 0,
        "report_to": [],
        "logging_steps": 1000,
        "save_strategy": "no",
        "disable_tqdm": True,
        "temperature": 1.0,
    }


def trl_grpo(task: str, options: Options, student: Any, teacher: Any, folder: Path) -> Made:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    written = []

    def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        written.append(sum(map(len, completion_ids)))
        return [judged(text) for text in completions]

    if task == "both":  # its reference model is loaded from where the student says that it comes from: there lies the teacher
        student.config._name_or_path = teacher.config._name_or_path
    config = GRPOConfig(
        **common(options, folder),
        beta=0.0 if task == "reward" else BETA,
        num_generations=options.group,
        max_completion_length=options.answer,
        top_k=0,
        shuffle_dataset=False,
        mask_truncated_completions=False,
    )
    rows = Dataset.from_dict({"prompt": options.prompts[: options.questions * options.steps]})
    trainer = GRPOTrainer(model=student, reward_funcs=reward, args=config, train_dataset=rows, processing_class=tokenizer(options))
    return trainer.train, lambda: sum(written)


def trl_distillation(task: str, options: Options, student: Any, teacher: Any, folder: Path) -> Made:
    from datasets import Dataset
    from trl import DistillationConfig, DistillationTrainer

    written = []

    class Counting(DistillationTrainer):
        """Notes what the student writes."""

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            found = super()._generate_and_score_completions(inputs)
            written.append(int(found["completion_mask"].sum()))
            return found

    config = DistillationConfig(**common(options, folder), beta=1.0, max_completion_length=options.answer, top_k=0, shuffle_dataset=False)
    rows = Dataset.from_dict({"prompt": options.prompts})
    trainer = Counting(model=student, teacher_model=teacher, args=config, train_dataset=rows, processing_class=tokenizer(options))
    return trainer.train, lambda: sum(written)


def trl_gkd(task: str, options: Options, student: Any, teacher: Any, folder: Path) -> Made:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    words, written = tokenizer(options), []

    class Counting(GKDTrainer):
        """Takes the prompts in their order and notes what the student writes."""

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

        @staticmethod
        def generate_on_policy_outputs(model: Any, inputs: Any, generation_config: Any) -> Any:
            found = GKDTrainer.generate_on_policy_outputs(model, inputs, generation_config)
            written.append(int((found[2] != -100).sum()))
            return found

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        tokens = words([row["prompt"] for row in rows], padding=True, return_tensors="pt")
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        return {"prompts": ids, "prompt_attention_mask": mask, "input_ids": ids, "attention_mask": mask, "labels": ids}

    config = GKDConfig(
        **common(options, folder),
        beta=1.0,
        lmbda=1.0,
        seq_kd=False,
        max_new_tokens=options.answer,
        max_length=options.prompt + options.answer,
    )
    rows = Dataset.from_dict({"prompt": options.prompts})
    trainer = Counting(model=student, teacher_model=teacher, args=config, train_dataset=rows, processing_class=words, data_collator=collate)
    return trainer.train, lambda: sum(written)


TASKS: dict[str, tuple[str, str, dict[str, Callable[..., Made]]]] = {
    "reward": (
        "A reward alone (GRPO)",
        "{questions} prompts, {group} answers to each, advantages within each group, one step of AdamW",
        {OURS: ours, GRPO: trl_grpo},
    ),
    "both": (
        "A reward and a teacher (KDRL with k3; GRPO with the teacher as its reference)",
        "{questions} prompts, {group} answers to each, advantages within each group and the k3 estimate of reverse KL to the teacher",
        {OURS: ours, GRPO: trl_grpo},
    ),
    "distillation": (
        "A teacher alone (reverse KL over the whole vocabulary)",
        "{rows} prompts, one answer to each, reverse KL to the teacher on every token of it",
        {OURS: ours, DISTILLATION: trl_distillation, GKD: trl_gkd},
    ),
}


def make(options: Options, folder: Path) -> Path:
    """Write teacher and student into a folder, from which every lane reads them at every turn."""
    for role, width, seed in (("teacher", 2 * options.width, 1), ("student", options.width, 0)):
        options.model(width, seed).save_pretrained(folder / role)
    return folder


def prepare(task: str, name: str, options: Options, models: Path) -> Callable[[], tuple[float, int, float]]:
    """Make models and trainer; what is returned trains and answers bytes beyond both models, tokens, and how far weights moved."""
    from transformers import AutoModelForCausalLM

    teacher = AutoModelForCausalLM.from_pretrained(models / "teacher").eval().requires_grad_(False)
    student = AutoModelForCausalLM.from_pretrained(models / "student")
    start, folder = probe(student), tempfile.TemporaryDirectory()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        train, written = TASKS[task][2][name](task, options, student, teacher, Path(folder.name))
    gc.collect()
    before = resident("VmRSS")

    def go() -> tuple[float, int, float]:
        # Forgets the highest resident set so far.
        Path("/proc/self/clear_refs").write_text("5")
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            train()
        highest = resident("VmHWM") - before
        folder.cleanup()
        return highest, written(), float((probe(student) - start).abs().max())

    return go


def section(task: str, options: Options, models: Path, *, rounds: int, console: Console) -> Section:
    """Race one task."""
    heading, about, lanes = TASKS[task]
    answers: dict[str, list[Any]] = {name: [] for name in lanes}

    def noted(lane: Lane) -> Lane:
        def prepared() -> Callable[[], object]:
            go = lane.prepare()
            return lambda: answers[lane.name].append(go())

        return Lane(lane.name, prepared)

    with apart({name: functools.partial(prepare, task, name, options, models) for name in lanes}) as made:
        seconds = turns([noted(lane) for lane in made], rounds=rounds, console=console)
    for name, found in answers.items():
        if min(moved for _, _, moved in found) == 0 or min(tokens for _, tokens, _ in found) < options.rows * options.steps:
            raise SystemExit(f"'{name}' did not do the work of '{task}': it wrote {found[0][1]} tokens and moved by {found[0][2]}.")
    result = Section(
        heading,
        f"A Llama of three layers, width {options.width} and {options.vocabulary:,} tokens: "
        + about.format(questions=options.questions, group=options.group, rows=options.rows)
        + f"; prompts of {max(1, options.prompt // 3)} to {options.prompt} tokens, answers of at most {options.answer}; {options.steps} "
        "steps. What is drawn differs between lanes, so it is counted, and students do not end alike. Memory is the highest resident set "
        "beyond both models, of the first turn of a process.",
    )
    rates = {name: [a[1] / s for a, s in zip(answers[name][-rounds:], seconds[name], strict=True)] for name in lanes}
    for name in lanes:
        result.measured.append(measured(f"{name}: tokens written and learned from", rates[name], "tokens/s"))
        result.measured.append(measured(f"{name}: memory", [answers[name][0][0] / MIB], "MiB"))
    for name in lanes:
        if name != OURS:
            result.ratios.append(ratio(f"ours, tokens/s of {name}'s", rates[OURS], rates[name], at_least=1))
            memory = [[float(answers[who][0][0])] for who in (OURS, name)]
            result.ratios.append(ratio(f"ours, memory of {name}'s", *memory, at_most=1, less=True))
    means = ", ".join(
        f"{name} {sum(tokens for _, tokens, _ in found) / len(found) / options.rows / options.steps:.1f}" for name, found in answers.items()
    )
    result.notes.append(f"Mean tokens of an answer: {means}.")
    return result


def run(options: Options, *, rounds: int, console: Console) -> Race:
    found = Race("on_policy", "On-policy steps of language models")
    with tempfile.TemporaryDirectory() as folder:
        models = make(options, Path(folder))
        for task in TASKS:
            found.sections.append(section(task, options, models, rounds=rounds, console=console))
    found.left_out.append(
        "vLLM, which both can let write the answers, needs an accelerator. trl's GRPOTrainer has no teacher: its reference model, which it "
        "keeps near by the k3 estimate, is the teacher here."
    )
    return found
