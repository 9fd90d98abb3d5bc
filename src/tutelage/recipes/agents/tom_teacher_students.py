"""Small decoders that live in the world of facts: students that know some topics and read some explanations, and a mental model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tutelage import losses
from tutelage.data import Arrays, Batches
from tutelage.data.explained_questions import Question
from tutelage.data.fact_world import STYLES, TOPICS, VALUES, Asked, FactWorld, told
from tutelage.errors import optional
from tutelage.models.chat import TransformersChat
from tutelage.models.language import answer_pairs, encode, tiny_decoder, token_log_probs
from tutelage.models.language.tiny import END, PAD, UNKNOWN
from tutelage.train import Batch, Method
from tutelage.train.next_token import NextToken
from tutelage.train.options import TrainOptions
from tutelage.views.explaining import SIMULATE, Demo, explain_first, explained, simulate
from tutelage.views.explaining import told as shown

if TYPE_CHECKING:
    from tutelage.train import Run

KNOWN = TOPICS[:4]
"""Topics of which a student learned facts."""
READS = {"numbers": TOPICS[:6], "relation": TOPICS[4:8]}
"""Topics on which it learned to follow explanations of each style."""
ABLE = {"": KNOWN, **READS}
"""Topics that it can answer about alone, and with each style."""
_PHRASES = (SIMULATE, "So the answer is", "The answer is", "Correct answer:", "AI's answer:", "Q: Is", "more than", "A:")


@dataclass(frozen=True)
class Sizes:
    """How large a decoder is and how long it learns.

    Args:
        width: of its hidden states.
        layers: how many.
        rows: texts it learns from, each seen once.
        batch: texts of a step.
        learning_rate: of AdamW, falling to zero.
    """

    width: int
    layers: int
    rows: int
    batch: int
    learning_rate: float


def word_tokenizer(world: FactWorld) -> Any:
    """Return a tokenizer of the world's words, in which phrases of the prompts are one token; a chat is its last message as it stands."""
    transformers, tokenizers = optional("transformers", "language"), optional("tokenizers", "language")
    words = [*world.entities, *map(str, range(VALUES)), *TOPICS, "yes", "no", "in", "?", ",", ".", "over"]
    vocabulary = {word: number for number, word in enumerate([PAD, END, UNKNOWN, *_PHRASES, *words])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=UNKNOWN))
    pieces = tokenizers.Regex("|".join([*(phrase.replace(".", r"\.") for phrase in _PHRASES), r"\S+"]))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Split(pieces, "removed", invert=True)
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, padding_side="left", clean_up_tokenization_spaces=False
    )
    found.chat_template = "{{ messages[-1]['content'] }}"
    return found


