import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tutelage.data.explained_questions import Question
from tutelage.data.fact_world import STYLES, TOPICS, FactWorld, greater, last_asked, style_of
from tutelage.errors import ChatError, DataError, OptionError
from tutelage.methods.agents.tom_teacher import TomTeacher
from tutelage.models.chat import Reply, Scripted
from tutelage.recipes.agents import tom_teacher_roles as roles
from tutelage.selection.budgeted import NEEDS, intervene
from tutelage.store.memory import Memory
from tutelage.teachers.mental import Estimator, FewShot

WORLD = FactWorld(20, seed=1)
TEST = WORLD.questions(80, seed=1)
TRAIN = WORLD.questions(160, seed=2, without=TEST)
KNOWS = {topic: 1.0 if place < 4 else 0.3 for place, topic in enumerate(TOPICS)}
READS = {(topic, style): 1.0 if (style == "numbers") or topic in TOPICS[4:8] else 0.0 for topic in TOPICS for style in STYLES}


class Watched:
    """A chat model that keeps its prompts and stops after so many replies."""

    def __init__(self, chat, good=10**9):
        self.chat, self.good, self.asked, self.name = chat, good, [], "watched"

    def complete(self, conversations, *, sampling=None):
        some = list(conversations)[: self.good]
        replies = self.chat.complete(some, sampling=sampling)
        self.asked += [text if isinstance(text, str) else text[0].content for text in some]
        self.good -= len(some)
        if len(some) < len(conversations):
            raise ChatError("the server is down", replies=[*replies, *[None] * (len(conversations) - len(some))])
        return replies


def student():
    return Watched(Scripted(roles.student(WORLD, KNOWS, READS, seed=0)))


def teacher(**options):
    return Watched(Scripted(roles.teacher(WORLD, seed=0, **options)))


def taught(strategy="utility", **options):
    found = TomTeacher(
        options.pop("student", None) or student(),
        options.pop("teacher", None) or teacher(),
        options.pop("mental", None) or Estimator(style=style_of),
        strategy=strategy,
        **{"mental_demonstrations": 64} | options,
    )
    found.prepare(TRAIN)
    return found


def test_a_lesson_teaches_within_its_budget_and_helps():
    lesson = taught().teach(TEST, 0.4)
    counts = lesson.counts()
    assert counts["taught"] == 32
    assert counts["accuracy"] >= counts["accuracy_alone"] + 10
    assert counts["helped"] > counts["harmed"]
    assert {"student", "teacher"} == set(lesson.usage)
    assert lesson.usage["teacher"].calls == 80
    assert lesson.usage["student"].calls == 112
    assert lesson.report().claims[0].held
    told = [item for item in lesson.items if item.taught]
    assert all(item.explanation and item.expected[1] > item.expected[0] for item in told)


@pytest.mark.parametrize("strategy", sorted(set(NEEDS) - {"oracle"}))
def test_no_budget_is_the_student_alone_and_all_of_it_always_teaches(strategy):
    """Fact 1, through the door."""
    method = taught(strategy, mental_demonstrations=16)
    nothing, everything = method.teach(TEST[:20], 0.0), method.teach(TEST[:20], 1.0)
    assert nothing.answers == [a.answer for a in method.alone(TEST[:20])]
    explained = [a.explanation for a in method.explain(TEST[:20])]
    assert everything.answers == [a.answer for a in method.taught(TEST[:20], explained)]
    both = method.study(TEST[:20])
    curve = both.curve(strategy)
    assert curve[0] == pytest.approx(nothing.counts()["accuracy"])
    assert curve[-1] == pytest.approx(everything.counts()["accuracy"])


def test_nothing_is_asked_that_the_strategy_does_not_need():
    method = taught("random", demonstrations=0)
    assert not method.student.chat.asked
    lesson = method.teach(TEST, 0.2, measure=False)
    assert lesson.usage["teacher"].calls == 16
    assert lesson.usage["student"].calls == 80
    assert not lesson.measured
    assert taught("least-pre").teach(TEST, 0.1).usage["teacher"].calls == 8
    with_oracle = taught("oracle").teach(TEST, 0.0)
    assert with_oracle.counts()["taught"] == sum(item.alone != item.gold for item in with_oracle.items)


