"""Teachers that choose the student's next task: `sample() -> task`, `update(task, value)`. Importing this package needs numpy alone."""

from tutelage.teachers.curricula.base import Curriculum, rescale
from tutelage.teachers.curricula.covar_gmm import CovarGMM
from tutelage.teachers.curricula.history import TaskHistory
from tutelage.teachers.curricula.mixture import Mixture, fit_mixtures, select
from tutelage.teachers.curricula.mixture_curriculum import MixtureCurriculum
from tutelage.teachers.curricula.oracle import Oracle
from tutelage.teachers.curricula.random import Random
from tutelage.teachers.curricula.riac import RIAC

__all__ = [
    "RIAC",
    "CovarGMM",
    "Curriculum",
    "Mixture",
    "MixtureCurriculum",
    "Oracle",
    "Random",
    "TaskHistory",
    "fit_mixtures",
    "rescale",
    "select",
]
