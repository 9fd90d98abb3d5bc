from __future__ import annotations

import json

import pytest

from tutelage.errors import ChatError, OptionError
from tutelage.evaluate.judges import JudgeEnsemble, Opinion, disagree, parse_opinion
from tutelage.models.chat import Reply, Scripted


class Listed:
    """Says replies in turn, and keeps the temperatures and prompts it was asked with."""

    def __init__(self, *replies):
        self.replies, self.temperatures, self.prompts = list(replies), [], []

    def complete(self, conversations, *, sampling=None):
        self.temperatures.append(sampling.temperature)
        self.prompts.append(conversations[0])
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return [Reply(reply if isinstance(reply, str) else json.dumps(reply))]


def said(score, uncertainty=0.1):
    return {"score": score, "uncertainty": uncertainty, "principles": [{"name": "right", "weight": 3}, {"name": "short", "weight": 1}]}


def test_agreement_is_the_mean():  # fact 3
    judge, arbiter = Listed(said(0.6), said(0.7), said(0.8, 0.3)), Listed()
    found = JudgeEnsemble(judge, arbiter)("evidence")
    assert found.reward == pytest.approx(0.7)
    assert not found.escalated
    assert judge.temperatures == [0.2, 0.5, 0.8]
    assert found.opinions[0].principles == (("right", 0.75), ("short", 0.25))


@pytest.mark.parametrize("replies", [(said(0.5), said(0.7), said(0.9)), (said(0.7), said(0.7, 0.31), said(0.7))])
def test_disagreement_or_doubt_goes_to_the_arbiter(replies):  # fact 3
    arbiter = Listed(said(0.25))
    found = JudgeEnsemble(Listed(*replies), arbiter)("evidence")
    assert found.escalated
    assert found.reward == 0.25
    assert "score 0.70" in arbiter.prompts[0]


def test_the_thresholds():  # fact 3
    def opinions(*scores, doubt=0.0):
        return [Opinion(score, doubt) for score in scores]

    assert disagree(opinions(0.5, 0.7, 0.9))  # standard deviation 0.163
    assert not disagree(opinions(0.6, 0.7, 0.8))  # 0.0816
    assert disagree(opinions(0.6, 0.7, 0.8, doubt=0.31))
    assert not disagree(opinions(0.6, 0.7, 0.8, doubt=0.3))
    assert not disagree(opinions(0.5, 0.7, 0.9), spread=0.2)
    assert disagree(opinions(0.5))
    assert disagree([])


def test_without_an_arbiter_the_mean_stands():
    found = JudgeEnsemble(Listed(said(0.1), said(0.9)), temperatures=(0.0, 1.0))("e")
    assert (found.escalated, found.arbiter) == (True, None)
    assert found.reward == pytest.approx(0.5)


def test_what_cannot_be_read_is_counted():
    found = JudgeEnsemble(Listed("nonsense", said(0.6), said(0.7)), Listed())("e")
    assert (found.unparsable, found.escalated) == (1, False)
    assert found.reward == pytest.approx(0.65)
    found = JudgeEnsemble(Listed("nonsense", "", said(0.6)), Listed("also nonsense"))("e")
    assert (found.unparsable, found.escalated, found.reward) == (3, True, 0.6)
    assert JudgeEnsemble(Listed("a", "b", "c"), Listed("d"))("e").reward is None
    assert JudgeEnsemble(Listed("a", "b", "c"), Listed(said(0.4)))("e").reward == 0.4


def test_judges_that_cannot_be_reached():
    found = JudgeEnsemble(Listed(ChatError("timed out"), said(0.6), said(0.8)), Listed())("e")
    assert (found.failed, found.reward) == ("timed out", pytest.approx(0.7))
    down = ChatError("down")
    found = JudgeEnsemble(Listed(down, down, down), Listed(down))("e")
    assert (found.reward, found.failed, found.escalated) == (None, "down", True)


@pytest.mark.parametrize(
    "reply", ["", "0.7", '{"score": "0.7"}', '{"score": 1.2}', '{"score": -0.1}', '{"score": true}', '{"score": NaN}', '["score"]']
)
def test_scores_out_of_shape(reply):
    assert parse_opinion(reply) is None


def test_opinions_are_read_with_care():
    assert parse_opinion('{"score": 1}') == Opinion(1.0, 1.0)  # who does not say how sure he is, is not
    odd = parse_opinion('{"score": 0, "uncertainty": 2, "principles": [{"name": 3, "weight": "x"}, 5, {"name": "a", "weight": 2}]}')
    assert odd == Opinion(0.0, 1.0, (("", 0.0), ("a", 1.0)))
    assert parse_opinion('{"score": 0, "uncertainty": 0, "principles": "all"}') == Opinion(0.0, 0.0)


def test_no_temperature():
    with pytest.raises(OptionError, match="temperatures is empty"):
        JudgeEnsemble(Scripted(str), temperatures=())
