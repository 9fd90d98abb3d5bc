from __future__ import annotations

import copy
import dataclasses
import inspect

import pytest
import torch
from torch.nn import functional as F

from tutelage import losses as L
from tutelage import schedules
from tutelage.data import Arrays, Batches
from tutelage.errors import OptionError, TrainingError
from tutelage.losses.policy import sampled_reverse_kl
from tutelage.methods.language.kdrl import KDRL, Attempts
from tutelage.models import language
from tutelage.models.language import Rollouts
from tutelage.recipes.language.kdrl import OPTIONS
from tutelage.train import Trainer, TrainOptions

TOKENIZER = language.character_tokenizer("0123456789+=#", context=32)
BATCH = {"input": ["1+2=", "34+5=", "7="], "answer": ["3", "39", "7"]}


def decoder(seed: int = 0, width: int = 16):
    return language.tiny_decoder(len(TOKENIZER), width=width, layers=1, heads=2, context=32, seed=seed)


def has_even(response, row) -> float:
    """Right about half of the time for an untrained student."""
    return float(sum(c in "02468" for c in response) > 1)


def kdrl(student=None, teacher=None, reward=has_even, **options) -> KDRL:
    options = {"group": 4, "max_new_tokens": 6, "beta": 0.5, **options}
    teacher = decoder(1, 24) if teacher is None and options.get("signal") != "reward" else teacher
    method = KDRL(decoder() if student is None else student, teacher, TOKENIZER, reward, **options)
    method.generator = torch.Generator().manual_seed(5)
    return method


def gradients(method: KDRL, losses) -> torch.Tensor:
    grads = torch.autograd.grad(sum(losses.values()), list(method.student.parameters()), retain_graph=True)
    return torch.cat([grad.flatten() for grad in grads])


def test_attempts_are_grouped_verified_and_without_graph():
    method = kdrl()
    found = method.attempt(BATCH)
    assert len(found.rollouts) == 12
    assert found.rewards.shape == found.advantage.shape == found.imitated.shape == (3, 4)
    assert found.rollouts.prompts() == [p for p in language.encode(TOKENIZER, BATCH["input"]) for _ in range(4)]
    texts = found.rollouts.texts(TOKENIZER)
    assert found.rewards.flatten().tolist() == [has_even(text, {}) for text in texts]
    assert 0 < found.rewards.mean() < 1
    torch.testing.assert_close(found.teacher, language.log_probs(method.teacher.model, found.rollouts).detach())
    assert not any(getattr(found, name).requires_grad for name in ("rewards", "advantage", "imitated", "teacher"))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "exact", "top-k"])
def test_a_teacher_that_is_the_student_changes_nothing(estimator):
    student = decoder()
    both = kdrl(student, copy.deepcopy(student), estimator=estimator, top_k=4, top_k_rest="lump")
    alone = kdrl(student, signal="reward")
    attempts = both.attempt(BATCH)
    losses = both.objective(attempts)
    assert losses["kd"].abs() < 1e-6
    torch.testing.assert_close(gradients(both, losses), gradients(alone, alone.objective(attempts)), atol=1e-6, rtol=1e-4)


def test_on_policy_the_gradient_is_that_of_token_advantages():
    for mask in ("none", "response", "group"):
        method = kdrl(mask=mask, average="batch" if mask == "none" else "group")
        found = method.attempt(BATCH)
        student = language.log_probs(method.student, found.rollouts)
        ratio = (found.teacher - student).detach()
        weight = found.rollouts.mask.float()
        imitated = weight * found.imitated.flatten()[:, None]
        # Each term has its own normalisation; where nothing is masked both are the same.
        tokens = method._mean(-found.advantage.flatten()[:, None] * student, weight)
        taught = method._mean(-ratio * student, imitated)
        torch.testing.assert_close(gradients(method, method.objective(found)), gradients(method, {"all": tokens + 0.5 * taught}))
        if mask == "none":
            joint = method._mean(-(found.advantage.flatten()[:, None] + 0.5 * ratio) * student, weight)
            torch.testing.assert_close(gradients(method, {"joint": joint}), gradients(method, method.objective(found)))


def test_k1_has_the_gradient_of_k2_and_the_value_of_k1():
    one, two = kdrl(estimator="k1", signal="teacher"), kdrl(estimator="k2", signal="teacher")
    found = one.attempt(BATCH)
    torch.testing.assert_close(gradients(one, one.objective(found)), gradients(two, two.objective(found)))
    student = language.log_probs(one.student, found.rollouts)
    torch.testing.assert_close(one.objective(found)["kd"], one._mean(student - found.teacher, found.rollouts.mask.float()))


