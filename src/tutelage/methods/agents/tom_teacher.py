"""ToM-Teacher: a teacher explains to a student only where its mental model of that student promises the most.

Before it helps, the teacher foretells from a few of the student's past answers how it will answer alone and with the explanation; the
items with the largest difference get explanations, up to a budget, in the style that helped this student before.

Reference: S. Saha, P. Hase, M. Bansal. "Can Language Models Teach? Teacher Explanations Improve Student Performance via Personalization."
NeurIPS 2023. arXiv 2306.09299.
Tags: agents, language models, explanations, theory of mind, budget, personalisation, chain of thought, in-context learning, alignment
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from tutelage.data.explained_questions import Question
from tutelage.errors import DataError, OptionError
from tutelage.evaluate.budget_curve import BothWays
from tutelage.models.chat import Chat, Sampling
from tutelage.models.chat.answering import Answered, answer_alone, answer_given, explain_then_answer
from tutelage.models.chat.meter import Meter
from tutelage.report.lesson import Lesson, Taught
from tutelage.selection.budgeted import ALL, STRATEGIES, Signals, Strategy, allowed, intervene, needs
from tutelage.selection.demonstrations import balanced, useful
from tutelage.store.memory import Memory
from tutelage.store.remembered import Remembered
from tutelage.teachers.explainer import Explainer, Kind
from tutelage.teachers.mental import FewShot, MentalModel
from tutelage.views.explaining import Demo, gold

LIKELIHOODS = frozenset({"true_pre", "true_post", "confidence", "teacher"})
"""Signals for which replies need log-probabilities."""
_ALTERNATIVES = 20


class TomTeacher:
    """A teacher with a mental model of one student, for chat models of every kind; no weight of any is changed.

    1. `prepare`: the student's demonstrations are drawn; training questions are asked of it, alone and with explanations, until there
       are enough useful demonstrations for the teacher and enough answers for the mental model.
    2. `teach`: for every item the teacher's explanation e_T and `U = p_post(y | x, e_T) - p_pre(y | x)`; the floor(B N) items of the
       largest U are answered with e_T in the place of the student's own explanation, the others alone.
    3. `demonstrate`: k explained items become the student's demonstrations, from which it answers new items `alone` (several turns).

    Batch: none; a list of `Question` takes its place. Items need a right answer only for `reference="gold"` and to measure the gain,
    training questions always need one, and an explanation.

        method = TomTeacher(student, teacher, memory="lessons.sqlite")
        method.prepare(train)
        lesson = method.teach(items, budget=0.2)
        print(lesson.answers)
        lesson.report().save("lessons")

    Args:
        student: who is taught.
        teacher: who explains; `None` where the explainer is "human" or "harmful".
        mental: mental model; by default the teacher itself as a few-shot prompt (`FewShot(teacher)`).
        strategy: whom to teach first: "utility", "random", "least-pre", "most-post", "least-confidence", "true-pre", "true-post",
            "true-utility", "teacher-confidence", "oracle", "deceive", or a function of `Signals`. Default "utility".
        explainer: "cot" (explain, then answer; the student's demonstrations), "rationalise" (answer, then because), "personalised" (as
            "cot", with demonstrations that helped this student), "human" (the question's own explanation) or "harmful" (one of its
            harmful ones). Default "cot".
        demonstrations: in the prompts of student and blind teacher. Default 4; 2 in the paper's study of several turns.
        mental_demonstrations: of the student's answers, alone and taught each, for the mental model. Default 4.
        useful_demonstrations: in the prompt of a personalised teacher. Default 4.
        per_topic: a personalised teacher sees useful demonstrations of the question's own topic, where there are any. Default False.
        balance: as many of the student's yes as of its no among the mental model's demonstrations. Default True.
        reference: y of U: "gold", or "teacher" for the teacher's own answer. Default "gold".
        alone: what the student does alone: "explain" (chain of thought) or "answer". Default "explain".
        pool: most training questions that are asked for each purpose. Default 200.
        max_tokens: longest reply. Default 100.
        memory: file in which replies, observations and lessons are kept; a run that failed goes on from there. A chat model is known by
            its `fingerprint`, or else its `name`: programs that answer differently need different names. Default none.
        seed: of demonstrations and of chance. Default 41, the first of the paper's.

    Raises:
        OptionError: for an option out of range, or something that is no chat model.

    Source: arXiv 2306.09299 and the code published with it; the words of the prompts are ours.
    """

    def __init__(
        self,
        student: Chat,
        teacher: Chat | None = None,
        mental: MentalModel | None = None,
        *,
        strategy: str | Strategy = "utility",
        explainer: Kind = "cot",
        demonstrations: int = 4,
        mental_demonstrations: int = 4,
        useful_demonstrations: int = 4,
        per_topic: bool = False,
        balance: bool = True,
        reference: Literal["gold", "teacher"] = "gold",
        alone: Literal["explain", "answer"] = "explain",
        pool: int = 200,
        max_tokens: int = 100,
        memory: str | Path | Memory | None = None,
        seed: int = 41,
    ) -> None:
        self.needs = needs(strategy)
        if reference not in ("gold", "teacher") or alone not in ("explain", "answer"):
            raise OptionError(f"reference is '{reference}' and alone '{alone}'; expected 'gold' or 'teacher', and 'explain' or 'answer'.")
        counts = (demonstrations, mental_demonstrations, useful_demonstrations, pool)
        if min(counts) < 0:
            raise OptionError(f"Numbers of demonstrations, and the pool, are {counts}; expected 0 or more.")
        if not isinstance(student, Chat) or not isinstance(teacher, Chat | None):
            raise OptionError("student and teacher must be chat models, with a method complete(conversations); see tutelage.models.chat.")
        self.memory = Memory(memory) if isinstance(memory, str | Path) else memory
        self.meter = Meter()
        self.student = self._metered("student", student)
        self.explain = Explainer(None if teacher is None else self._metered("teacher", teacher), explainer, per_topic=per_topic, seed=seed)
        self.mental = mental
        if mental is None and teacher is not None:
            self.mental = FewShot(self._metered("mental", teacher))
        if self.mental is None and self.needs & {"pre", "post"}:
            raise OptionError("There is no mental model: give one, such as teachers.mental.Estimator(), or a teacher that can be one.")
        self.strategy, self.reference, self.mode, self.balance = strategy, reference, alone, balance
        self.demonstrations, self.mental_demonstrations, self.useful_demonstrations, self.pool = counts
        self.max_tokens, self.seed = max_tokens, seed
        self.demos: list[Demo] = []
        self.prepared = False

    def prepare(self, train: Sequence[Question]) -> None:
        """Draw demonstrations and get to know the student.

        Args:
            train: training questions with answers and explanations, none of which should be taught later.

        Raises:
            DataError: if there are too few, or one lacks its answer or explanation.
            ChatError: if a model cannot be reached; what was answered is in the memory, if there is one.
        """
        poor = next((place for place, question in enumerate(train) if not question.answer or not question.explanation), None)
        if poor is not None:
            raise DataError(f"Training question {poor} lacks its answer or its explanation. Correct it or take it out.")
        if len(train) <= self.demonstrations:
            raise DataError(
                f"There are {len(train)} training questions: expected more than the student's {self.demonstrations} demonstrations."
            )
        chance = random.Random(self.seed)
        order = chance.sample(list(train), len(train))
        rest = order[self.demonstrations :]
        self.demos = [gold(question) for question in order[: self.demonstrations]]
        self.explain.demos, self.prepared = self.demos, True
        if self.explain.kind == "personalised":
            self.explain.useful = self._useful(chance.sample(rest, len(rest)))
        if self.mental is not None and self.needs & {"pre", "post"}:
            some = chance.sample(rest, len(rest))
            self.mental.observe(self._observed(some, taught=False), self._observed(some, taught=True))

    def teach(self, questions: Sequence[Question], budget: float, *, measure: bool = True) -> Lesson:
        """Let the student answer, with explanations for a share of the items.

        Args:
            questions: the items, N.
            budget: B, share of the items that may be taught, in [0, 1]; floor(B N) are.
            measure: also ask the student alone where it is taught, to know whether that helped.

        Returns:
            The answers, what was taught, when, at what cost, and whether it helped.

        Raises:
            DataError: for no items, items without an answer where that is the reference, or a student that was not prepared for.
            OptionError: for a budget out of range.
            ChatError: if a model cannot be reached; what was answered is in the memory, if there is one.
        """
        self._check(questions)
        allowed(budget, len(questions))
        before = self.meter.snapshot()
        table = _Table(self, questions, likelihoods=bool(self.needs & LIKELIHOODS))
        if measure:
            table.alone(range(len(questions)))
        signals = self._signals(table, self.needs)
        weights = intervene(self.strategy, signals, budget, torch.Generator().manual_seed(self.seed))
        chosen = weights.nonzero()[:, 0].tolist()
        table.taught(chosen)
        table.alone((weights == 0).nonzero()[:, 0].tolist())
        items = [table.item(place, signals, bool(weights[place] > 0)) for place in range(len(questions))]
        again = sum(answered.again for answered in table.of_student.values())
        lesson = Lesson(items, float(budget), self.meter.since(before), measure, again, "tom-teacher")
        self._log("lesson", lesson.rows())
        return lesson

    def study(self, questions: Sequence[Question], signals: frozenset[str] = ALL) -> BothWays:
        """Let the student answer every item both ways and ask for every signal: for experiments, not to save anything.

        Args:
            questions: the items, N, with right answers.
            signals: which to ask for.

        Returns:
            What has the accuracies of all strategies at all budgets.
        """
        self._check(questions)
        table = _Table(self, questions, likelihoods=bool(signals & LIKELIHOODS))
        table.alone(range(len(questions)))
        table.taught(range(len(questions)))
        right = [
            torch.tensor([found[place].answer == question.answer for place, question in enumerate(questions)])
            for found in (table.of_student, table.of_taught)
        ]
        return BothWays(self._signals(table, signals), *right)

    def expect(self, questions: Sequence[Question]) -> Signals:
        """Return what the mental model expects of the student, alone (`pre`) and with the teacher's explanations (`post`)."""
        self._check(questions)
        return self._signals(_Table(self, questions), frozenset({"pre", "post"}))

    def alone(self, questions: Sequence[Question], demos: Sequence[Demo] | None = None, *, likelihoods: bool = False) -> list[Answered]:
        """Return what the student answers without help.

        Args:
            questions: what to ask.
            demos: its demonstrations; by default those of `prepare`.
            likelihoods: ask for log-probabilities too.
        """
        ask = explain_then_answer if self.mode == "explain" else answer_alone
        return ask(self.student, questions, [self.demos if demos is None else demos] * len(questions), sampling=self.sampling(likelihoods))

    def taught(self, questions: Sequence[Question], explanations: Sequence[str], *, likelihoods: bool = False) -> list[Answered]:
        """Return what the student answers with explanations in the place of its own."""
        return answer_given(self.student, questions, explanations, [self.demos] * len(questions), sampling=self.sampling(likelihoods))

    def demonstrate(
        self,
        train: Sequence[Question],
        count: int,
        *,
        order: Literal["random", "utility", "deceive"] = "random",
        explained: Literal["teacher", "human", "none"] = "teacher",
    ) -> list[Demo]:
        """Return k items as the student's new demonstrations, with which it can answer others alone (several turns).

        Args:
            train: what to choose from.
            count: k; 2, 4, 6, 8 or 10 in the paper.
            order: which, and in which order: "random", by "utility", or by the least of it ("deceive").
            explained: "teacher" for its explanations and answers, "human" for those of people, "none" for right answers alone.

        Raises:
            OptionError: if there are fewer than k.
        """
        if not 0 <= count <= len(train):
            raise OptionError(f"{count} demonstrations were asked of {len(train)} questions: expected 0 to {len(train)}.")
        generator = torch.Generator().manual_seed(self.seed)
        signals = Signals(len(train)) if order == "random" else self._signals(_Table(self, train), needs(order))
        places = STRATEGIES[order](signals, generator).argsort(descending=True, stable=True)[:count].tolist()
        some = [train[place] for place in places]
        if explained == "teacher":
            told = self.explain(some, sampling=self.sampling())
            found = [Demo(q, answered.answer or q.answer, answered.explanation) for q, answered in zip(some, told, strict=True)]
        else:
            found = [gold(q) if explained == "human" else Demo(q, q.answer) for q in some]
        self._log("demonstrated", [_row(demo) for demo in found])
        return found

    def sampling(self, likelihoods: bool = False) -> Sampling:
        """Return how replies are drawn."""
        return Sampling(temperature=0.0, max_tokens=self.max_tokens, log_probs=_ALTERNATIVES if likelihoods else None)

    def _useful(self, pool: Sequence[Question]) -> list[Demo]:
        """Return the first training questions whose human explanation turned the student's wrong answer right."""
        found: list[Demo] = []
        for some in _chunks(pool[: self.pool], self.useful_demonstrations):
            post = self.taught(some, [q.explanation for q in some])
            weights = useful([a.answer for a in self.alone(some)], [a.answer for a in post], [q.answer for q in some])
            for place in weights.nonzero()[:, 0].tolist():
                alike = [d for d in found if not self.explain.per_topic or d.question.topic == some[place].topic]
                if len(alike) < self.useful_demonstrations:
                    found.append(gold(some[place]))
            if not self.explain.per_topic and len(found) == self.useful_demonstrations:
                break
        self._log("useful", [_row(demo) for demo in found])
        return found

    def _observed(self, pool: Sequence[Question], *, taught: bool) -> list[Demo]:
        """Return what the student answered to training questions, alone or taught: as many of each answer as of the others."""
        seen: list[Demo] = []
        choices = pool[0].choices if self.balance and pool[0].kind == "yes-no" else ()
        for some in _chunks(pool[: self.pool], self.mental_demonstrations):
            why = [told.explanation for told in self.explain(some, sampling=self.sampling())] if taught else [""] * len(some)
            answered = self.taught(some, why) if taught else self.alone(some)
            seen += [Demo(q, a.answer, w) for q, a, w in zip(some, answered, why, strict=True) if a.answer is not None]
            answers = [demo.answer for demo in seen]
            share = self.mental_demonstrations // max(len(choices), 1)
            if len(seen) >= self.mental_demonstrations and all(answers.count(choice) >= share for choice in choices):
                break
        weights = balanced([demo.answer for demo in seen], self.mental_demonstrations, choices)
        kept = [seen[place] for place in weights.nonzero()[:, 0].tolist()]
        kept = random.Random(self.seed).sample(kept, len(kept))
        self._log("observed taught" if taught else "observed alone", [_row(demo) for demo in kept])
        return kept

    def _signals(self, table: _Table, wanted: frozenset[str]) -> Signals:
        """Ask for the signals that are wanted, and for nothing else."""
        everything, questions = range(len(table.questions)), table.questions
        if self.reference == "teacher" or wanted & {"post", "true_post", "teacher"}:
            table.told(everything)
        references = [q.answer if self.reference == "gold" else table.of_teacher[i].answer or "" for i, q in enumerate(questions)]
        found: dict[str, Tensor] = {}
        if self.mental is not None and "pre" in wanted:
            found["pre"] = self.mental.predict(questions, references)
        if self.mental is not None and "post" in wanted:
            found["post"] = self.mental.predict(questions, references, [table.of_teacher[i].explanation for i in everything])
        if wanted & {"true_pre", "confidence", "wrong"}:
            table.alone(everything)
        if "true_post" in wanted:
            table.taught(everything)
        asked = {"true_pre": table.of_student, "true_post": table.of_taught, "teacher": table.of_teacher}
        for name in wanted & set(asked):
            found[name] = torch.tensor([asked[name][i].likely(reference) for i, reference in enumerate(references)])
        if "confidence" in wanted:
            found["confidence"] = torch.tensor([max((table.of_student[i].probabilities or {"": 1.0}).values()) for i in everything])
        if "wrong" in wanted:
            found["wrong"] = torch.tensor([table.of_student[i].answer != reference for i, reference in enumerate(references)])
        return Signals(len(questions), **found)

    def _check(self, questions: Sequence[Question]) -> None:
        if not questions:
            raise DataError("There are no items to teach: expected at least one question.")
        if not self.prepared and (self.demonstrations or self.needs & {"pre", "post"} or self.explain.kind == "personalised"):
            raise DataError("The teacher does not know this student yet: call prepare(train) with training questions first.")
        unknown = next((place for place, q in enumerate(questions) if not q.answer), None)
        if self.reference == "gold" and unknown is not None and self.needs:
            raise DataError(f"Item {unknown} has no right answer: give one, or take the teacher's with reference='teacher'.")

    def _metered(self, role: str, chat: Chat) -> Chat:
        if self.memory is not None:
            who = getattr(chat, "fingerprint", None) or getattr(chat, "name", None) or type(chat).__name__
            chat = Remembered(chat, self.memory, name=f"{role} {who}")
        return self.meter.of(chat, role)

    def _log(self, kind: str, rows: Sequence[dict[str, object]]) -> None:
        if self.memory is not None:
            with self.memory.transaction():
                for row in rows:
                    self.memory.append(kind, row, key="tom-teacher")


