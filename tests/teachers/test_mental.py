import math

import pytest
import torch

from tutelage.data.explained_questions import Question
from tutelage.errors import ChatError, OptionError
from tutelage.models.chat import Reply, Sampling, Scripted, TokenLogProb
from tutelage.teachers.mental import Estimator, FewShot, MentalModel
from tutelage.views.explaining import SIMULATE, Demo

AGE = [Question(f"Question {i} of age?", "yes", "Because.", topic="age") for i in range(8)]
PRICE = [Question(f"Question {i} of price?", "no", "Because.", topic="price") for i in range(8)]


def answered(questions, right, explanation=""):
    """The first `right` answers are right."""
    wrong = {"yes": "no", "no": "yes"}
    return [Demo(q, q.answer if i < right else wrong[q.answer], explanation) for i, q in enumerate(questions)]


def test_counting_is_the_posterior_mean_of_every_level():
    model = Estimator(strength=2.0)
    model.observe([*answered(AGE, 8), *answered(PRICE, 4)], [])
    overall = (12 + 2 * 0.5) / (16 + 2)
    age = (8 + 2 * overall) / (8 + 2)
    found = model.predict([AGE[0], PRICE[0]], ["yes", "no"])
    price = (4 + 2 * overall) / 10
    assert found.tolist() == pytest.approx([(8 + 2 * age) / 10, (4 + 2 * price) / 10])
    assert found.dtype == torch.float32


def test_nothing_observed_is_one_half():
    for kind in ("beta", "logistic"):
        assert Estimator(kind=kind).predict(AGE[:2], ["yes", "yes"]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["beta", "logistic"])
def test_topic_and_style_are_told_apart(kind):
    model = Estimator(kind=kind, strength=0.5, style=lambda text: text[:1])
    model.observe(
        [*answered(AGE, 8), *answered(PRICE, 4)],
        [*answered(AGE, 8, "long"), *answered(AGE, 1, "short"), *answered(PRICE, 1, "long"), *answered(PRICE, 8, "short")],
    )
    pre = model.predict([AGE[0], PRICE[0]], ["yes", "no"])
    assert pre[0] > 0.85
    assert 0.4 < pre[1] < 0.65
    post = model.predict([AGE[0], AGE[0], PRICE[0], PRICE[0]], ["yes", "yes", "no", "no"], ["long", "short", "long", "short"])
    assert post[0] > 0.8
    assert post[3] > 0.8
    assert post[1] < 0.3
    assert post[2] < 0.3
    assert bool(((post >= 0) & (post <= 1)).all())


def test_the_logistic_regression_is_at_its_optimum():
    """Its probabilities leave a gradient of zero: on every indicator, right answers less expected ones are the penalty times its weight."""
    model = Estimator(kind="logistic", strength=1e-6)
    model.observe([*answered(AGE, 6), *answered(PRICE, 2)], [])
    assert model.predict([AGE[0], PRICE[0]], ["yes", "no"]).tolist() == pytest.approx([6 / 8, 2 / 8], abs=1e-2)


def test_observations_replace_earlier_ones_and_what_nobody_knows_says_nothing():
    model = Estimator(strength=1.0)
    model.observe(answered(AGE, 8), [])
    before = model.predict(AGE[:1], ["yes"])
    model.observe(answered(AGE, 0), [])
    assert model.predict(AGE[:1], ["yes"]) < 0.1 < before
    model.observe([Demo(Question("Unknown?"), "yes")], [])
    assert model.predict(AGE[:1], ["yes"]).item() == 0.5


def test_mistakes_are_named():
    with pytest.raises(OptionError, match="'gamma'"):
        Estimator(kind="gamma")
    with pytest.raises(OptionError, match="strength is 0"):
        Estimator(strength=0)
    with pytest.raises(OptionError, match="a str"):
        FewShot("gpt")
    assert isinstance(Estimator(), MentalModel)


class Model:
    """Says yes with probability 0.7, and keeps what it was asked."""

    def __init__(self, fail=False):
        self.asked, self.sampling, self.fail = [], [], fail

    def complete(self, conversations, *, sampling=None):
        self.asked += conversations
        self.sampling.append(sampling)
        if self.fail:
            raise ChatError("down", replies=[None] * len(conversations))
        top = (("yes", math.log(0.7)), (" no", math.log(0.2)))
        return [Reply("yes", (TokenLogProb("yes", math.log(0.7), top),)) for _ in conversations]


def test_a_language_model_is_read_at_its_first_token():
    chat = Model()
    model = FewShot(chat)
    model.observe(answered(AGE[:2], 1), answered(AGE[2:4], 2, "Since."))
    assert model.predict([AGE[5], PRICE[0]], ["yes", "no"]).tolist() == pytest.approx([0.7, 0.2])
    assert model.predict(AGE[5:6], ["no"], ["So it is."]).tolist() == pytest.approx([0.2])
    pre, _, post = chat.asked
    assert pre.startswith(SIMULATE)
    assert pre.count("AI's answer:") == 3
    assert "Since." not in pre
    assert post.endswith("Correct answer: no\nAI's answer: So it is. So the answer is")
    assert post.count("Since. So the answer is yes") == 2
    assert chat.sampling[0].log_probs == 20
    assert FewShot(chat, sampling=Sampling(max_tokens=1)).sampling.log_probs == 20


def test_the_right_answer_can_be_left_out():
    chat = Model()
    model = FewShot(chat, gold=False)
    model.observe(answered(AGE[:2], 1), [])
    model.predict(AGE[5:6], ["yes"])
    assert "Correct" not in chat.asked[0]


def test_without_log_probabilities_it_is_believed_and_what_cannot_be_read_is_counted():
    model = FewShot(Scripted(lambda said: "No." if "price" in said[0].content else "Who knows"))
    assert model.predict([PRICE[0], AGE[0]], ["no", "yes"]).tolist() == [1.0, 0.5]
    assert model.unread == 1
    assert model.predict([], []).tolist() == []


def test_of_a_number_the_digits_count():
    reply = Reply("12", (TokenLogProb("1", math.log(0.5)), TokenLogProb("2", math.log(0.25))))
    model = FewShot(Scripted(lambda said: reply))
    assert model.predict([Question("How many?", "12", kind="number")], ["12"]).tolist() == pytest.approx([0.375])


def test_a_failure_goes_on():
    with pytest.raises(ChatError, match="down"):
        FewShot(Model(fail=True)).predict(AGE[:1], ["yes"])
