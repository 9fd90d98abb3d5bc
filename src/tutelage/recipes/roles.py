"""Teachers and students from what the user gave: a specification, a live model, or a model of an earlier run."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from tutelage import evaluate, models
from tutelage.data import Batches, DataSet
from tutelage.errors import OptionError
from tutelage.recipes import trained
from tutelage.targets import TopK
from tutelage.teachers import Stored
from tutelage.train.supervised import Supervised

if TYPE_CHECKING:
    from tutelage.store import Store
    from tutelage.train.options import TrainOptions
    from tutelage.train.run import Run


def build(
    spec: Any,
    data: DataSet,
    *,
    role: Literal["student", "teacher"],
    seed: int = 0,
    class_names: str | None = None,
    answers: Literal["logits", "anything"] = "logits",
) -> nn.Module:
    """Return a model for a role, checked to answer this data set with one logit per class.

    Args:
        spec: a specification (see `tutelage.models.build`), `run:DIR` for the student of an earlier run, `teacher-of:DIR` for the teacher
            that an earlier run trained, or a live model. A live student is copied, so that every arm starts from the same weights.
        data: the data set whose inputs it takes.
        role: "teacher" or "student".
        seed: seed of a new model's weights.
        class_names: the model's classes in the order of its outputs, where that is not the data's (see `in_class_order`).
        answers: what it is checked to answer; "anything" leaves it unchecked.

    Raises:
        SpecError: if the specification names nothing usable.
        ShapeError: if the model does not fit the data.
    """
    torch.manual_seed(seed)
    scheme = next((head for head in trained.SCHEMES if isinstance(spec, str) and spec.startswith(head)), None)
    if scheme is not None:
        model = trained.load(Path(spec.removeprefix(scheme)), trained.SCHEMES[scheme], data)
    else:
        outputs = _outputs(spec, data, class_names)
        model = models.build(spec, num_classes=outputs, input_shape=data.shape, role=role, classes=data.classes)
        if model is spec and role == "student":
            model = copy.deepcopy(model)
    model = in_class_order(model, class_names, data)
    if answers == "logits":
        models.check_fits(model, data.train.gather(range(min(2, len(data.train))))["input"], data.num_classes, role)
    return model


def is_stored(spec: Any) -> bool:
    """Whether a teacher's specification names a label store."""
    return isinstance(spec, str) and spec.startswith("store:")


def view_of_store(spec: str, view: Any) -> str | None:
    """Return the name of the view that a store was labelled under, which is the only one that its answers fit.

    Args:
        spec: `store:DIR`.
        view: the view that was asked for; `None` or "none" for that of the store.

    Raises:
        OptionError: if another one was asked for.
    """
    from tutelage.store import Store

    held = Store.open(spec.removeprefix("store:")).view
    if view not in (None, "none", held):
        raise OptionError(
            f"{spec} holds answers to {'the view ' + repr(held) if held else 'plain inputs'}, but the view {view!r} was asked for. "
            "Leave out --view, or label again with that view and --views N."
        )
    return held


def stored(spec: str, data: DataSet, view: Any) -> Stored:
    """Return the teacher whose answers a store holds, checked to be about this data set.

    Args:
        spec: `store:DIR`.
        data: the data set.
        view: the store's view, or `None`.

    Raises:
        TutelageError: if the store is not whole, or is about other data.
    """
    from tutelage.store import Store
    from tutelage.store.pseudo import AsClassifier

    store = Store.open(spec.removeprefix("store:"))
    store.check(data=data)
    if store.keep == "text":
        return Stored(AsClassifier(store, data.parts))
    return Stored(store, view if store.views else None)


def check_stored(name: str, recipe: Any, options: Any, store: Store) -> None:
    """Refuse a method that cannot learn from what a store keeps.

    Args:
        name: the method.
        recipe: its recipe's module; `STORED` names the kinds of answers it learns from, logits by default.
        options: its options.
        store: the store.

    Raises:
        OptionError: if the store keeps something else, or keeps it at another temperature than the method's.
    """
    kind, _, count = store.keep.partition(":")
    able = getattr(recipe, "STORED", ("logits",))
    if kind not in able:
        raise OptionError(f"'{name}' learns from {' or '.join(able)}, but the store keeps {kind}. Label again with --keep {able[0]}.")
    temperature = getattr(options, "temperature", store.temperature)
    if kind == "top-k" and int(count) < len(store.classes) and temperature != store.temperature:
        raise OptionError(
            f"The store keeps the top {count} of {len(store.classes)} classes at temperature {store.temperature:g}, but '{name}' would use "
            f"{temperature:g}, which cannot be had from them: set --temperature {store.temperature:g}, or label anew with that one."
        )


