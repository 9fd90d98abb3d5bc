"""Verifiable tasks: questions whose answers a program can check, and rewards that only a right answer earns."""

from tutelage.data.verifiable.answers import BOXED, MARKER, FinalAnswer, same
from tutelage.data.verifiable.arithmetic import chain_sums
from tutelage.data.verifiable.choices import multiple_choice
from tutelage.data.verifiable.gym import GymAnswer, reasoning_gym
from tutelage.data.verifiable.scoring import Reward, rows_of, score

__all__ = [
    "BOXED",
    "MARKER",
    "FinalAnswer",
    "GymAnswer",
    "Reward",
    "chain_sums",
    "multiple_choice",
    "reasoning_gym",
    "rows_of",
    "same",
    "score",
]
