from __future__ import annotations

import math

import pytest
import torch
from rich.console import Console

from tutelage import store
from tutelage.data import Arrays, DataSet
from tutelage.errors import DataError, OptionError
from tutelage.models.chat import Reply, Scripted, TokenLogProb
from tutelage.models.label_prompt import LabelPrompt
from tutelage.store.chat import label_texts
from tutelage.store.pseudo import AsClassifier, PseudoLabels, choice_probability, from_answers, read_pseudo_labels, with_pseudo_labels
from tutelage.targets import top_k
from tutelage.teachers import Stored

QUIET = Console(quiet=True)
CLASSES = ("sci.med", "sci.space", "talk")


def token(text, probability, **others):
    top = sorted([(text, math.log(probability)), *((t, math.log(p)) for t, p in others.items())], key=lambda pair: -pair[1])
    return TokenLogProb(text, math.log(probability), tuple(top))


def entry(choice, *tokens):
    return Reply("".join(t.token for t in tokens), tuple(tokens), "stop").to_json() | {"choice": choice}


def test_a_name_of_one_token_is_renormalised_over_the_classes():
    said = entry("ham", token("ham", 0.5, spam=0.3, The=0.2))
    assert choice_probability(said, ("ham", "spam")) == pytest.approx(0.5 / 0.8)
    beginnings = entry("ham", token(" Ham", 0.5, **{"Sp": 0.1, "spam": 0.15, "\n": 0.2, "hammer": 0.05}))
    assert choice_probability(beginnings, ("ham", "spam")) == pytest.approx(0.5 / 0.75)


def test_a_name_of_several_tokens_is_followed_token_by_token():
    # P(sci) = 0.6 of 0.9 that begin a class, then P(space) = 0.2 of 0.8; what no class allows (the rest, "fi") does not count.
    said = entry(
        "sci.space",
        token("sci", 0.6, **{"ta": 0.2, "talk": 0.1, "Well": 0.1}),
        token(".", 0.9, fi=0.1),
        token("space", 0.2, **{"med": 0.5, "m": 0.1, "bio": 0.2}),
    )
    assert choice_probability(said, CLASSES) == pytest.approx((0.6 / 0.9) * (0.2 / 0.8))


def test_probabilities_of_all_names_sum_to_one():
    first, second = {"sci": 0.55, "talk": 0.15, "no": 0.3}, {"med": 0.35, "space": 0.45, "x": 0.2}

    def step(said, ways):
        return token(said, ways[said], **{t: p for t, p in ways.items() if t != said})

    found = [choice_probability(entry("talk", step("talk", first)), CLASSES)]
    for name in ("med", "space"):
        reply = entry(f"sci.{name}", step("sci", first), token(".", 1.0), step(name, second))
        found.append(choice_probability(reply, CLASSES))
    assert sum(found) == pytest.approx(1.0)


def test_words_around_the_name_do_not_count():
    said = entry(
        "spam", token("I think:", 0.1, Maybe=0.9), token(" **", 0.3, x=0.7), token("sp", 0.8, ham=0.2), token("am", 1.0), token("**.", 0.9)
    )
    assert choice_probability(said, ("ham", "spam")) == pytest.approx(0.8)
    marked = entry("spam", token("**Spam", 0.6, **{"**Ham": 0.2, "**": 0.2}))
    assert choice_probability(marked, ("ham", "spam")) == pytest.approx(0.75)


def test_a_reply_without_log_probabilities_has_none():
    assert choice_probability(Reply("spam").to_json() | {"choice": "spam"}, ("ham", "spam")) is None


def mails(count=12):
    kinds = [("lovely offer" if i % 2 else "see you at noon") + f" {i}" for i in range(count)]
    return Arrays({"input": kinds, "label": torch.arange(count) % 2}, ("ham", "spam"), "mail")


def judge(said):
    """A labeller that is wrong about 4, answers nonsense to 3, and grows sure with the number."""
    text = said[-1].content.removesuffix("\nClass:")
    number = int(text.split()[-1])
    if number == 3:
        return "'; DROP TABLE classes; --"
    name = "spam" if ("offer" in text) != (number == 4) else "ham"
    sure = 0.5 + number / 40
    return Reply(name, (token(name, sure, **{"spam" if name == "ham" else "ham": 0.9 - sure, "Hm": 0.1}),), "stop")


