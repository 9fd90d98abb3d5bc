"""Teachers that name subgoals: oracles, oracles with the errors of language models, recorded answers, and chat models.

A teacher of subgoals is called with (environment after its reset, seed of its level, generator) and returns a list of
`tutelage.environments.subgoals.Subgoal`, the last of which is the task itself.
"""

from tutelage.teachers.subgoals.chat import ChatTeacher, Tally
from tutelage.teachers.subgoals.embeddings import sentence_embeddings
from tutelage.teachers.subgoals.noise import LANGUAGE_MODELS, Extra, Near, Noise, Noisy, noise_of, ring
from tutelage.teachers.subgoals.oracle import oracle
from tutelage.teachers.subgoals.prompt import Parsed, parse, prompt
from tutelage.teachers.subgoals.recorded import Recorded, quality, record, write_recorded

__all__ = [
    "LANGUAGE_MODELS",
    "ChatTeacher",
    "Extra",
    "Near",
    "Noise",
    "Noisy",
    "Parsed",
    "Recorded",
    "Tally",
    "noise_of",
    "oracle",
    "parse",
    "prompt",
    "quality",
    "record",
    "ring",
    "sentence_embeddings",
    "write_recorded",
]
