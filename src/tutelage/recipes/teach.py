"""The user's own environment with a teacher by name: `tutelage.teach`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from tutelage.errors import OptionError, nearest

if TYPE_CHECKING:
    from tutelage.environments import TaskBox
    from tutelage.teachers.curricula import Curriculum
    from tutelage.train.policies import TaughtEnvs


def _kinds() -> dict[str, Callable[..., Curriculum]]:
    from tutelage.methods.control.alp_gmm import ALPGMM
    from tutelage.teachers.curricula import RIAC, CovarGMM, Oracle, Random

    return {"alp-gmm": ALPGMM, "riac": RIAC, "covar-gmm": CovarGMM, "oracle": Oracle, "random": Random}


def curriculum(name: str, box: TaskBox, **options: Any) -> Curriculum:
    """Return a teacher of tasks by its name.

    Args:
        name: `alp-gmm`, `riac`, `covar-gmm`, `oracle` or `random`.
        box: the tasks.
        **options: options of that teacher; `seed`, `value_range` (not for the oracle, which sees raw returns; it needs `step`), ...

    Raises:
        OptionError: for an unknown name or option.
    """
    kinds = _kinds()
    if name not in kinds:
        raise OptionError(f"No teacher of tasks is called '{name}'.{nearest(name, kinds)}")
    try:
        return kinds[name](box, **options)
    except TypeError as error:
        raise OptionError(f"The teacher '{name}' does not take these options: {error}.") from error


def teach(
    box: TaskBox,
    make: Callable[[Any], Any],
    teacher: str | Curriculum = "alp-gmm",
    *,
    envs: int = 1,
    seed: int = 0,
    subprocess: bool = False,
    on_failure: Literal["stop", "skip"] = "stop",
    **options: Any,
) -> TaughtEnvs:
    """Return environments for any student of Stable-Baselines3 in which a teacher chooses the task of every episode.

    Args:
        box: what tasks are: the bounds of every parameter.
        make: from a task vector to a Gymnasium environment.
        teacher: name of a teacher (`curriculum`), or a teacher.
        envs: environments side by side.
        seed: seed of the teacher and of the episodes.
        subprocess: run each environment in a process of its own.
        on_failure: `stop` at a task whose environment crashes or returns numbers that are not finite, or `skip` it.
        **options: options of the teacher.

    Returns:
        Vectorised environments; `.teacher` is the teacher and `.record` every task with its return.

    Raises:
        OptionError: for an unknown teacher or option.
    """
    from tutelage.train.policies import taught

    if isinstance(teacher, str):
        teacher = curriculum(teacher, box, **{"seed": seed} | options)
    elif options:
        raise OptionError(f"The teacher is given, so its options {sorted(options)} belong to its constructor.")
    elif teacher.box != box:
        raise OptionError(f"The teacher has the box {teacher.box}, which is not {box}.")
    return taught(make, teacher, envs=envs, seed=seed, subprocess=subprocess, on_failure=on_failure)