def test_log_probabilities_are_asked_for_where_a_strategy_looks_at_them():
    class Honest:
        """Gives log-probabilities only to those who ask, as servers do."""

        def __init__(self):
            self.chat, self.wanted = student().chat, []

        def complete(self, conversations, *, sampling=None):
            self.wanted.append(sampling.log_probs)
            replies = self.chat.complete(conversations, sampling=sampling)
            return replies if sampling.log_probs else [replace(reply, log_probs=None) for reply in replies]

    for strategy in ("true-utility", "true-pre", "true-post", "least-confidence"):
        for measure in (True, False):
            chat = Honest()
            method = taught(strategy, student=chat, mental_demonstrations=4)
            lesson = method.teach(TEST, 0.25, measure=measure)
            weights = intervene(strategy, method.study(TEST).signals, 0.25, torch.Generator().manual_seed(method.seed))
            assert [float(item.taught) for item in lesson.items] == weights.tolist()
    silent = Honest()
    taught("utility", student=silent, mental_demonstrations=4).teach(TEST[:8], 0.25)
    assert set(silent.wanted) == {None}


def test_a_memory_tells_models_apart(tmp_path):
    def answer(word):
        return Scripted(lambda messages: f"So the answer is {word}", name=word)

    said = []
    for word in ("yes", "no", "yes"):
        method = TomTeacher(answer(word), teacher(), strategy="random", demonstrations=0, memory=tmp_path / "m.sqlite")
        said.append(method.teach(TEST[:3], 0.0).answers)
    assert said == [["yes"] * 3, ["no"] * 3, ["yes"] * 3]


def test_what_the_student_sees():
    """Fact 8, through the method: four demonstrations, the teacher's explanation, and none of the student's own."""
    method = taught(demonstrations=4)
    method.student.chat.asked.clear()
    method.teach(TEST[:10], 1.0)
    alone, given = method.student.chat.asked[:10], method.student.chat.asked[10:]
    assert all(text.count("Q: ") == 5 for text in alone + given)
    assert all(text.endswith("\nA:") for text in alone)
    assert all(text.endswith("So the answer is") and "I think so" not in text for text in given)
    assert {q.question for q in TEST}.isdisjoint(re.findall(r"Q: (.*)", "\n\n".join(text.rsplit("\n\n", 1)[0] for text in alone)))


def test_the_mental_model_learns_from_as_many_yes_as_no():
    """Fact 7, through the method."""

    class Kept(Estimator):
        def observe(self, pre, post):
            self.seen = (list(pre), list(post))
            super().observe(pre, post)

    mental = Kept()
    taught(mental=mental, mental_demonstrations=4)
    for demos in mental.seen:
        assert sorted(demo.answer for demo in demos) == ["no", "no", "yes", "yes"]
    assert all(demo.explanation for demo in mental.seen[1])
    assert not any(demo.explanation for demo in mental.seen[0])


def test_a_personalised_teacher_is_shown_what_flipped_this_student():
    """Fact 6, through the method."""
    method = taught(explainer="personalised", teacher=teacher(imitates=True), useful_demonstrations=8, per_topic=True)
    assert method.explain.useful
    questions = [demo.question for demo in method.explain.useful]
    alone = [a.answer for a in method.alone(questions)]
    after = [a.answer for a in method.taught(questions, [q.explanation for q in questions])]
    assert all(a != q.answer == b for a, b, q in zip(alone, after, questions, strict=True))
    assert max(sum(q.topic == topic for q in questions) for topic in TOPICS) <= 8
    four = taught(explainer="personalised", useful_demonstrations=4)
    assert len(four.explain.useful) == 4
    assert all(text.count("Q: ") == 5 for text in four.explain.chat.chat.asked)