def test_replies_of_a_chat_model_are_stored_once_with_their_confidence(tmp_path):
    prompt = LabelPrompt(("ham", "spam"), [("buy {now}", 1)])
    asked = []
    chat = Scripted(lambda said: asked.append(said) or judge(said))
    data = DataSet("mail", mails(), mails(4), mails(4))
    kept = label_texts(
        chat, data, tmp_path / "s", system=prompt.system, template=prompt.template, choices=prompt.classes, batch_size=4, console=QUIET
    )
    assert len(asked) == 20
    assert asked[0][0].content == prompt.system
    assert "buy {now}" in prompt.system
    found = read_pseudo_labels(kept, data.train)
    assert found.label.tolist() == [0, 1, 0, -1, 1, 1, 0, 1, 0, 1, 0, 1]
    assert found.malformed == 1
    expected = [0.0 if i == 3 else (0.5 + i / 40) / 0.9 for i in range(12)]
    assert found.confidence.tolist() == pytest.approx(expected)
    assert len(asked) == 20

    taught = with_pseudo_labels(data.train, found)
    assert taught.index.tolist() == [0, 1, 2, *range(4, 12)]
    assert taught.labels.tolist() == [0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1]
    assert taught.column("true_label").tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1]

    teacher = Stored(AsClassifier(kept, data.parts))
    batch = data.train.gather([11, 3, 4])
    teacher.attend(batch)
    probs = teacher(batch["input"]).exp()
    assert probs.sum(1).tolist() == pytest.approx([1.0] * 3)
    assert probs[:, 1].tolist() == pytest.approx([0.775 / 0.9, 0.5, 0.6 / 0.9])
    assert teacher.of("validation").store.read("validation", torch.tensor([0])).argmax(1).tolist() == [0]


def test_replies_without_log_probabilities_are_refused_with_the_cure(tmp_path):
    kept = label_texts(Scripted(lambda said: "ham"), mails(4), tmp_path / "s", choices=["ham", "spam"], console=QUIET)
    with pytest.raises(OptionError, match="log_probs=20"):
        read_pseudo_labels(kept, mails(4))
    with pytest.raises(OptionError, match="which classes"):
        read_pseudo_labels(kept, Arrays({"input": mails(4).column("input")}))


class Reads(torch.nn.Module):
    def forward(self, texts):
        return torch.tensor([[float(len(text)), 10.0] for text in texts])


@pytest.mark.parametrize("keep", ["logits", "top-k:1"])
def test_answers_of_a_classifier_of_texts_are_stored_too(tmp_path, keep):
    data = mails()
    kept = store.label(Reads(), data, tmp_path / "s", keep=keep, dtype="fp32", console=QUIET)
    found = read_pseudo_labels(kept, data)
    logits = Reads()(data.column("input"))
    assert torch.equal(found.label, logits.argmax(1))
    assert torch.allclose(found.confidence, logits.softmax(1).amax(1), atol=1e-5)
    assert with_pseudo_labels(data, found).column("confidence").dtype == torch.float32


def test_answers_become_labels_with_their_probability():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    plain, few = from_answers(logits), from_answers(top_k(logits, 2))
    assert torch.equal(plain.label, few.label)
    assert torch.allclose(plain.confidence, few.confidence, atol=1e-6)
    back = PseudoLabels(torch.tensor([2, -1]), torch.tensor([0.7, 0.0])).logits(4).exp()
    assert torch.allclose(back, torch.tensor([[0.1, 0.1, 0.7, 0.1], [0.25] * 4]), atol=1e-6)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="there are 3"):
        with_pseudo_labels(mails(4), PseudoLabels(torch.zeros(3, dtype=torch.int64), torch.ones(3)))
    with pytest.raises(DataError, match="for none of the 4"):
        with_pseudo_labels(mails(4), PseudoLabels(torch.full((4,), -1), torch.zeros(4)))
