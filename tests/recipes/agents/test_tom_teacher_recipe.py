from dataclasses import replace

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("transformers")
from tutelage.data.fact_world import STYLES, TOPICS, Asked, FactWorld, greater, last_asked, style_of
from tutelage.errors import CheckpointError
from tutelage.methods.agents.tom_teacher import TomTeacher
from tutelage.models.chat import Message, Scripted
from tutelage.models.language import encode
from tutelage.recipes.agents import tom_teacher_roles as roles
from tutelage.recipes.agents.tom_teacher import (
    ALONE,
    DECEIVE,
    LANGUAGE,
    PERSONALISED,
    TURNS,
    TomTeacherOptions,
    TomTeacherRecipe,
    kept,
)
from tutelage.recipes.agents.tom_teacher_smol import add
from tutelage.recipes.agents.tom_teacher_students import KNOWN, READS, lessons, logs, word_tokenizer
from tutelage.recipes.recipe import report_for
from tutelage.teachers.mental import Estimator
from tutelage.train import Run

SMALL = TomTeacherOptions(demonstrations=0, mental_demonstrations=4, useful_demonstrations=2, per_topic=True, pool=32, max_tokens=12)
TINY = TomTeacherRecipe(
    entities=12,
    test=24,
    train=48,
    observed=(4,),
    width=16,
    layers=1,
    rows=768,
    mental_rows=32,
    mental_width=16,
    mental_layers=1,
    mental_items=4,
    turns=(2, 6),
    options=SMALL,
)


@pytest.mark.slow
def test_the_quick_recipe_shows_the_papers_effect():
    report = TomTeacherRecipe().quick().run(Run(seeds=range(5), quick=True))
    at = "accuracy at B=0.4"
    alone = report.mean(ALONE, "accuracy")
    assert report.mean("utility", at) >= report.mean("random", at) + 5
    assert report.mean("utility", at) >= alone + 5
    assert report.mean("true-utility", at) > report.mean("utility", at)
    assert report.mean(PERSONALISED, "accuracy at B=1") >= report.mean("utility", "accuracy at B=1") + 5
    assert report.mean(DECEIVE, "accuracy at B=1") <= alone - 10
    assert report.mean("oracle", at) == report.mean("oracle", "accuracy at B=1")
    for strategy in ("random", "least-pre", "most-post", "true-utility", "teacher-confidence"):
        assert report.mean(strategy, "accuracy at B=1") == report.mean("utility", "accuracy at B=1")
    assert len(report.curves) == 3
    assert report.pictures


@pytest.mark.slow
def test_decoders_go_through_the_whole_recipe_and_a_run_is_taken_up(tmp_path):
    whole = TINY.run(Run(tmp_path / "a", seeds=(0,)))
    assert LANGUAGE in whole.values
    assert set(TURNS.values()) < set(whole.values)
    assert whole.values[TURNS["teacher"]].keys() == {"accuracy after 2", "accuracy after 6"}
    assert (tmp_path / "a" / "seed-0" / "student").is_dir()
    again = TINY.run(Run(tmp_path / "a", seeds=(0,), resume=True))
    assert again.values == whole.values


def test_what_a_student_learns_from():
    world = FactWorld(20, seed=0)
    known = world.entities[:10]
    prompts, answers = lessons(world, 600, known=known, seed=0)
    own = [(p, a) for p, a in zip(prompts, answers, strict=True) if p.endswith("A:")]
    given = [(p, a) for p, a in zip(prompts, answers, strict=True) if not p.endswith("A:")]
    assert 150 < len(own) < 250
    for prompt, answer in own:
        asked = last_asked(prompt)
        assert asked.topic in KNOWN
        assert {asked.first, asked.second} <= set(known)
        assert answer == f"{world.explain(asked, 'numbers')} So the answer is {'yes' if world.right(asked) else 'no'}"
    followed = 0
    for prompt, answer in given:
        asked, style = last_asked(prompt), style_of(prompt)
        follows = asked.topic in READS[style]
        followed += follows
        assert answer == ("yes" if follows and greater(prompt) == asked.first else "no")
    assert 250 < followed < 350
    assert lessons(world, 600, known=known, seed=0) == (prompts, answers)


def test_the_tokenizer_has_a_token_for_every_word_and_gives_texts_back():
    world = FactWorld(20, seed=0)
    tokenizer = word_tokenizer(world)
    texts = [*lessons(world, 50, known=world.entities, seed=0)[0], *logs(world, 4, 5, seed=0)]
    for text, tokens in zip(texts, encode(tokenizer, texts), strict=True):
        assert tokenizer.unk_token_id not in tokens
        assert tokenizer.decode(tokens) == " ".join(text.split())
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Q: Is E1"}], tokenize=False, add_generation_prompt=True)
    assert chat == "Q: Is E1"