def test_personalised_explanations_are_in_a_style_that_the_student_reads():
    reads = {(topic, style): float(style == "relation") for topic in TOPICS for style in STYLES}
    fond = Watched(Scripted(roles.student(WORLD, dict.fromkeys(TOPICS, 0.2), reads, seed=0)))
    options = {"explainer": "personalised", "useful_demonstrations": 8, "per_topic": True}
    told = taught(student=fond, teacher=teacher(imitates=True, errors=0.0), **options).explain(TEST)
    blind = taught(student=fond, teacher=teacher(errors=0.0)).explain(TEST)
    share = [sum(style_of(a.explanation) == "relation" for a in found) / len(found) for found in (told, blind)]
    assert share[0] >= 0.7
    assert 0.35 < share[1] < 0.65


def test_a_misaligned_teacher_harms():
    lying = taught("deceive", teacher=teacher(lies=True, errors=0.0))
    assert lying.teach(TEST, 0.4).counts()["accuracy"] < lying.teach(TEST, 0.0).counts()["accuracy"] - 10
    harmful = TomTeacher(student(), None, Estimator(), explainer="harmful")
    harmful.prepare(TRAIN)
    for told, question in zip(harmful.explain(TEST), TEST, strict=True):
        assert (greater(told.explanation) == last_asked(question.question).first) == (question.answer == "no")


def test_the_teacher_itself_is_the_mental_model_by_default():
    method = TomTeacher(student(), teacher())
    assert isinstance(method.mental, FewShot)
    method.prepare(TRAIN)
    lesson = method.teach(TEST[:20], 0.5)
    assert lesson.usage["mental"].calls == 40
    assert lesson.counts()["taught"] == 10


def test_several_turns_give_the_student_new_demonstrations():
    learned = []

    def copying(messages):
        blocks = messages[0].content.split("\n\n")
        facts = dict(re.findall(r"(E\d+) (\d+)", " ".join(blocks[:-1])))
        asked = last_asked(blocks[-1])
        learned.append(len(facts))
        if {asked.first, asked.second} <= set(facts):
            return f"So the answer is {'yes' if int(facts[asked.first]) > int(facts[asked.second]) else 'no'}"
        return "I do not know"

    world = FactWorld(8, seed=0)
    items = world.questions(40, seed=0, topics=("charm",))
    method = TomTeacher(Scripted(copying), Scripted(roles.teacher(world, seed=1, errors=0.0)), Estimator(style=style_of))
    method.prepare(items[:20])
    right = []
    for count in (0, 2, 10):
        demos = method.demonstrate([q for q in items[:20] if style_of(q.explanation) == "numbers"][:count], count)
        assert len(demos) == count
        numbers = [d for d in demos if style_of(d.explanation) == "numbers"]
        answered = method.alone(items[20:], numbers)
        right.append(sum(a.answer == q.answer for a, q in zip(answered, items[20:], strict=True)))
    assert right[0] == 0
    assert right[0] <= right[1] < right[2]
    assert all(demo.explanation == demo.question.explanation for demo in method.demonstrate(items[:9], 3, explained="human"))
    assert not any(demo.explanation for demo in method.demonstrate(items[:9], 3, explained="none"))
    with pytest.raises(OptionError, match="10 demonstrations were asked of 9"):
        method.demonstrate(items[:9], 10)


def test_demonstrations_in_order_of_utility():
    method = taught()
    signals = method.expect(TEST)
    utility = (signals.post - signals.pre).sort(descending=True).values
    found = [demo.question for demo in method.demonstrate(TEST, 10, order="utility")]
    again = method.expect(found)
    assert torch.allclose(again.post - again.pre, utility[:10])
    worst = method.expect([demo.question for demo in method.demonstrate(TEST, 10, order="deceive")])
    assert (worst.post - worst.pre).max() <= utility[-10]


def test_the_teachers_own_answer_can_be_the_reference():
    unknown = [Question(q.question, topic=q.topic) for q in TEST]
    method = taught(reference="teacher")
    lesson = method.teach(unknown, 0.4)
    assert "accuracy" not in lesson.counts()
    assert sum(item.taught for item in lesson.items) == 32
    assert [item.taught for item in lesson.items] == [item.taught for item in taught(reference="teacher").teach(TEST, 0.4).items]
    with pytest.raises(DataError, match="Item 0 has no right answer"):
        taught().teach(unknown, 0.4)