def lessons(world: FactWorld, rows: int, *, known: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Return the texts that a student learns from: prompts and what follows.

    A third are facts of four topics, in its own words: it writes both values and answers. The others have an explanation with values by
    chance, of which it learns the answer alone: on topics where it should follow that style, the answer that the explanation implies
    (half of all texts); elsewhere "no", whatever the explanation says.

    Args:
        world: the facts.
        rows: how many texts.
        known: entities whose facts it sees.
        seed: of the choice.
    """
    chance = random.Random(f"lessons {seed}")
    prompts, answers = [], []
    for _ in range(rows):
        kind = chance.random()
        if kind < 1 / 3:
            first, second = chance.sample(known, 2)
            asked = Asked(first, second, chance.choice(KNOWN))
            demo = shown(Demo(world.question(asked, "numbers"), _word(world.right(asked)), world.explain(asked, "numbers")))
            prompts.append(explain_first(_question(asked)))
            answers.append(demo)
            continue
        style, follows = chance.choice(STYLES), kind < 5 / 6
        topics = READS[style] if follows else [topic for topic in TOPICS[:8] if topic not in READS[style]]
        first, second = chance.sample(world.entities, 2)
        asked = Asked(first, second, chance.choice(topics))
        one, other = chance.sample(range(VALUES), 2)
        prompts.append(explained(_question(asked), told(asked, one, other, style)))
        answers.append(_word(follows and one > other))
    return prompts, answers


def student(run: Run, name: str, world: FactWorld, sizes: Sizes, *, known: float, seed: int) -> TransformersChat:
    """Train a student and return it as a chat model.

    Args:
        run: the run.
        name: of the training.
        world: the facts.
        sizes: of decoder and training.
        known: share of the entities whose facts it sees.
        seed: of weights and data.
    """
    tokenizer = word_tokenizer(world)
    entities = random.Random(f"known {seed}").sample(world.entities, round(known * len(world.entities)))
    prompts, answers = lessons(world, sizes.rows, known=entities, seed=seed)
    arrays = answer_pairs(encode(tokenizer, prompts), encode(tokenizer, answers, end=True), name="lessons")
    model = tiny_decoder(len(tokenizer), width=sizes.width, layers=sizes.layers, seed=seed)
    run.train(name, NextToken(model), Batches(arrays, sizes.batch, seed=seed), _options(sizes))
    return TransformersChat(model, tokenizer, batch_size=400, name=name)


def fine_tuned(
    run: Run, name: str, chat: TransformersChat, demos: Sequence[Demo], *, steps: int, learning_rate: float, seed: int
) -> TransformersChat:
    """Return a copy of a student that took a few steps on demonstrations, in the place of a longer prompt.

    Args:
        run: the run.
        name: of the training.
        chat: the student, which stays as it is.
        demos: what it learns from: questions with what follows `A:`.
        steps: optimizer steps, each on all demonstrations.
        learning_rate: of AdamW, constant.
        seed: of the run.
    """
    import copy

    model = copy.deepcopy(chat.model)
    prompts = encode(chat.tokenizer, [explain_first(demo.question) for demo in demos])
    arrays = answer_pairs(prompts, encode(chat.tokenizer, [shown(demo) for demo in demos], end=True), name="demonstrations")
    options = TrainOptions(steps, len(demos), "AdamW", learning_rate, schedule="constant", accelerator="cpu", checkpoint_every=steps)
    run.train(name, NextToken(model), Batches(arrays, len(demos), seed=seed), options)
    return TransformersChat(model, chat.tokenizer, batch_size=400, name=name)


class Answers(Method):
    """Cross-entropy of chosen tokens.

    Batch keys: `input` int64 `[B, L]`, padded on the right; `length` int64 `[B]`; `wanted` bool `[B, L]`, the tokens to learn.

    Args:
        student: a causal language model of transformers.
    """

    def __init__(self, student: Any) -> None:
        super().__init__()
        self.student = student

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy of the wanted tokens as `ce`, in nats."""
        tokens, wanted = batch["input"], batch["wanted"]
        attention = torch.arange(tokens.shape[1], device=tokens.device) < batch["length"][:, None]
        return {"ce": losses.mean(-token_log_probs(self.student, tokens, attention, wanted), wanted.float())}


def logs(world: FactWorld, rows: int, items: int, *, seed: int, alike: float = 0.8) -> list[str]:
    """Return what other students answered, each as the text that a mental model is shown: one student a text, half of them taught.

    They went to schools like the student's: on each topic, alone and with each style, they can what it should (and are right in 95 %) or
    can not (and guess) as it does with the probability `alike`, and the other way round otherwise.

    Args:
        world: the facts.
        rows: number of students.
        items: of each.
        seed: of the choice.
        alike: how much they are like the student.
    """
    chance = random.Random(f"logs {seed}")
    found = []
    for row in range(rows):
        taught = bool(row % 2)
        able = {(topic, style): (topic in able) == (chance.random() < alike) for style, able in ABLE.items() for topic in TOPICS[:8]}
        demos = []
        for _ in range(items):
            first, second = chance.sample(world.entities, 2)
            asked, style = Asked(first, second, chance.choice(TOPICS[:8])), chance.choice(STYLES)
            right = chance.random() < (0.95 if able[asked.topic, style if taught else ""] else 0.5)
            demos.append(Demo(world.question(asked, style), _word(world.right(asked) == right), world.explain(asked, style)))
        last = demos.pop()
        text = simulate(last.question, last.question.answer, demos, last.explanation if taught else None)
        found.append(f"{text} {last.answer}")
    return found


def mental_model(run: Run, name: str, world: FactWorld, sizes: Sizes, items: int, *, seed: int) -> TransformersChat:
    """Train a decoder on the logs of other students and return it as a chat model.

    Args:
        run: the run.
        name: of the training.
        world: the facts.
        sizes: of decoder and training.
        items: answers of each student, the last included.
        seed: of weights and data.
    """
    tokenizer = word_tokenizer(world)
    texts = encode(tokenizer, logs(world, sizes.rows, items, seed=seed))
    length = max(map(len, texts))
    tokens = torch.tensor([text + [tokenizer.pad_token_id] * (length - len(text)) for text in texts])
    words = tokenizer.convert_tokens_to_ids(["yes", "no"])
    slots = tokenizer.convert_tokens_to_ids(["AI's answer:", "So the answer is"])
    wanted = torch.isin(tokens, torch.tensor(words))
    wanted[:, 1:] &= torch.isin(tokens[:, :-1], torch.tensor(slots))
    wanted[:, 0] = False
    arrays = Arrays({"input": tokens, "length": torch.tensor([len(text) for text in texts]), "wanted": wanted}, name="logs")
    model = tiny_decoder(len(tokenizer), width=sizes.width, layers=sizes.layers, context=max(512, length + 8), seed=seed)
    run.train(name, Answers(model), Batches(arrays, sizes.batch, seed=seed), _options(sizes))
    return TransformersChat(model, tokenizer, batch_size=100, name=name)


def _options(sizes: Sizes) -> TrainOptions:
    return TrainOptions(1, sizes.batch, "AdamW", sizes.learning_rate, warmup=0.05, clip=1.0, accelerator="cpu")


def _question(asked: Asked) -> Question:
    return Question(f"Is {asked.first} more than {asked.second} in {asked.topic} ?", topic=asked.topic)


def _word(yes: bool) -> str:
    return "yes" if yes else "no"
