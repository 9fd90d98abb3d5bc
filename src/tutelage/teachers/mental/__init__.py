"""Mental models: what a teacher expects a student to answer, alone and with an explanation, from a few of its past answers."""

from tutelage.teachers.mental.base import MentalModel
from tutelage.teachers.mental.estimator import Estimator
from tutelage.teachers.mental.few_shot import FewShot

__all__ = ["Estimator", "FewShot", "MentalModel"]