def test_logs_of_other_students_are_what_a_mental_model_is_shown():
    alone, taught = logs(FactWorld(20, seed=0), 2, 5, seed=0)
    assert alone.count("AI's answer:") == taught.count("AI's answer:") == 5
    assert "So the answer is" not in alone
    assert taught.count("So the answer is") == 5
    assert alone.split()[-1] in ("yes", "no")
    right = {True: [], False: []}
    for text in logs(FactWorld(20, seed=0), 200, 9, seed=1, alike=1.0)[1::2]:
        for item in text.split("\n\n")[1:]:
            right[last_asked(item).topic in READS[style_of(item)]].append(item.split()[-1] == item.split("Correct answer: ")[1].split()[0])
    assert 0.92 < sum(right[True]) / len(right[True]) < 0.98
    assert 0.42 < sum(right[False]) / len(right[False]) < 0.58


def test_the_teacher_looks_facts_up_with_errors_and_imitates_its_demonstrations():
    world = FactWorld(40, seed=0)
    questions = world.questions(800, seed=0)

    def wrong(**options):
        program = roles.teacher(world, seed=0, **options)
        said = [program((Message("user", f"Q: {q.question}\nA:"),)) for q in questions]
        assert all(text.endswith("yes") == (greater(text) == last_asked(q.question).first) for text, q in zip(said, questions, strict=True))
        return sum(not text.endswith(q.answer) for text, q in zip(said, questions, strict=True)) / len(said)

    assert 0.02 < wrong() < 0.08
    assert wrong(errors=0.0) == 0.0
    assert wrong(lies=True) == 1.0
    age = Asked("E1", "E2", "age")
    shown = "\n\n".join(f"Q: Is E3 more than E4 in age ?\nA: {world.explain(Asked('E3', 'E4', 'age'), style)}" for style in STYLES[1:] * 2)
    for seed in range(6):
        said = roles.teacher(world, seed=seed, imitates=True)((Message("user", f"{shown}\n\nQ: Is E1 more than E2 in age ?\nA:"),))
        assert style_of(said) == "relation"
        other = roles.teacher(world, seed=seed, imitates=True)((Message("user", f"{shown}\n\nQ: Is E1 more than E2 in heat ?\nA:"),))
        assert style_of(other) == style_of(roles.teacher(world, seed=seed)((Message("user", "Q: Is E1 more than E2 in heat ?\nA:"),)))
    assert age.topic == "age"


def test_a_student_that_is_a_table_answers_by_it():
    world = FactWorld(40, seed=0)
    knows = dict.fromkeys(TOPICS, 0.8)
    reads = {(topic, style): 0.9 * (style == "numbers") for topic in TOPICS for style in STYLES}
    program = roles.student(world, knows, reads, seed=0)
    questions = world.questions(800, seed=0)

    def right(explain):
        said = [program((Message("user", f"Q: {q.question}\nA:{explain(q)}"),)) for q in questions]
        return sum(reply.text.endswith(q.answer) for reply, q in zip(said, questions, strict=True)) / len(said)

    assert 0.76 < right(lambda q: "") < 0.84
    assert 0.92 < right(lambda q: f" {world.explain(last_asked(q.question), 'numbers')} So the answer is") < 0.98
    assert 0.44 < right(lambda q: f" {world.explain(last_asked(q.question), 'relation')} So the answer is") < 0.56


def test_a_real_model_is_reported_for_the_record():
    world = FactWorld(20, seed=0)
    table = roles.student(world, dict.fromkeys(TOPICS, 0.6), {(t, s): 0.9 for t in TOPICS for s in STYLES}, seed=0)
    report = report_for(Run(seeds=(0,)), "A report")
    method = TomTeacher(Scripted(table), mental=Estimator(), explainer="human", demonstrations=2)
    add(report, method, world.questions(40, seed=0), world.questions(40, seed=1), 0)
    assert report.mean("SmolLM2, utility", "accuracy at B=1") == report.mean("SmolLM2, random", "accuracy at B=1")
    assert "40 questions of StrategyQA" in report.notes[0]
    assert not report.claims


def test_options_reach_the_method():
    recipe = replace(TINY, options=replace(SMALL, reference="teacher", alone="answer"))
    world = FactWorld(12, seed=0)
    method = recipe.method(Scripted(lambda said: "yes"), roles.teacher(world, seed=0), Estimator(), 7, explainer="rationalise")
    assert (method.reference, method.mode, method.explain.kind, method.seed) == ("teacher", "answer", "rationalise", 7)
    assert (method.demonstrations, method.pool, method.max_tokens) == (0, 32, 12)


def test_damaged_curves_are_named(tmp_path):
    run = Run(tmp_path / "a", seeds=(0,))
    assert kept(run, "seed-0/curves.json", lambda: {"utility": [1.0, 2.0]}) == {"utility": [1.0, 2.0]}
    assert kept(run, "seed-0/curves.json", lambda: {}) == {"utility": [1.0, 2.0]}
    (tmp_path / "a" / "seed-0" / "curves.json").write_text("[1")
    with pytest.raises(CheckpointError, match="damaged"):
        kept(run, "seed-0/curves.json", lambda: {})