def test_without_beta_it_is_grpo_and_without_reward_it_is_distillation():
    student = decoder()
    zero, grpo, teacher = kdrl(student, beta=0.0), kdrl(student, signal="reward"), kdrl(student, signal="teacher")
    found = zero.attempt(BATCH)
    assert found.teacher is None  # it is not even asked
    assert set(zero.objective(found)) == {"policy"}
    assert torch.equal(gradients(zero, zero.objective(found)), gradients(grpo, grpo.objective(found)))
    found = teacher.attempt(BATCH)
    losses = teacher.objective(found)
    assert set(losses) == {"kd"}
    per_token = sampled_reverse_kl(language.log_probs(student, found.rollouts), found.teacher)
    mask = found.rollouts.mask.float()
    by_question = [(per_token * mask)[i : i + 4].sum() / mask[i : i + 4].sum() for i in (0, 4, 8)]
    torch.testing.assert_close(losses["kd"], torch.stack(by_question).mean())


def test_exact_and_top_k_are_the_divergences_of_whole_predictions():
    student = decoder()
    exact = kdrl(student, estimator="exact", signal="teacher", average="batch", temperature=0.7)
    found = exact.attempt(BATCH)
    keep = found.rollouts.mask
    with torch.no_grad():
        ours, theirs = (language.head(m)(language.states(m, found.rollouts)) for m in (student, exact.teacher.model))
        expected = L.reverse_kl(ours[keep], theirs[keep], temperature=0.7).mean()
    torch.testing.assert_close(exact.objective(found)["kd"], expected)
    whole = kdrl(student, estimator="top-k", top_k=99, signal="teacher", average="batch", temperature=0.7)
    torch.testing.assert_close(whole.objective(found)["kd"], expected)
    torch.testing.assert_close(gradients(whole, whole.objective(found)), gradients(exact, exact.objective(found)), atol=1e-6, rtol=1e-4)
    few = kdrl(student, estimator="top-k", top_k=2, top_k_of="student", signal="teacher", average="batch", temperature=0.7)
    assert (few.objective(found)["kd"] - expected).abs() > 1e-3


def test_beta_falls_as_the_sheet_says():
    method = kdrl(beta=5e-3, beta_fall=5e-5, beta_min=1e-3)
    expected = {0: 5e-3, 40: 3e-3, 80: 1e-3, 200: 1e-3}
    for step, beta in expected.items():
        method.steps_done = step
        assert method.coefficient() == pytest.approx(beta)
    reused = kdrl(beta=5e-3, beta_fall=5e-5, beta_min=1e-3, updates=4)
    reused.steps_done = 10
    assert reused.coefficient() == pytest.approx(3e-3)
    assert reused.coefficient(2) == pytest.approx(2.9e-3)
    scheduled = kdrl(beta=schedules.linear(1.0, 0.0))
    scheduled.progress = 0.75
    assert scheduled.coefficient() == pytest.approx(0.25)


def replaced(found: Attempts, rewards: list[list[float]], level: str) -> Attempts:
    method = kdrl(mask=level)
    from tutelage.losses.policy import group_advantage
    from tutelage.selection.reward_guided import reward_guided

    table = torch.tensor(rewards)
    return dataclasses.replace(found, rewards=table, advantage=group_advantage(table), imitated=reward_guided(table, level=method.mask))


def test_a_batch_that_is_masked_throughout_teaches_nothing_and_is_finite():
    for average in ("group", "batch"):
        method = kdrl(mask="response", average=average)
        found = replaced(method.attempt(BATCH), [[1.0] * 4] * 3, "response")
        losses = method.objective(found)
        assert losses["kd"] == 0
        assert torch.equal(gradients(method, losses), torch.zeros_like(gradients(method, losses)))
        for estimator in ("k3", "k1", "exact", "top-k"):
            other = kdrl(method.student, mask="response", average=average, estimator=estimator)
            grads = gradients(other, other.objective(found))
            assert torch.equal(grads, torch.zeros_like(grads))


