from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tutelage.data import Arrays, Batches
from tutelage.deploy.ranking import Cascade
from tutelage.errors import OptionError
from tutelage.losses.ranking import lambda_loss, ranknet
from tutelage.methods.language.idcm import IDCM, RankPairs
from tutelage.models.ranking import ConvKernels, CrossEncoder, TopScores
from tutelage.targets.gains import rank_gains
from tutelage.train import Trainer, TrainOptions

VOCABULARY = 60
OPTIONS = TrainOptions(epochs=1, batch_size=8, optimizer="Adam", learning_rate=1e-3, schedule="constant", accelerator="cpu")


def _teacher() -> CrossEncoder:
    torch.manual_seed(0)
    teacher = CrossEncoder(VOCABULARY, width=16, layers=1, heads=2, passage_length=10)
    nn.init.normal_(teacher.score.output.weight)  # scores that differ clearly
    return teacher


def _pairs(count: int = 8, passages: int = 5) -> Arrays:
    generator = torch.Generator().manual_seed(2)

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(1, VOCABULARY, shape, generator=generator)

    mask = torch.ones(count, passages, dtype=torch.bool)
    mask[::3, 3:] = False
    columns = {"query": tokens(count, 4), "positive": tokens(count, passages, 10), "negative": tokens(count, passages, 10)}
    return Arrays(columns | {"positive_mask": mask, "negative_mask": mask.flip(0)})


def _idcm(**options) -> IDCM:
    teacher = _teacher()
    torch.manual_seed(1)
    return IDCM(ConvKernels(teacher.table, width=8), teacher, TopScores(3), **options)


def test_the_loss_is_lambda_loss_on_the_teachers_gains_of_both_documents():
    method, batch = _idcm(k=3, weight=0.5), _pairs().gather()
    losses = method(batch)
    assert set(losses) == {"positive", "negative"}
    for side, loss in losses.items():
        given = batch["query"], batch[side], batch[f"{side}_mask"]
        gains = rank_gains(method.teacher(*given), 3, given[2])
        torch.testing.assert_close(loss, 0.5 * lambda_loss(method.student(*given), gains, given[2]).mean())
    assert 0 <= float(method.take_logged()["overlap"]) <= 1


def test_gradients_exist_in_the_student_alone():
    method = _idcm()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    for loss in method(_pairs().gather()).values():
        loss.backward(retain_graph=True)
    learned = {name for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert learned == {f"student.{name}" for name, _ in method.student.named_parameters()}
    assert method.student.table.weight.grad is None
    Trainer(method, Batches(_pairs(), 8), OPTIONS).fit()
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("student.") for name in moved)


def test_cached_scores_give_the_same_losses_without_asking_the_teacher():
    method, pairs = _idcm(), _pairs()
    cached = method.cache_scores(pairs, batch_size=3)
    assert cached.column("positive_scores").shape == (8, 5)
    expected = method(pairs.gather())
    method.teacher.model.pairs = None  # type: ignore[assignment]
    found = method(cached.gather())
    for side in found:
        torch.testing.assert_close(found[side], expected[side])


def test_the_alternatives_by_hand():
    scores, taught = torch.tensor([[1.0, 0.0, 5.0]]), torch.tensor([[0.5, 2.0, -9.0]])
    mask = torch.tensor([[True, True, False]])
    assert float(_idcm(loss="mse").passage_loss(scores, taught, mask)) == pytest.approx((0.25 + 4) / 2)
    p, q = torch.tensor([0.5, 2.0]).softmax(0), torch.tensor([1.0, 0.0]).log_softmax(0)
    cross = float(-(p * q).sum())
    assert float(_idcm(loss="ce").passage_loss(scores, taught, mask)) == pytest.approx(cross, abs=1e-5)
    assert float(_idcm(loss="kl").passage_loss(scores, taught, mask)) == pytest.approx(cross + float((p * p.log()).sum()), abs=1e-5)
    warm = _idcm(loss="kl", temperature=2.0).passage_loss(scores, taught, mask)
    p, q = torch.tensor([0.25, 1.0]).softmax(0), torch.tensor([0.5, 0.0]).log_softmax(0)
    assert float(warm) == pytest.approx(float((p * (p.log() - q)).sum()), abs=1e-5)


@pytest.mark.parametrize("loss", ["lambda", "mse", "kl", "ce", "labels"])
def test_every_loss_has_a_finite_gradient_with_padding(loss):
    method = _idcm(loss=loss)
    sum(method(_pairs().gather()).values()).backward()
    grads = [parameter.grad for parameter in method.student.parameters()]
    assert all(grad.isfinite().all() for grad in grads)
    assert any(grad.abs().sum() > 0 for grad in grads)


def test_document_labels_need_no_teacher():
    method, batch = _idcm(loss="labels"), _pairs().gather()
    method.teacher.model.pairs = None  # type: ignore[assignment]
    losses = method(batch)
    sums = [
        method.student(batch["query"], batch[side], batch[f"{side}_mask"])
        .masked_fill(~batch[f"{side}_mask"], -math.inf)
        .topk(3)
        .values.sum(1)
        for side in ("positive", "negative")
    ]
    torch.testing.assert_close(losses["labels"], ranknet(*sums).mean())


def test_k_of_at_least_the_number_of_passages_is_the_teacher_on_all_of_them_exactly():
    method, batch = _idcm().eval(), _pairs().gather()
    given = {"query": batch["query"], "passages": batch["positive"], "mask": batch["positive_mask"]}
    with torch.no_grad():
        whole = method.aggregation(method.teacher(*given.values()), given["mask"])
        for k in (5, 9):
            assert torch.equal(method.predict(given | {"k": k}), whole)
        assert not torch.equal(method.predict(given | {"k": 2}), whole)
        assert torch.equal(method.cascade(*given.values(), None).scores, whole)


