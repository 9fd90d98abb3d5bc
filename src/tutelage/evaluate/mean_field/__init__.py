"""Mean-field theory of a binary perceptron: order parameters of learning one task, and of learning a second from the first's posterior."""

from tutelage.evaluate.mean_field.fixed_point import fixed_point
from tutelage.evaluate.mean_field.perceptron import Theory, energy, first_task, generalisation_error
from tutelage.evaluate.mean_field.quadrature import hermite, legendre, normal, trapezoid
from tutelage.evaluate.mean_field.second_task import second_task

__all__ = [
    "Theory",
    "energy",
    "first_task",
    "fixed_point",
    "generalisation_error",
    "hermite",
    "legendre",
    "normal",
    "second_task",
    "trapezoid",
]