def check_still(name: str, recipe: Any, options: Any) -> None:
    """Refuse a method that would train its teacher, when that is stored answers or an inference engine.

    Args:
        name: the method.
        recipe: its recipe's module; `TRAINS_TEACHER` names the option that says whether it does.
        options: its options.

    Raises:
        OptionError: if it does.
    """
    option = getattr(recipe, "TRAINS_TEACHER", None)
    if option is not None and getattr(options, option):
        raise OptionError(
            f"'{name}' trains its teacher too, which stored answers and inference engines cannot: add --no-{option.replace('_', '-')}, "
            "or give the teacher itself and the engine eager."
        )


def stored_logits(teacher: Stored, data: DataSet, part: str) -> Tensor:
    """Return what a store keeps of the teacher's answers to a part, as logits `[N, C]`; those of top-k share the rest evenly."""
    answer = teacher.store.read(part, data.parts[part].index)
    return answer.temperature * answer.dense(data.num_classes) if isinstance(answer, TopK) else cast(Tensor, answer)


def untrained(spec: Any, data: DataSet, class_names: str | None = None, *, answers: Literal["logits", "anything"] = "logits") -> bool:
    """Whether a teacher's specification names a network that has learned nothing yet, or nothing about its classes.

    Args:
        spec: the specification, or a live model.
        data: the data set.
        class_names: the teacher's classes, as for `build`.
        answers: what it is to say; a pretrained network has features to show whatever its head.
    """
    if not isinstance(spec, str) or not spec.startswith("tutelage:") or "weights=" in spec:
        return False
    if answers == "anything" and models.is_pretrained(spec):
        return False
    return not models.has_own_head(spec, _outputs(spec, data, class_names))


def _outputs(spec: Any, data: DataSet, class_names: str | None) -> int:
    """Outputs of a model that states none: as many as there are classes; as many as are named where it comes with its own."""
    return len(_names(class_names)) if class_names is not None and models.is_pretrained(spec) else data.num_classes


def _names(names: str) -> list[str]:
    path = Path(names)
    own = path.read_text().split("\n") if "," not in names and path.is_file() else names.split(",")
    return [name.strip() for name in own if name.strip()]


def in_class_order(model: nn.Module, names: str | None, data: DataSet) -> nn.Module:
    """Put a model's classes into the data's order; those that the data lacks are left out.

    Args:
        model: the model.
        names: its classes in the order of its outputs, separated by commas, or a file with one per line; `None`
            if that is the data's order.
        data: the data set.

    Raises:
        OptionError: if a class of the data is not among them.
    """
    if names is None:
        return model
    own = _names(names)
    missing = [name for name in data.classes if name not in own]
    if missing:
        raise OptionError(
            f"The teacher's classes ({', '.join(own[:8])}) lack {', '.join(missing[:8])} of '{data.name}'. "
            f"Name them as the data does: {', '.join(data.classes[:8])}."
        )
    return models.Adapted(model, class_order=[own.index(name) for name in data.classes])


def validation(data: DataSet) -> Any:
    """Return the validation of a classifier for the trainer: accuracy, ECE, NLL and Brier on the validation part."""

    def validate(method: Any) -> dict[str, float]:
        return evaluate.classification(*evaluate.predictions(method.predict, data.validation))

    return validate


def train_teacher(run: Run, model: nn.Module, data: DataSet, options: TrainOptions, *, seed: int, view: Any = None) -> None:
    """Train a teacher on the labels, in the run's directory `teacher`; its best weights on validation are kept.

    Args:
        run: the run.
        model: the teacher, trained in place.
        data: the data set.
        options: how to train.
        seed: seed of the data order.
        view: augmentation, or `None`.
    """
    run.say(f"Training the teacher ({models.count_parameters(model):,} parameters) for {options.epochs} epochs")
    batches = Batches(data.train, options.batch_size, seed=seed)
    run.train("teacher", Supervised(model, view=view), batches, replace(options, keep="best"), validation(data))