def test_masks_keep_only_what_failed():
    method = kdrl(mask="response", signal="teacher", average="batch")
    found = replaced(method.attempt(BATCH), [[1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], "response")
    kept = torch.tensor([1, 2, 8, 9, 10, 11])
    per_token = sampled_reverse_kl(language.log_probs(method.student, found.rollouts), found.teacher)[kept]
    torch.testing.assert_close(method.objective(found)["kd"], L.mean(per_token, found.rollouts.mask[kept]))


@pytest.mark.parametrize("average", ["group", "batch"])
def test_repeating_all_groups_or_padding_the_tail_changes_nothing(average):
    method = kdrl(mask="response", average=average)
    found = method.attempt(BATCH)
    once = method.objective(found)
    rows = torch.arange(12).repeat(2)
    tables = {name: getattr(found, name).repeat(2, 1) for name in ("rewards", "advantage", "imitated")}
    twice = method.objective(Attempts(found.rollouts.select(rows), teacher=found.teacher[rows], **tables))
    roll = found.rollouts
    longer = Rollouts(
        F.pad(roll.tokens, (0, 3), value=7),
        F.pad(roll.attention, (0, 3)),
        F.pad(roll.mask, (0, 3)),
        F.pad(roll.log_probs, (0, 3)),
        roll.ended,
    )
    padded = method.objective(dataclasses.replace(found, rollouts=longer, teacher=F.pad(found.teacher, (0, 3), value=-9.0)))
    for name, loss in once.items():
        torch.testing.assert_close(twice[name], loss)
        torch.testing.assert_close(padded[name], loss)


def test_groups_or_the_batch_are_averaged():
    method, flat = kdrl(signal="teacher"), kdrl(signal="teacher", average="batch")
    weight = torch.zeros(12, 6)
    weight[:4, :1], weight[4:, :5] = 1, 1
    loss = torch.zeros(12, 6)
    loss[:4] = 6.0
    assert method._mean(loss, weight) == pytest.approx(6 / 3)
    assert flat._mean(loss, weight) == pytest.approx(6 * 4 / 44)


def test_the_end_token_may_be_left_to_the_student():
    method = kdrl(signal="teacher", average="batch", mask_end=True, max_new_tokens=12)
    method.student.lm_head.weight.data[1] = method.student.lm_head.weight.data[2:].mean(0)
    found = method.attempt(BATCH)
    ended = found.rollouts.ended
    assert ended.any()
    per_token = sampled_reverse_kl(language.log_probs(method.student, found.rollouts), found.teacher)
    keep = found.rollouts.mask.clone()
    keep[ended, found.rollouts.lengths[ended] - 1] = False
    torch.testing.assert_close(method.objective(found)["kd"], L.mean(per_token, keep))


def test_a_shaped_reward_has_the_log_ratio_of_the_whole_answer_in_it():
    student = decoder()
    plain, shaped = kdrl(student, signal="reward"), kdrl(student, signal="shaped", beta=0.25)
    found, other = plain.attempt(BATCH), shaped.attempt(BATCH)
    assert torch.equal(found.rollouts.tokens, other.rollouts.tokens)
    ratio = (other.teacher - language.log_probs(student, other.rollouts)).sum(1).view(3, 4).detach()
    torch.testing.assert_close(other.rewards, found.rewards + 0.25 * ratio)
    losses = shaped.objective(other)
    assert set(losses) == {"policy"}


def test_temperature_reaches_sampling_and_both_log_probabilities():
    method = kdrl(temperature=0.5, signal="teacher", average="batch")
    found = method.attempt(BATCH)
    ours, theirs = (language.log_probs(m, found.rollouts, temperature=0.5) for m in (method.student, method.teacher.model))
    expected = L.mean(sampled_reverse_kl(ours, theirs), found.rollouts.mask)
    torch.testing.assert_close(method.objective(found)["kd"], expected)
    assert found.rollouts.log_probs.sum() > kdrl(temperature=2.0).attempt(BATCH).rollouts.log_probs.sum()


def test_the_same_generator_gives_the_same_answers():
    one, two = kdrl().attempt(BATCH), kdrl().attempt(BATCH)
    assert torch.equal(one.rollouts.tokens, two.rollouts.tokens)
    again = kdrl()
    again.generator = torch.Generator().manual_seed(6)
    assert not torch.equal(again.attempt(BATCH).rollouts.tokens[:, -6:], one.rollouts.tokens[:, -6:])


DATA = Arrays({"input": [f"{n}=" for n in range(24)], "answer": [str(n) for n in range(24)]}, name="numbers")
TRAIN = TrainOptions(epochs=3, batch_size=8, optimizer="Adam", learning_rate=3e-3, schedule="constant", accelerator="cpu")


def trained(method: KDRL, tmp_path=None, resume: bool = False, **options) -> KDRL:
    Trainer(method, Batches(DATA, 8), dataclasses.replace(TRAIN, **options), directory=tmp_path, seed=3).fit(resume=resume)
    return method


@pytest.mark.parametrize("updates", [1, 2])
def test_a_training_that_was_broken_off_ends_bit_by_bit_as_one_that_was_not(tmp_path, updates):
    whole = trained(kdrl(updates=updates))
    calls = 0

    def fails_late(response, row) -> float:
        nonlocal calls
        calls += 1
        if calls == 8 * 4 * 5 + 3:
            raise ConnectionError("gone")
        return has_even(response, row)

    with pytest.raises(TrainingError, match=r"raised ConnectionError: gone.*prompt '\d+='"):
        trained(kdrl(reward=fails_late, updates=updates), tmp_path, checkpoint_steps=2)
    again = trained(kdrl(updates=updates), tmp_path, resume=True, checkpoint_steps=2)
    for name, weight in whole.student.state_dict().items():
        assert torch.equal(weight, again.student.state_dict()[name]), name
    assert not torch.equal(whole.student.lm_head.weight, decoder().lm_head.weight)


def test_the_teacher_stays_and_metrics_are_logged():
    teacher = decoder(1, 24)
    before = copy.deepcopy(teacher.state_dict())
    method = kdrl(teacher=teacher)
    history = Trainer(method, Batches(DATA, 8), TRAIN).fit()
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())
    for name in ("policy", "kd", "reward", "kl", "length", "zero_advantage", "cut", "beta"):
        assert len(history.series(name)) == 3
    assert 1 <= history.series("length")[0] <= 6
    assert history.series("kl")[0] > 0


