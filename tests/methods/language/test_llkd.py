from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from tutelage import losses as L
from tutelage.data import Arrays, Batches
from tutelage.errors import OptionError
from tutelage.methods.language.llkd import LLKD
from tutelage.models.word_bag import WordBag
from tutelage.selection import UseCounter
from tutelage.train import Trainer
from tutelage.train.options import TrainOptions

C = 4


def batch_of(count=32, seed=0, *, classes=C):
    source = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (count,), generator=source)
    return {
        "input": torch.randint(1, 50, (count, 12), generator=source),
        "label": label,
        "confidence": 0.3 + 0.7 * torch.rand(count, generator=source),
        "true_label": torch.where(torch.rand(count, generator=source) < 0.8, label, (label + 1) % classes),
        "index": torch.arange(count),
    }


def method_of(seed=0, **options):
    torch.manual_seed(seed)
    return LLKD(WordBag(num_classes=C, vocabulary=50, dim=8, hidden=8), C, **options)


class Table(nn.Module):
    """A student whose logits are a table, one row a sample."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, index):
        return self.logits[index]


def table_batch(logits, label, confidence):
    count = len(label)
    return {
        "input": torch.arange(count),
        "label": torch.tensor(label),
        "confidence": torch.tensor(confidence),
        "index": torch.arange(count),
    }


def test_uniform_teacher_and_student_select_everything():
    method = LLKD(Table(torch.zeros(10, C)), C)
    batch = table_batch(None, [0, 1, 2, 3, 0, 1, 2, 3, 0, 0], [1 / C] * 10)
    for _ in range(4):
        method.losses(batch)
        assert float(method.take_logged()["used"]) == 10
    assert torch.allclose(method.confidence_bar.thresholds(), torch.full((C,), 1 / C))
    assert torch.allclose(method.uncertainty_bar.thresholds(), torch.full((C,), math.log(C)))


def test_a_sure_student_needs_nothing_more():
    logits = torch.zeros(6, C)
    logits[0, 2] = 200.0
    method = LLKD(Table(logits), C)
    label, confidence = torch.tensor([2, 0, 1, 2, 3, 0]), torch.full((6,), 0.9)
    entropy = method.uncertainty(torch.arange(6))
    assert entropy[0] == 0
    assert entropy[1:].tolist() == pytest.approx([math.log(C)] * 5)
    kept = method.select(confidence, entropy, label)
    assert (method.uncertainty_bar.thresholds() > 0).all()
    assert kept.tolist() == [0, 1, 1, 1, 1, 1]


def test_loss_is_the_weighted_mean_over_the_selected():
    batch, method = batch_of(), method_of()
    with torch.no_grad():
        logits = method.student(batch["input"])
    c, label = batch["confidence"], batch["label"]
    p = logits.softmax(1)
    u = -(p * p.log()).sum(1)
    keep = torch.zeros(len(c), dtype=torch.bool)
    bars = []
    for score in (c, u):
        local = torch.stack([score[label == y].mean() for y in range(C)])
        bars.append(score.mean() * local / local.max())
    keep = (c >= bars[0][label]) & (u >= bars[1][label])
    assert 0 < keep.sum() < len(keep)
    w = (c * u / math.log(C))[keep]
    expected = (w / w.mean() * -p[keep, label[keep]].log()).mean()
    assert torch.allclose(method.losses(batch)["pseudo_ce"], expected, atol=1e-6)
    logged = method.take_logged()
    assert float(logged["used"]) == keep.sum()
    right = (label == batch["true_label"]).float()
    assert float(logged["right_kept"]) == pytest.approx(100 * float(right[keep].mean()))
    assert float(logged["right"]) == pytest.approx(100 * float(right.mean()))


@pytest.mark.parametrize("scoring", ["eval", "train"])
def test_both_ways_of_scoring_agree_without_dropout(scoring):
    batch = batch_of()
    reference = method_of(scoring="eval").losses(batch)["pseudo_ce"]
    assert torch.allclose(method_of(scoring=scoring).losses(batch)["pseudo_ce"], reference, atol=1e-6)


def test_scoring_in_eval_mode_is_without_dropout_and_leaves_the_student_in_its_mode():
    torch.manual_seed(0)
    method = LLKD(WordBag(num_classes=C, vocabulary=50, dim=8, hidden=8, dropout=0.5), C).train()
    x = batch_of()["input"]
    assert torch.equal(method.uncertainty(x), method.uncertainty(x))
    assert method.student.training
    assert method.student.hidden[2].training


def test_no_criterion_and_no_weight_is_plain_pseudo_label_training():
    batch = batch_of()
    plain = method_of(teacher_criterion="off", student_criterion="off", weighting="none")
    expected = L.mean(L.cross_entropy(plain.student(batch["input"]), batch["label"]))
    assert torch.allclose(plain.losses(batch)["pseudo_ce"], expected, atol=1e-6)


def test_one_criterion_alone_is_confidence_filtering_or_uncertainty_sampling():
    batch = batch_of(64)
    c, label = batch["confidence"], batch["label"]
    for off, score_name in (("student_criterion", "c"), ("teacher_criterion", "u")):
        method = method_of(**{off: "off"})
        u = method.uncertainty(batch["input"])
        kept = method.select(c, u, label)
        score, bar = (c, method.confidence_bar) if score_name == "c" else (u, method.uncertainty_bar)
        assert torch.equal(kept, (score >= bar.thresholds()[label]).float())
        assert 0 < kept.sum() < len(kept)


def test_the_opposite_is_the_complement():
    batch = batch_of(64)
    high, low = (method_of(teacher_criterion=each, student_criterion="off") for each in ("high", "low"))
    u = high.uncertainty(batch["input"])
    assert torch.equal(high.select(batch["confidence"], u, batch["label"]), 1 - low.select(batch["confidence"], u, batch["label"]))


@pytest.mark.parametrize("weighting", ["product", "sum", "confidence", "uncertainty", "none"])
def test_weights_have_mean_one_and_grow_with_their_signals(weighting):
    method = method_of(weighting=weighting)
    c = torch.tensor([0.5, 0.9, 0.5, 0.9])
    u = torch.tensor([0.4, 0.4, 1.2, 1.2])
    w = method.sample_weight(c, u)
    assert float(w.mean()) == pytest.approx(1.0)
    assert (w[1] > w[0]) == (weighting in ("product", "sum", "confidence"))
    assert (w[2] > w[0]) == (weighting in ("product", "sum", "uncertainty"))
    ratio = {"product": 0.9 * 1.2 / (0.5 * 0.4), "sum": (0.9 + 1.2 / math.log(C)) / (0.5 + 0.4 / math.log(C)), "none": 1.0}
    if weighting in ratio:
        assert float(w[3] / w[0]) == pytest.approx(ratio[weighting], rel=1e-5)


def test_normalised_entropies_select_and_weigh_alike():
    batch = batch_of(48)
    a, b = method_of(), method_of(normalised=True)
    assert torch.allclose(a.losses(batch)["pseudo_ce"], b.losses(batch)["pseudo_ce"], atol=1e-6)
    assert float(a.take_logged()["uncertainty"]) == pytest.approx(math.log(C) * float(b.take_logged()["uncertainty"]), rel=1e-5)


def test_order_inside_a_batch_does_not_matter():
    batch = batch_of(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(9))
    shuffled = {name: value[order] for name, value in batch.items()}
    assert torch.allclose(method_of().losses(batch)["pseudo_ce"], method_of().losses(shuffled)["pseudo_ce"], atol=1e-6)


def test_no_gradient_flows_through_scores_thresholds_or_weights():
    batch, method = batch_of(), method_of(scoring="train")
    batch["confidence"].requires_grad_()
    method.losses(batch)["pseudo_ce"].backward()
    assert batch["confidence"].grad is None
    found = [p.grad.clone() for p in method.student.parameters()]

    fixed = method_of()
    c = batch["confidence"].detach()
    u = fixed.uncertainty(batch["input"])
    kept = fixed.select(c, u, batch["label"]) > 0
    w = (c * u)[kept] / (c * u)[kept].mean()
    (w * L.cross_entropy(fixed.student(batch["input"][kept]), batch["label"][kept])).mean().backward()
    for ours, theirs in zip(found, fixed.student.parameters(), strict=True):
        assert torch.allclose(ours, theirs.grad, atol=1e-6)


def fit(method, arrays, epochs=1, batch_size=8, **options):
    options = TrainOptions(epochs=epochs, batch_size=batch_size, optimizer="Adam", learning_rate=0.01, accelerator="cpu", **options)
    return Trainer(method, Batches(arrays, batch_size, seed=0), options).fit()


def arrays_of(batch):
    return Arrays({name: value for name, value in batch.items() if name != "index"}, tuple("abcd"))


class Shut(LLKD):
    """Keeps nothing from the second step on."""

    def select(self, confidence, entropy, label):
        kept = super().select(confidence, entropy, label)
        return kept if self.steps_done == 0 else torch.zeros_like(kept)


@pytest.mark.parametrize("scoring", ["eval", "train"])
def test_an_empty_selection_leaves_parameters_bit_identical(scoring):
    torch.manual_seed(0)
    method = Shut(WordBag(num_classes=C, vocabulary=50, dim=8, hidden=8), C, scoring=scoring)
    arrays, start = arrays_of(batch_of(8)), copy.deepcopy(method.student.state_dict())
    fit(method, arrays)
    after_one = copy.deepcopy(method.student.state_dict())
    assert any(not torch.equal(start[name], after_one[name]) for name in start)
    # Adam's moments and weight decay would move them on a gradient of zero.
    torch.manual_seed(0)
    again = Shut(WordBag(num_classes=C, vocabulary=50, dim=8, hidden=8), C, scoring=scoring)
    history = fit(again, arrays, epochs=5, schedule="constant", weight_decay=0.1)
    torch.manual_seed(0)
    once = Shut(WordBag(num_classes=C, vocabulary=50, dim=8, hidden=8), C, scoring=scoring)
    fit(once, arrays, epochs=1, schedule="constant", weight_decay=0.1)
    for name, value in once.student.state_dict().items():
        assert torch.equal(value, again.student.state_dict()[name])
    assert history.series("used")[1:] == [0, 0, 0, 0]


def test_gradients_of_an_earlier_batch_of_the_step_still_move():
    class Late(LLKD):
        def select(self, confidence, entropy, label):
            kept = super().select(confidence, entropy, label)
            self.calls = getattr(self, "calls", 0) + 1
            return kept if self.calls % 2 else torch.zeros_like(kept)

    torch.manual_seed(0)
    method = Late(WordBag(num_classes=C, vocabulary=50, dim=8, hidden=8), C)
    start = copy.deepcopy(method.student.state_dict())
    fit(method, arrays_of(batch_of(16)), batch_size=8, accumulate=2)
    assert all(not torch.equal(start[name], value) for name, value in method.student.state_dict().items())
    assert all(p.grad is None for p in method.student.parameters())


def test_a_random_share_of_what_passed_is_kept():
    method = method_of(teacher_criterion="off", student_criterion="off", keep_share=0.3)
    counts = []
    for step in range(200):
        batch = batch_of(25, step)
        method.generator = torch.Generator().manual_seed(step)
        kept = method.select(batch["confidence"], torch.ones(25), batch["label"])
        counts.append(int(kept.sum()))
    assert set(counts) <= {7, 8}
    assert sum(counts) / len(counts) == pytest.approx(7.5, abs=0.15)
    high = method_of(keep_share=0.5)
    batch = batch_of(64)
    passed = method_of().select(batch["confidence"], torch.ones(64), batch["label"])
    kept = high.select(batch["confidence"], torch.ones(64), batch["label"])
    assert (kept <= passed).all()
    assert abs(float(kept.sum() - passed.sum() / 2)) < 1


def test_used_samples_are_counted():
    counter = UseCounter(40)
    method = method_of(counter=counter)
    history = fit(method, arrays_of(batch_of(40)), epochs=3)
    assert int(counter.shown.sum()) == 120
    assert counter.shown.tolist() == [3] * 40
    assert float(counter.uses.sum()) == pytest.approx(5 * sum(history.series("used")))
    assert 0 < counter.summary()["used_share"] < 100
    assert "counter.uses" in method.state_dict()


def test_texts_are_taken_as_lists():
    torch.manual_seed(0)
    method = LLKD(WordBag(num_classes=2, vocabulary=100, dim=4, hidden=4), 2)
    batch = {"input": ["a ship at sea", "a plane"] * 4, "label": torch.tensor([0, 1] * 4), "confidence": torch.linspace(0.5, 1.0, 8)}
    loss = method.losses(batch)["pseudo_ce"]
    assert loss.requires_grad
    assert 0 < float(method.take_logged()["used"]) < 8


def test_selected_labels_are_right_more_often_when_confidence_is():
    source = torch.Generator().manual_seed(1)
    batch = batch_of(512)
    right = torch.rand(512, generator=source) < batch["confidence"]
    batch["true_label"] = torch.where(right, batch["label"], (batch["label"] + 1) % C)
    method = method_of()
    method.losses(batch)
    logged = method.take_logged()
    assert float(logged["right_kept"]) > float(logged["right"]) + 5


@pytest.mark.parametrize(
    "options",
    [
        {"teacher_criterion": "hgih"},
        {"student_criterion": "on"},
        {"weighting": "square"},
        {"scoring": "test"},
    ],
)
def test_unknown_options_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        method_of(**options)
    with pytest.raises(OptionError, match="at least 2"):
        LLKD(nn.Linear(2, 1), 1)


def test_an_encoder_with_a_linear_head_is_a_student():
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    from tutelage.models.transformers_models import LinearHead, TextClassifier

    known = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "ship", "plane", "sea", "sky"])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]")
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, pad_token_id=0
    )
    student = TextClassifier(LinearHead(transformers.RobertaModel(config, add_pooling_layer=False), 2), tokenizer, 16)
    texts = ["ship sea", "plane sky", "sea ship sea", "sky"] * 8
    arrays = Arrays({"input": texts, "label": torch.tensor([0, 1] * 16), "confidence": torch.linspace(0.5, 1, 32)}, ("sea", "sky"))
    method = LLKD(student, 2)
    history = fit(method, arrays, epochs=15, schedule="constant")
    assert method.eval().predict({"input": ["sea", "plane sky"]}).argmax(1).tolist() == [0, 1]
    assert 0 < history.series("used")[0] < 8
