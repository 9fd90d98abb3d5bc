"""Sampling: equal to the plain way, a function of seed and row, with ended rows taken out and bad prompts refused."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tutelage.errors import DataError, OptionError, ShapeError, TrainingError
from tutelage.models.language import Rollouts, sample
from tutelage.models.language.generation import _uniform, draw

transformers = pytest.importorskip("transformers")

PROMPTS = [[5, 6, 7], [9], [5, 6, 7], [4, 3, 2, 8, 10, 11], [9]]


def plain(model, prompt, uniform, limit, end, temperature=1.0):
    """One row without batch, padding or cache: each token by inverting the distribution function of a whole forward pass."""
    drawn, found = [], []
    for step in range(limit):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + drawn])).logits[0, -1]
        if temperature == 0:
            token = int(logits.argmax())
        else:
            token = int((((logits / temperature).double().softmax(-1).cumsum(-1)) <= uniform[step]).sum())
        drawn.append(token)
        found.append(float(logits.log_softmax(-1)[token]))
        if token == end:
            break
    return drawn, found


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_equals_plain_loop(any_model, temperature):
    rollouts = sample(any_model, PROMPTS, max_new_tokens=14, end=1, temperature=temperature, seed=3)
    uniform = _uniform(3, len(PROMPTS), 14)
    for row, (prompt, drawn) in enumerate(zip(PROMPTS, rollouts.lists(), strict=True)):
        expected, log_probs = plain(any_model, prompt, uniform[row], 14, 1, temperature)
        assert drawn == expected
        torch.testing.assert_close(rollouts.log_probs[row, : len(drawn)], torch.tensor(log_probs), atol=1e-5, rtol=1e-5)
        assert bool(rollouts.ended[row]) == (expected[-1] == 1)


def test_layout(model):
    rollouts = sample(model, PROMPTS, max_new_tokens=20, end=[1, 2, 3], pad=0, seed=1)
    assert rollouts.tokens.dtype == torch.int64
    assert rollouts.prompt_length == 6
    assert rollouts.prompts() == PROMPTS
    assert rollouts.mask.shape[1] == int(rollouts.lengths.max())
    assert rollouts.ended.any()
    assert torch.equal(rollouts.attention[:, 6:], rollouts.mask)
    for row, drawn in enumerate(rollouts.lists()):
        assert not {1, 2, 3} & set(drawn[:-1])
        assert (drawn[-1] in {1, 2, 3}) == bool(rollouts.ended[row])
        assert (rollouts.drawn[row, len(drawn) :] == 0).all()
    assert (rollouts.log_probs[~rollouts.mask] == 0).all()
    assert (rollouts.log_probs[rollouts.mask] < 0).all()
    assert not rollouts.tokens.is_inference()
    assert not rollouts.log_probs.is_inference()


def test_same_whatever_stands_beside(model):
    alone = sample(model, PROMPTS[:1], max_new_tokens=20, seed=5)
    together = sample(model, PROMPTS, max_new_tokens=20, seed=5)
    parted = sample(model, PROMPTS, max_new_tokens=20, seed=5, batch=2)
    longer = sample(model, PROMPTS, max_new_tokens=40, seed=5)
    assert alone.lists()[0] == together.lists()[0]
    assert parted.lists() == together.lists()
    assert [row[:20] for row in longer.lists()] == together.lists()
    again = sample(model, PROMPTS, max_new_tokens=20, seed=5)
    assert torch.equal(again.tokens, together.tokens)
    assert torch.equal(again.log_probs, together.log_probs)
    assert sample(model, PROMPTS, max_new_tokens=20, seed=6).lists() != together.lists()


def test_equal_promptsdraw_apart_and_are_read_once(model):
    sizes = []
    handle = model.model.register_forward_hook(lambda _m, _a, answer: sizes.append(tuple(answer[0].shape[:2])))
    rollouts = sample(model, [[5, 6, 7]] * 6, max_new_tokens=8, end=(), seed=0)
    handle.remove()
    assert sizes[0] == (1, 3)
    assert sizes[1:] == [(6, 1)] * 7
    assert len({tuple(row) for row in rollouts.lists()}) > 1


def test_ended_rows_leave_the_batch(model):
    sizes = []
    handle = model.model.register_forward_hook(lambda _m, _a, answer: sizes.append(answer[0].shape[0]))
    rollouts = sample(model, [[5], [6, 7], [8], [9]] * 4, max_new_tokens=40, end=[1, 2, 3, 4], seed=0)
    handle.remove()
    assert sizes[1] == 16
    assert sizes[-1] < 8
    assert sizes[1:] == sorted(sizes[1:], reverse=True)
    assert len(sizes) == int(rollouts.lengths.max())


def test_generator_gives_the_seed(model):
    first = sample(model, PROMPTS, max_new_tokens=8, seed=torch.Generator().manual_seed(7))
    second = sample(model, PROMPTS, max_new_tokens=8, seed=torch.Generator().manual_seed(7))
    third = sample(model, PROMPTS, max_new_tokens=8, seed=torch.Generator().manual_seed(8))
    assert first.lists() == second.lists() != third.lists()


def test_mode_and_global_randomness_stay(model):
    for mode in (True, False):
        model.train(mode)
        before = torch.get_rng_state()
        sample(model, [[5]], max_new_tokens=3)
        assert model.training is mode
        assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_off(model):
    noisy = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=23, n_positions=64, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.5, initializer_range=0.3)
    ).train()
    first, second = (sample(noisy, PROMPTS, max_new_tokens=9, pad=0) for _ in range(2))
    assert torch.equal(first.tokens, second.tokens)
    with pytest.raises(OptionError, match="pad is 50256"):  # GPT-2's own, which this one does not have
        sample(noisy, PROMPTS, max_new_tokens=9)


def test_default_end_and_padding_are_the_models(model):
    model.generation_config.eos_token_id = [4, 5]
    rollouts = sample(model, [[9]] * 8, max_new_tokens=40)
    last = {row[-1] for row, ended in zip(rollouts.lists(), rollouts.ended.tolist(), strict=True) if ended}
    assert last <= {4, 5}
    assert last


def test_frequencies_follow_the_distribution(model):
    count = 4000
    with torch.no_grad():
        expected = model(torch.tensor([[5, 6]])).logits[0, -1].softmax(-1)
    drawn = sample(model, [[5, 6]] * count, max_new_tokens=1, end=()).drawn[:, 0]
    got = torch.bincount(drawn, minlength=23) / count
    assert (got - expected).abs().max() < 4 * math.sqrt(0.25 / count)


def test_top_p_keeps_the_smallest_sufficient_set():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()[:, [2, 0, 3, 1]]  # likeliest: 1, 3, 0, 2
    for top_p, allowed in ((0.4, {1}), (0.5, {1}), (0.51, {1, 3}), (0.9, {0, 1, 3}), (1.0, {0, 1, 2, 3})):
        uniform = torch.linspace(0, 0.999999, 400, dtype=torch.float64)
        drawn, log_probs = draw(logits.expand(400, -1), uniform, 1.0, top_p)
        assert set(drawn.tolist()) == allowed
        torch.testing.assert_close(log_probs, logits[0].log_softmax(-1)[drawn])


def test_impossible_tokens_are_neverdrawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]]).expand(500, -1)
    uniform = torch.linspace(0, 1 - 2**-53, 500, dtype=torch.float64)
    drawn, _ = draw(logits, uniform, 1.0, None)
    assert set(drawn.tolist()) == {1, 3}


@pytest.mark.parametrize(
    ("prompts", "options", "error", "words"),
    [
        ([], {}, DataError, "no prompts"),
        ([[5], []], {}, DataError, "Prompt 1 has no tokens"),
        ([[5], [23]], {}, DataError, "0 to 22"),
        ([[5], [4] * 60], {}, DataError, "Prompt 1 has 60 tokens; with 10 new ones .* context of 64: .*at most 4"),
        ([[4] * 70], {}, DataError, "shorten it"),
        ([[5]], {"max_new_tokens": 0}, OptionError, "max_new_tokens is 0"),
        ([[5]], {"temperature": -1}, OptionError, "temperature is -1"),
        ([[5]], {"top_p": 0}, OptionError, "top_p is 0"),
        ([[5]], {"batch": 0}, OptionError, "batch is 0"),
    ],
)
def test_refused(model, prompts, options, error, words):
    with pytest.raises(error, match=words):
        sample(model, prompts, **{"max_new_tokens": 10, **options})


def test_broken_weights_are_refused(model):
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    model.train()
    with pytest.raises(TrainingError, match="not finite"):
        sample(model, [[5]], max_new_tokens=3)
    assert model.training


def test_rollouts_of_lists():
    rollouts = Rollouts.of([[5, 6], [7]], [[8], [9, 1]], ended=[False, True], pad=0)
    assert rollouts.tokens.tolist() == [[5, 6, 8, 0], [0, 7, 9, 1]]
    assert rollouts.attention.tolist() == [[True, True, True, False], [False, True, True, True]]
    assert rollouts.mask.tolist() == [[True, False], [True, True]]
    assert rollouts.lists() == [[8], [9, 1]]
    assert rollouts.prompts() == [[5, 6], [7]]
    picked = rollouts.select(torch.tensor([1, 1]))
    assert picked.lists() == [[9, 1], [9, 1]]
    assert len(picked) == 2
    with pytest.raises(DataError, match="do not fit"):
        Rollouts.of([[5]], [[6]], log_probs=[[-1.0, -2.0]])
    with pytest.raises(DataError, match="no tokens"):
        Rollouts.of([[]], [[6]])
    with pytest.raises(ShapeError, match="expected"):
        dataclasses.replace(rollouts, mask=rollouts.mask[:1], log_probs=rollouts.log_probs[:1])
    with pytest.raises(ShapeError, match="expected"):
        dataclasses.replace(rollouts, tokens=rollouts.tokens[:, :2], attention=rollouts.attention[:, :2])
