"""Language models: loading, sampling with log-probabilities, scoring, adapting; the ground of on-policy methods."""

from tutelage.models.language.generation import sample
from tutelage.models.language.parts import body, decomposes, head, unwrapped
from tutelage.models.language.rollouts import Rollouts
from tutelage.models.language.scoring import chosen_log_probs, log_probs, states

__all__ = ["Rollouts", "body", "chosen_log_probs", "decomposes", "head", "log_probs", "sample", "states", "unwrapped"]