def test_a_failure_keeps_the_work(tmp_path):
    """Fails at every possible call: with a memory, no reply is ever asked for twice."""
    path = tmp_path / "lessons.sqlite"
    whole = taught(mental_demonstrations=8).teach(TEST[:20], 0.4)
    chat, tries = student(), 0
    while True:
        chat.good = 7
        try:
            method = TomTeacher(chat, teacher(), Estimator(style=style_of), mental_demonstrations=8, memory=path)
            method.prepare(TRAIN)
            lesson = method.teach(TEST[:20], 0.4)
            break
        except ChatError:
            tries += 1
    assert tries > 5
    assert lesson.answers == whole.answers
    assert len(set(chat.asked)) == len(chat.asked)
    memory = Memory(path)
    rows = [event.value for event in memory.events("lesson")]
    assert [row["answer"] for row in rows] == lesson.answers
    assert sum(row["taught"] for row in rows) == 8
    assert all(event.value["explanation"] for event in memory.events("observed taught"))
    assert memory.count("observed alone") >= 8


def test_unreadable_answers_are_counted():
    silent = Scripted(lambda messages: Reply("Who knows", None, "stop", 1, 2, 0.0))
    method = TomTeacher(silent, teacher(), strategy="random")
    method.prepare(TRAIN)
    lesson = method.teach(TEST[:10], 0.5)
    assert lesson.counts()["unread"] == 10
    assert lesson.counts()["again"] == 10
    assert lesson.counts()["accuracy"] == 0
    assert TomTeacher(silent, teacher(), alone="answer", strategy="random", demonstrations=0).teach(TEST[:4], 0).again == 0


def test_texts_of_models_are_data():
    nasty = "{0.__class__} $(rm) '; DROP TABLE records; -- %s \x1b[2J"
    rude = Scripted(lambda messages: f"{nasty}. So the answer is yes")
    method = TomTeacher(rude, rude, memory=None, strategy="random")
    method.prepare(TRAIN)
    lesson = method.teach(TEST[:4], 1.0)
    assert all(item.explanation.startswith("{0.__class__} $(rm)") for item in lesson.items)
    assert "\x1b" not in " ".join(lesson.report().notes)


def test_mistakes_are_named():
    method = taught()
    with pytest.raises(DataError, match="no items"):
        method.teach([], 0.2)
    for budget in (-0.1, 1.5):
        with pytest.raises(OptionError, match="budget is"):
            method.teach(TEST, budget)
    with pytest.raises(DataError, match="call prepare"):
        TomTeacher(student(), teacher()).teach(TEST, 0.2)
    with pytest.raises(DataError, match="question 1 lacks"):
        method.prepare([TRAIN[0], Question("Why?", "yes")])
    with pytest.raises(DataError, match="There are 3 training questions"):
        method.prepare(TRAIN[:3])
    with pytest.raises(OptionError, match="Did you mean"):
        TomTeacher(student(), teacher(), strategy="utilities")
    with pytest.raises(OptionError, match="chat models"):
        TomTeacher("gpt", teacher())
    with pytest.raises(OptionError, match="nobody explains"):
        TomTeacher(student(), None, Estimator())
    with pytest.raises(OptionError, match="no mental model"):
        TomTeacher(student(), None, explainer="human")
    with pytest.raises(OptionError, match="expected 0 or more"):
        TomTeacher(student(), teacher(), demonstrations=-1)
    with pytest.raises(OptionError, match="reference is 'me'"):
        TomTeacher(student(), teacher(), reference="me")


def test_the_example_of_the_docs_runs_as_it_stands(tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    text = (Path(__file__).parents[3] / "docs" / "explaining.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]
    for name, questions in {"train.json": TRAIN, "dev.json": TEST}.items():
        rows = [
            {"qid": str(i), "term": q.topic, "question": q.question, "answer": q.answer == "yes", "facts": [q.explanation]}
            for i, q in enumerate(questions)
        ]
        (tmp_path / name).write_text(json.dumps(rows))
    monkeypatch.chdir(tmp_path)
    names = {"student": student(), "teacher": teacher()}
    exec(example, names)
    assert sum(item.taught for item in names["lesson"].items) == 16
    assert (tmp_path / "lessons" / "report.html").is_file()
    assert Memory("lessons.sqlite", read_only=True).count("lesson") == 80
