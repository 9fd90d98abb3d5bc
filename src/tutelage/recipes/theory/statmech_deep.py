"""Deep networks of binary weights that learn real images task after task: variational, straight through, and metaplastic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from tutelage import data, evaluate
from tutelage.data.permuted import permuted_tasks
from tutelage.errors import OptionError
from tutelage.evaluate.forgetting import TaskMatrix, in_turn
from tutelage.methods.theory.statmech_continual import Annealed, StatMechContinual
from tutelage.models.binary import FieldMLP, SignMLP
from tutelage.train import Method, Supervised, TrainOptions
from tutelage.train.metaplastic import MetaplasticAdam

if TYPE_CHECKING:
    from tutelage.data import Arrays, DataSet
    from tutelage.recipes.theory.statmech_continual import DeepOptions, StatMechOptions
    from tutelage.report import Report
    from tutelage.train import Run

FINE_TUNING, STEP, QUADRATIC = "deep, gamma 0", "deep, one step back", "deep, quadratic"
OURS, STRAIGHT, METAPLASTIC = "deep, chosen gamma", "deep, straight-through", "deep, metaplastic, chosen m"
Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def tasks_of(deep: DeepOptions, seed: int) -> list[DataSet]:
    """Load the tasks that follow each other: permutations of one data set, or two data sets.

    Args:
        deep: options of the experiment.
        seed: seed of the split and of the permutations.

    Raises:
        OptionError: if two data sets differ in classes or shape.
    """
    first = _load(deep.data, deep, seed)
    if not deep.then:
        return permuted_tasks(first, deep.tasks, seed=seed)
    second = _load(deep.then, deep, seed)
    if (first.num_classes, first.shape) != (second.num_classes, second.shape):
        raise OptionError(
            f"'{deep.data}' has {first.num_classes} classes of inputs {first.shape}, '{deep.then}' {second.num_classes} of {second.shape}; "
            "the tasks of one network must agree in both."
        )
    return [first, second]


def _load(spec: str, deep: DeepOptions, seed: int) -> DataSet:
    whole = data.load(spec, validation=0.1, test=0.2, seed=seed)
    if deep.samples is None or len(whole.train) <= deep.samples:
        return whole
    return data.DataSet(whole.name, data.split(whole.train, {"train": deep.samples}, seed)["train"], whole.validation, whole.test)


class Learner:
    """Trains arms on the same tasks of one seed.

    Args:
        run: the run.
        deep: options of the experiment.
        options: options of the method.
        seed: seed of everything.
    """

    def __init__(self, run: Run, deep: DeepOptions, options: StatMechOptions, seed: int) -> None:
        self.run, self.deep, self.options, self.seed = run, deep, options, seed
        self.tasks = tasks_of(deep, seed)
        self.shape, self.classes = self.tasks[0].shape, self.tasks[0].num_classes

    def variational(self, options: StatMechOptions) -> tuple[Method, Optimizer]:
        """Return the method and its optimizer.

        Args:
            options: of the method.
        """
        torch.manual_seed(self.seed)
        deep = self.deep
        student = FieldMLP(num_classes=self.classes, input_shape=self.shape, widths=deep.widths)
        method = StatMechContinual(
            student,
            len(self.tasks[0].train),
            **asdict(options),
            sharpness=Annealed(deep.peak, deep.start, deep.slope),
            tasks=len(self.tasks),
        )
        return method, partial(torch.optim.Adam, lr=deep.learning_rate, betas=(0.9, 0.99))

    def straight_through(self, metaplasticity: float = 0.0) -> tuple[Method, Optimizer]:
        """Return a binary network that is trained straight through, and its optimizer.

        Args:
            metaplasticity: by which updates of its hidden weights towards zero are damped.
        """
        torch.manual_seed(self.seed)
        network = SignMLP(num_classes=self.classes, input_shape=self.shape, widths=self.deep.widths)
        return Supervised(network), partial(MetaplasticAdam, lr=self.deep.binary_learning_rate, metaplasticity=metaplasticity)

    def fit(self, arm: str, method: Method, optimizer: Optimizer) -> dict[str, TaskMatrix]:
        """Learn all tasks in their order.

        Args:
            arm: name of the arm.
            method: untrained.
            optimizer: builds its optimizer.

        Returns:
            The accuracies of validation and test data, in percent.
        """
        deep = self.deep
        # A schedule of the learning rate would start again with every task.
        train = TrainOptions(epochs=deep.epochs, batch_size=deep.batch_size, schedule="constant", checkpoint_every=deep.epochs)
        test = TaskMatrix(len(self.tasks))

        def learn(number: int, task: DataSet) -> None:
            if number and isinstance(method, StatMechContinual):
                method.consolidate()
            batches = data.Batches(task.train, deep.batch_size, seed=self.seed)
            name = f"seed-{self.seed}/{arm.replace(', ', '-').replace(' ', '-')}/task-{number + 1}"
            self.run.train(name, method, batches, train, seed=self.seed + number, optimizer=optimizer)
            test.record(self.accuracy(method, each.test) for each in self.tasks)

        validation = in_turn(self.tasks, learn, lambda task: self.accuracy(method, task.validation))
        return {"validation": validation, "test": test}

    def accuracy(self, method: Method, arrays: Arrays) -> float:
        """Return the accuracy in percent, of a stochastic student with draws of its own seed.

        Args:
            method: the method.
            arrays: labelled samples.
        """
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return evaluate.classification(*evaluate.predictions(method.predict, arrays))["accuracy"]

    def settled_accuracy(self, method: Method) -> float:
        """Return the average test accuracy over tasks when every weight takes its likelier value."""
        assert isinstance(method.student, FieldMLP)
        settled = Supervised(method.student.settled())
        return sum(self.accuracy(settled, task.test) for task in self.tasks) / len(self.tasks)


def compare(run: Run, report: Report, deep: DeepOptions, options: StatMechOptions) -> None:
    """Train every deep arm of every seed, and check the paper's sentences on them.

    Args:
        run: the run.
        report: where results go.
        deep: options of the experiment.
        options: options of the method.
    """
    first_task: dict[str, list[list[float]]] = {}
    for seed in run.seeds:
        for arm, matrix in _one_seed(Learner(run, deep, options, seed), report).items():
            first_task.setdefault(arm, []).append([row[0] for row in matrix.matrix])
    means = {arm: [sum(values) / len(values) for values in zip(*rows, strict=True)] for arm, rows in first_task.items()}
    learned = range(1, len(means[OURS]) + 1)
    report.curve("Test accuracy on the first task", learned, means, "tasks learned", "accuracy, percent")
    report.claim("Deep: the chosen gamma keeps a higher average accuracy over tasks than gamma 0.", OURS, FINE_TUNING, "accuracy")
    report.claim("Deep: it keeps more than a binary network trained straight through.", OURS, STRAIGHT, "accuracy")
    report.claim("Deep: it keeps more than the metaplastic binary network.", OURS, METAPLASTIC, "accuracy")
    report.claim("Deep: it forgets less than gamma 0.", OURS, FINE_TUNING, "forgetting", higher_is_better=False)
    report.note(
        "Deep networks: gamma and the metaplastic strength were chosen for every seed by the average validation accuracy over tasks "
        "after the last; accuracy is the average over tasks of test data then, from one stochastic forward pass; accuracy_settled that "
        "of the network in which every weight took its likelier value. The divergence is divided by the number of training samples."
    )


def _one_seed(learner: Learner, report: Report) -> dict[str, TaskMatrix]:
    """Train the arms of one seed and return their test accuracies."""
    deep, options, seed = learner.deep, learner.options, learner.seed
    found: dict[str, TaskMatrix] = {}
    scores: dict[str, float] = {}

    def fit(arm: str, built: tuple[Method, Optimizer]) -> None:
        method, optimizer = built
        matrices = learner.fit(arm.removeprefix("deep, "), method, optimizer)
        found[arm], scores[arm] = matrices["test"], matrices["validation"].average
        report.add(arm, seed, **_metrics(found[arm]))
        if isinstance(method, StatMechContinual):
            report.add(arm, seed, accuracy_settled=learner.settled_accuracy(method))

    def choose(name: str, arms: list[str]) -> None:
        best = max(arms, key=scores.__getitem__)
        found[name] = found[best]
        report.add(name, seed, **{metric: values[seed] for metric, values in report.values[best].items() if seed in values})

    fit(FINE_TUNING, learner.variational(replace(options, gamma=0.0)))
    gammas = sorted({*deep.gammas, options.gamma} - {0.0})
    for gamma in gammas:
        fit(f"deep, gamma {gamma:g}", learner.variational(replace(options, gamma=gamma)))
    choose(OURS, [f"deep, gamma {gamma:g}" for gamma in gammas])
    best = max(gammas, key=lambda gamma: scores[f"deep, gamma {gamma:g}"])
    fit(QUADRATIC, learner.variational(replace(options, gamma=best, divergence="quadratic")))
    fit(STEP, learner.variational(replace(options, anchor="step")))
    fit(STRAIGHT, learner.straight_through())
    for strength in deep.metaplasticities:
        fit(f"deep, metaplastic, m {strength:g}", learner.straight_through(strength))
    choose(METAPLASTIC, [f"deep, metaplastic, m {strength:g}" for strength in deep.metaplasticities])
    return found


def _metrics(matrix: TaskMatrix) -> dict[str, float]:
    return {"accuracy": matrix.average, "forgetting": matrix.forgetting, "accuracy_last_task": matrix.matrix[-1][-1]}
