"""Log-probabilities in one pass: those of sampling, of an unpadded pass, with the gradients of dense logits."""

from __future__ import annotations

import pytest
import torch

from tutelage import losses
from tutelage.errors import OptionError, ShapeError
from tutelage.models.language import Rollouts, chosen, decomposes, head, log_probs, sample, scoring, states, token_log_probs

transformers = pytest.importorskip("transformers")

PROMPTS = [[5, 6, 7], [9], [4, 3, 2, 8, 10, 11], [9]]


def dense(model, rollouts, temperature=1.0):
    """Row by row, without padding, all logits."""
    rows = torch.zeros(rollouts.mask.shape)
    for row, (prompt, drawn) in enumerate(zip(rollouts.prompts(), rollouts.lists(), strict=True)):
        logits = model(torch.tensor([prompt + drawn])).logits[0, len(prompt) - 1 : -1] / temperature
        values = logits.log_softmax(-1).gather(-1, torch.tensor(drawn)[:, None])[:, 0]
        rows = rows.index_put((torch.full((len(drawn),), row), torch.arange(len(drawn))), values)
    return rows


@pytest.fixture
def rollouts(any_model):
    return sample(any_model, PROMPTS, max_new_tokens=12, end=[1, 2], seed=2)


def test_equal_to_sampling(any_model, rollouts):
    with torch.no_grad():
        torch.testing.assert_close(log_probs(any_model, rollouts), rollouts.log_probs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("chunk", [None, 5])
def test_values_and_gradients_equal_dense_ones(any_model, rollouts, temperature, chunk):
    weight = torch.rand(rollouts.mask.shape)
    ours = log_probs(any_model, rollouts, temperature=temperature, chunk=chunk)
    torch.testing.assert_close(ours, dense(any_model, rollouts, temperature), atol=1e-5, rtol=1e-5)
    parameters, theirs = list(any_model.parameters()), dense(any_model, rollouts, temperature)
    gradients = torch.autograd.grad((ours * weight).sum(), parameters, allow_unused=True)
    expected = torch.autograd.grad((theirs * weight).sum(), parameters, allow_unused=True)
    for got, wanted in zip(gradients, expected, strict=True):
        assert (got is None) == (wanted is None)
        if got is not None:
            assert (got - wanted).norm() <= 1e-5 * wanted.norm() + 1e-7


def test_never_more_logits_than_a_chunk(model):
    rollouts = sample(model, PROMPTS, max_new_tokens=12, end=(), seed=2)
    sizes = []
    model.lm_head.register_forward_hook(lambda _m, _a, logits: sizes.append(logits.numel() // 23))
    log_probs(model, rollouts, chunk=7).sum().backward()
    assert sum(sizes) >= 2 * 48 - 1
    assert max(sizes) == 7


def test_padding_is_not_looked_at(model):
    rollouts = sample(model, PROMPTS, max_new_tokens=12, end=[1, 2], seed=2)
    other = Rollouts.of(rollouts.prompts(), rollouts.lists(), pad=17)
    wide = Rollouts.of([*rollouts.prompts(), [8] * 20], [*rollouts.lists(), [8] * 20], pad=3)
    with torch.no_grad():
        expected = log_probs(model, rollouts)
        torch.testing.assert_close(log_probs(model, other), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(log_probs(model, wide)[:-1, : expected.shape[1]], expected, atol=1e-5, rtol=1e-5)


def test_right_padding_too(model):
    tokens = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]])
    attention = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    wanted = attention.clone()
    wanted[:, 0] = False
    with torch.no_grad():
        got = token_log_probs(model, tokens, attention, wanted)
        short = model(torch.tensor([[9, 4]])).logits[0, 0].log_softmax(-1)[4]
    torch.testing.assert_close(got[1, 1], short)
    assert got[1, 2:].eq(0).all()
    assert got[0, 0] == 0


def test_states_and_head_serve_other_losses(model):
    rollouts = sample(model, PROMPTS, max_new_tokens=12, end=[1, 2], seed=2)
    hidden = states(model, rollouts)
    assert hidden.shape[:2] == rollouts.mask.shape
    found = chosen(hidden[rollouts.mask], head(model), rollouts.drawn[rollouts.mask])
    torch.testing.assert_close(found, log_probs(model, rollouts)[rollouts.mask])
    same = losses.linear_divergence(hidden, head(model), hidden.detach(), head(model), kind="reverse", weight=rollouts.mask)
    assert same.abs().max() < 1e-5


def test_what_changes_its_logits_is_noticed(any_model):
    kind = type(any_model).__name__
    assert decomposes(any_model) is (kind != "Gemma2ForCausalLM")
    with torch.no_grad():  # whatever the weights: small logits would hide a cap
        for parameter in any_model.parameters():
            parameter.mul_(1e-3)
    fresh = type(any_model)(any_model.config)
    fresh.load_state_dict(any_model.state_dict())
    assert decomposes(fresh) is decomposes(any_model)
    if kind == "Gemma2ForCausalLM":
        with pytest.raises(ShapeError, match="changes its logits"):
            states(any_model, sample(any_model, [[5]], max_new_tokens=2))


def test_refused(model):
    rollouts = Rollouts.of([[5]], [[6]])
    for options in ({"temperature": 0}, {"temperature": float("nan")}, {"chunk": 0}):
        with pytest.raises(OptionError):
            log_probs(model, rollouts, **options)


def test_texts_of_many_lengths_are_read_in_parts(model, monkeypatch):
    """The values and gradients are those of one padded batch; less padding is read."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 25, (2, 16), generator=generator).tolist()
    prompts, drawn = ([torch.randint(2, 23, (n,), generator=generator).tolist() for n in row] for row in lengths)
    rollouts = Rollouts.of(prompts, drawn)
    decomposes(model)  # runs it once
    read = []
    model.model.register_forward_hook(lambda _m, _a, answer: read.append(answer[0].shape[0] * answer[0].shape[1]))
    weight = torch.rand(rollouts.mask.shape)
    results = {}
    for most, least in ((1, 1), (4, 100)):
        monkeypatch.setattr(scoring, "MOST_PARTS", most)
        monkeypatch.setattr(scoring, "PART_TOKENS", least)
        read.clear()
        found = log_probs(model, rollouts)
        results[most] = found, torch.autograd.grad((found * weight).sum(), list(model.parameters())), sum(read), len(read)
    torch.testing.assert_close(results[4][0], results[1][0], atol=1e-5, rtol=1e-5)
    for got, wanted in zip(results[4][1], results[1][1], strict=True):
        assert (got - wanted).norm() <= 1e-5 * wanted.norm() + 1e-7
    assert (results[1][3], results[4][3]) == (1, 4)
    assert results[4][2] < 0.85 * results[1][2]
    monkeypatch.setattr(scoring, "WORTH", 0.1)  # never worth it
    read.clear()
    log_probs(model, rollouts)
    assert len(read) == 1