def test_text_that_is_not_selected_does_not_matter():
    method, batch = _idcm(k=2).eval(), _pairs().gather()
    answer = method.cascade(batch["query"], batch["positive"], batch["positive_mask"], 2)
    assert answer.picked.shape == (8, 2)

    class Same(nn.Module):
        def forward(self, query, passages, mask):
            return torch.zeros(mask.shape).scatter(1, answer.picked, 1.0)

    other = batch["positive"].clone()
    rows = torch.arange(8).unsqueeze(1)
    kept = other[rows, answer.picked].clone()
    other[:] = torch.randint(1, VOCABULARY, other.shape)
    other[rows, answer.picked] = kept
    cascade = Cascade(Same(), method.teacher, TopScores(3)).eval()
    torch.testing.assert_close(cascade(batch["query"], other, batch["positive_mask"], 2).scores, answer.scores)


def test_the_teacher_reads_k_passages_of_a_document_whatever_its_length():
    method, read = _idcm().eval(), []
    pairs = method.teacher.model.pairs
    method.teacher.model.pairs = lambda query, passage: (read.append(len(passage)), pairs(query, passage))[1]  # type: ignore[assignment]
    for length in (4, 12, 40):
        read.clear()
        passages = torch.randint(1, VOCABULARY, (3, length, 10))
        method.predict(
            {"query": torch.ones(1, 2, dtype=torch.int64), "passages": passages, "mask": torch.ones(3, length, dtype=torch.bool)}
        )
        assert sum(read) == 3 * 4


def test_one_passage_and_one_weight_is_max_p():
    teacher, batch = _teacher().eval(), _pairs().gather()
    cascade = Cascade(ConvKernels(teacher.table), teacher, TopScores(1)).eval()
    scores = teacher(batch["query"], batch["positive"], batch["positive_mask"]).masked_fill(~batch["positive_mask"], -math.inf)
    found = cascade(batch["query"], batch["positive"], batch["positive_mask"], None).scores
    torch.testing.assert_close(found, scores.amax(1))


def test_step_one_compares_single_passages_and_step_two_documents():
    batch = _pairs(passages=1).gather()
    batch |= {f"{side}_mask": torch.ones(8, 1, dtype=torch.bool) for side in ("positive", "negative")}
    method = RankPairs(_teacher().eval())
    scores = [method.student.pairs(batch["query"], batch[side][:, 0]) for side in ("positive", "negative")]
    torch.testing.assert_close(method(batch)["ranknet"], ranknet(*scores).mean())
    assert set(method.players()) == {"student"}

    aggregation = TopScores(2)
    documents = RankPairs(_teacher(), aggregation, aggregation_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1))
    Trainer(documents, Batches(_pairs(), 8), replace(OPTIONS, learning_rate=1e-5)).fit()
    # One step of Adam moves each weight by its learning rate: the aggregation has its own.
    assert (aggregation.weight - 1).abs().tolist() == pytest.approx([0.1, 0.1], abs=1e-3)
    assert abs(documents.student.mix.item() - 2) <= 1.1e-5


def test_a_student_learns_to_pick_what_its_teacher_scores_highest():
    """Synthetic tokens: the teacher counts the query's words, and one passage repeats the query."""
    generator = torch.Generator().manual_seed(0)

    class Count(nn.Module):
        def forward(self, query, passages, mask):
            shared = (passages.unsqueeze(-1) == query[:, None, None, :]).any(2).sum(-1).float()
            return shared.masked_fill(~mask, 0.0)

    def documents(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query = torch.randint(1, 500, (count, 4), generator=generator)
        passages = torch.randint(1, 500, (count, 8, 16), generator=generator)
        place = torch.randint(8, (count,), generator=generator)
        passages[torch.arange(count), place, 3:7] = query
        return query, passages, place

    query, positive, _ = documents(256)
    _, negative, _ = documents(256)
    full = torch.ones(256, 8, dtype=torch.bool)
    pairs = Arrays({"query": query, "positive": positive, "negative": negative, "positive_mask": full, "negative_mask": full})
    torch.manual_seed(0)
    method = IDCM(ConvKernels(nn.Embedding(500, 32, padding_idx=0), initial="torch"), Count(), TopScores(3), k=2)
    options = replace(OPTIONS, epochs=4, batch_size=32, learning_rate=1e-2)
    Trainer(method, Batches(method.cache_scores(pairs), 32), options).fit()
    query, passages, place = documents(200)
    picked = method.cascade(query, passages, torch.ones(200, 8, dtype=torch.bool), 2).picked
    # Seeds 0 to 4 gave 1.0 each; chance is 0.25.
    assert (picked == place.unsqueeze(1)).any(1).float().mean() > 0.9


def test_refuses_options_out_of_range():
    with pytest.raises(OptionError, match="k of at least 1"):
        _idcm(k=0)
    with pytest.raises(OptionError, match="loss is 'rank'"):
        _idcm(loss="rank")
    with pytest.raises(OptionError, match="k is 0"):
        _idcm().predict(
            {
                "query": torch.ones(1, 1, dtype=torch.int64),
                "passages": torch.ones(1, 1, 1, dtype=torch.int64),
                "mask": torch.ones(1, 1, dtype=torch.bool),
                "k": 0,
            }
        )