def test_reused_answers_move_the_ratio_away_from_one():
    method = kdrl(updates=3)
    history = Trainer(method, Batches(DATA, 8), dataclasses.replace(TRAIN, learning_rate=0.03)).fit()
    assert history.series("outside")[-1] > 0
    once = trained(kdrl())
    assert once.step is None
    with pytest.raises(OptionError, match="accumulate"):
        trained(kdrl(updates=2), accumulate=2)


def test_rewards_are_reinforced():
    counts = kdrl(signal="reward", reward=lambda response, row: response.count("7") / 6)
    history = Trainer(counts, Batches(DATA, 8), dataclasses.replace(TRAIN, epochs=10, learning_rate=0.02)).fit()
    first, last = history.series("reward")[0], history.series("reward")[-1]
    assert last > first + 0.3


def test_the_teacher_is_approached():
    method = kdrl(signal="teacher")
    history = Trainer(method, Batches(DATA, 8), dataclasses.replace(TRAIN, epochs=8, learning_rate=0.01)).fit()
    assert history.series("kl")[-1] < 0.5 * history.series("kl")[0]


def test_adapters_alone_are_trained():
    student = language.lora(decoder(), rank=2)
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    trained(kdrl(student))
    moved = {name for name, p in student.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)


def test_unreadable_answers_are_counted():
    from tutelage.data.verifiable import FinalAnswer

    method = kdrl(reward=FinalAnswer("#", "integer"))
    method.losses(BATCH)
    assert 0 < method.take_logged()["unreadable"] <= 1


def test_predictions_are_the_likeliest_answers():
    method = kdrl()
    drawn = method.predict(BATCH)
    assert drawn.shape[0] == 3
    assert torch.equal(drawn, method.predict(BATCH))


@pytest.mark.parametrize(
    "wrong",
    [
        {"signal": "both"},
        {"estimator": "k4"},
        {"mask": "token"},
        {"std": "yes"},
        {"average": "mean"},
        {"group": 0},
        {"max_new_tokens": 0},
        {"updates": 0},
        {"top_k": 0},
        {"temperature": 0.0},
        {"beta": -1.0},
        {"beta_fall": -1.0},
        {"beta_min": -1.0},
    ],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        kdrl(**wrong)


def test_a_missing_teacher_and_two_annealings_are_refused():
    with pytest.raises(OptionError, match="no teacher"):
        KDRL(decoder(), None, TOKENIZER, has_even)
    with pytest.raises(OptionError, match="beside a schedule"):
        kdrl(beta=schedules.linear(1.0, 0.0), beta_fall=0.1)


def test_options_are_the_keyword_arguments():
    keywords = {p.name: p.default for p in inspect.signature(KDRL).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {f.name: f.default for f in dataclasses.fields(OPTIONS)} == keywords
