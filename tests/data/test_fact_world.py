import pytest

from tutelage.data.fact_world import STYLES, TOPICS, Asked, FactWorld, greater, last_asked, style_of, told
from tutelage.errors import OptionError


def test_questions_are_different_even_over_topics_and_reproducible():
    world = FactWorld(20, seed=1)
    found = world.questions(80, seed=3)
    assert len({question.question for question in found}) == 80
    assert {topic: sum(q.topic == topic for q in found) for topic in TOPICS[:-1]} == dict.fromkeys(TOPICS[:-1], 10)
    assert found == FactWorld(20, seed=1).questions(80, seed=3)
    assert found != world.questions(80, seed=4)
    others = world.questions(80, seed=4, without=found)
    assert not {q.question for q in found} & {q.question for q in others}


def test_values_differ_and_explanations_tell_the_truth_or_its_opposite():
    world = FactWorld(30, seed=0)
    assert all(len(set(values.values())) == 30 for values in world.values.values())
    for question in world.questions(64, seed=0):
        asked = last_asked(question.question)
        for style in STYLES:
            right, wrong = world.explain(asked, style), world.explain(asked, style, wrong=True)
            assert style_of(right) == style_of(wrong) == style
            assert (greater(right) == asked.first) == (question.answer == "yes")
            assert greater(wrong) != greater(right)
        assert greater(question.harmful[0]) != greater(question.explanation)


def test_what_is_no_explanation_says_nothing():
    assert greater("because so") == style_of("") == ""
    assert told(Asked("E1", "E2", "age"), 3, 40, "numbers") == "E1 3 , E2 40 ."
    assert told(Asked("E1", "E2", "age"), 3, 40, "relation") == "E2 over E1 ."
    assert told(Asked("E1", "E2", "age"), 3, 40, "numbers", wrong=True) == "E1 40 , E2 3 ."
    assert told(Asked("E1", "E2", "age"), 3, 40, "relation", wrong=True) == "E1 over E2 ."


def test_mistakes_are_named():
    with pytest.raises(OptionError, match="2 to 100"):
        FactWorld(1)
    with pytest.raises(OptionError, match="fewer than the 20"):
        FactWorld(3).questions(20, seed=0, topics=("age",))
    with pytest.raises(OptionError, match="no comparison"):
        last_asked("How are you?")
    with pytest.raises(OptionError, match="'song'"):
        told(Asked("E1", "E2", "age"), 1, 2, "song")