class _Table:
    """Who answered what to which item; every question is asked once, when somebody needs its answer."""

    def __init__(self, method: TomTeacher, questions: Sequence[Question], *, likelihoods: bool = False) -> None:
        self.method, self.questions, self.likelihoods = method, questions, likelihoods
        self.of_student: dict[int, Answered] = {}
        self.of_teacher: dict[int, Answered] = {}
        self.of_taught: dict[int, Answered] = {}

    def alone(self, places: Iterable[int]) -> None:
        new = [place for place in places if place not in self.of_student]
        answered = self.method.alone([self.questions[i] for i in new], likelihoods=self.likelihoods)
        self.of_student.update(zip(new, answered, strict=True))

    def told(self, places: Iterable[int]) -> None:
        new = [place for place in places if place not in self.of_teacher]
        answered = self.method.explain([self.questions[i] for i in new], sampling=self.method.sampling(self.likelihoods))
        self.of_teacher.update(zip(new, answered, strict=True))

    def taught(self, places: Iterable[int]) -> None:
        new = [place for place in places if place not in self.of_taught]
        self.told(new)
        why = [self.of_teacher[i].explanation for i in new]
        answered = self.method.taught([self.questions[i] for i in new], why, likelihoods=self.likelihoods)
        self.of_taught.update(zip(new, answered, strict=True))

    def item(self, place: int, signals: Signals, taught: bool) -> Taught:
        """Return what became of one item."""
        question, own, told = self.questions[place], self.of_student.get(place), self.of_teacher.get(place)
        final = self.of_taught[place] if taught else self.of_student[place]
        expected = tuple(None if value is None else float(value[place]) for value in (signals.pre, signals.post))
        return Taught(
            question.question,
            question.answer,
            final.answer,
            own.answer if own else None,
            taught,
            told.explanation if told else "",
            (expected[0], expected[1]),
        )


def _chunks(pool: Sequence[Question], count: int) -> Iterator[Sequence[Question]]:
    """Return a pool in pieces of four times what is looked for, sixteen at least."""
    size = max(4 * count, 16)
    for start in range(0, len(pool) if count else 0, size):
        yield pool[start : start + size]


def _row(demo: Demo) -> dict[str, object]:
    return {"question": demo.question.question, "gold": demo.question.answer, "answer": demo.answer, "explanation": demo.explanation}
