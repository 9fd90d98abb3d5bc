"""Language models that run elsewhere, behind the call of `sample`: chat servers, and vLLM in this process."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from tutelage.errors import MissingExtra
from tutelage.models.chat.protocol import Chat, Reply, Sampling
from tutelage.models.language.generation import row_seeds, special
from tutelage.models.language.pairs import encode
from tutelage.models.language.rollouts import Rollouts, check_prompts


class ServedChat:
    """A chat model as something to `sample` from: prompts go to it as what a user says, and its replies come back as tokens.

    The server puts its own chat template around each prompt. What it says is tokenised here again. Its log-probabilities are used where it
    gives them and cuts the reply into the same tokens; elsewhere they are NaN, so that nothing is learned from them unnoticed, and so they
    are for the end token, of which servers say nothing. Requests, retries, limits, budget, cache and transcript are the chat model's.

    Args:
        chat: a chat model, such as `OpenAIChat`.
        tokenizer: of transformers, with an end token; best the served model's own.
        log_probs: ask for log-probabilities. Default yes.
    """

    def __init__(self, chat: Chat, tokenizer: Any, *, log_probs: bool = True) -> None:
        self.chat, self.tokenizer, self.log_probs = chat, tokenizer, log_probs

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        end: int | Iterable[int] | None = None,
        pad: int | None = None,
        temperature: float = 1.0,
        top_p: float | None = None,
        seed: int | torch.Generator = 0,
    ) -> Rollouts:
        """Let the server continue prompts; see `generation.sample`.

        Equal prompts are asked with seeds of their own, so that neither a cache nor a server answers them alike.

        Args:
            prompts: B lists of tokens, none empty; their texts are sent, without special tokens.
            max_new_tokens: longest reply in the server's tokens.
            end: tokens that end a continuation; the smallest is put after replies that ended by themselves. Default the tokenizer's.
            pad: token of the padding. Default the tokenizer's.
            temperature: as the server understands it.
            top_p: as the server understands it.
            seed: of all draws; servers promise at most to try.

        Returns:
            The rollouts, on the CPU.

        Raises:
            ChatError: if some prompts got no usable reply; the others of its round of distinct prompts are in its `replies`, and in the
                cache where there is one.
            DataError: if there is no prompt, one is empty, or a reply has parts that the tokenizer has no token for.
        """
        check_prompts(prompts)
        ends, padding = special(self.tokenizer, end, pad)
        seeds = row_seeds(seed, len(prompts))
        rounds: list[dict[tuple[int, ...], int]] = []
        for row, prompt in enumerate(prompts):
            # Each round asks a prompt once: the first that has not asked it yet takes this row.
            fitting = next((each for each in rounds if tuple(prompt) not in each), None)
            if fitting is None:
                rounds.append(fitting := {})
            fitting[tuple(prompt)] = row
        replies: dict[int, Reply] = {}
        for asked, own in zip(rounds, seeds, strict=False):
            sampling = Sampling(temperature, max_new_tokens, top_p, own % (1 << 31), (), 0 if self.log_probs else None)
            texts = [self.tokenizer.decode(list(prompt), skip_special_tokens=True) for prompt in asked]
            replies |= zip(asked.values(), self.chat.complete(texts, sampling=sampling), strict=True)
        answered = [replies[row] for row in range(len(prompts))]
        ended = [reply.finish_reason == "stop" and bool(ends) for reply in answered]
        bodies = encode(self.tokenizer, [reply.text for reply in answered])
        known = [self._log_probs(reply, body) + [math.nan] * over for reply, body, over in zip(answered, bodies, ended, strict=True)]
        drawn = [body + [min(ends)] if over else body for body, over in zip(bodies, ended, strict=True)]
        return Rollouts.of(prompts, drawn, log_probs=known, ended=ended, pad=padding)

    def _log_probs(self, reply: Reply, tokens: Sequence[int]) -> list[float]:
        """Return the server's log-probabilities if its tokens are ours."""
        said = reply.log_probs or ()
        if [one.token for one in said] != [self.tokenizer.decode([token]) for token in tokens]:
            return [math.nan] * len(tokens)
        return [one.log_prob for one in said]


class InProcessVLLM:
    """A model of the `vllm` package in this process as something to `sample` from.

    Args:
        llm: a `vllm.LLM`, or what to make one of: a name or a directory.
        **options: of `vllm.LLM`, where one is made.

    Raises:
        MissingExtra: if vllm is not installed.
    """

    def __init__(self, llm: Any, **options: Any) -> None:
        try:
            self._vllm: Any = importlib.import_module("vllm")
        except (ImportError, RuntimeError, OSError) as error:
            raise MissingExtra(f"'vllm' is needed here but could not be imported ({error}). Install it with: pip install vllm") from error
        self.llm = self._vllm.LLM(model=llm, **options) if isinstance(llm, str) else llm

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        end: int | Iterable[int] | None = None,
        pad: int | None = None,
        temperature: float = 1.0,
        top_p: float | None = None,
        seed: int | torch.Generator = 0,
    ) -> Rollouts:
        """Continue prompts; see `generation.sample`.

        Log-probabilities are vLLM's own: at temperature 1, unless its `logprobs_mode` says otherwise.

        Args:
            prompts: B lists of tokens, none empty.
            max_new_tokens: longest continuation.
            end: tokens that end a continuation. Default those of the model.
            pad: token of the padding. Default the tokenizer's.
            temperature: divides the logits.
            top_p: draw from the smallest set of likeliest tokens with at least this probability. Default all.
            seed: of all draws; each row has its own.

        Returns:
            The rollouts, on the CPU.

        Raises:
            DataError: if there is no prompt or one is empty.
        """
        check_prompts(prompts)
        ends, padding = special(self.llm.get_tokenizer(), end, pad)
        settings = [
            self._vllm.SamplingParams(
                max_tokens=max_new_tokens,
                temperature=temperature,
                top_p=1.0 if top_p is None else top_p,
                seed=own % (1 << 31),
                logprobs=0,  # of the drawn token alone
                stop_token_ids=sorted(ends),
                ignore_eos=end is not None,
                detokenize=False,
            )
            for own in row_seeds(seed, len(prompts))
        ]
        answers = self.llm.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], settings, use_tqdm=False)
        outputs = [answer.outputs[0] for answer in answers]
        drawn = [list(output.token_ids) for output in outputs]
        known = [
            [float(place[token].logprob) for token, place in zip(tokens, output.logprobs, strict=True)]
            for tokens, output in zip(drawn, outputs, strict=True)
        ]
        return Rollouts.of(prompts, drawn, log_probs=known, ended=[output.finish_reason == "stop" for output in outputs], pad=padding)
