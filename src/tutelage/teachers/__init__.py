"""Who teaches, and how the teacher changes: frozen networks, moving averages, ensembles and routed specialists."""

from tutelage.teachers.base import Teacher, plain, without_graph
from tutelage.teachers.ema import EMA
from tutelage.teachers.engines.base import EngineError
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.memory import Memory
from tutelage.teachers.routed import Routed
from tutelage.teachers.stored import Stored

__all__ = [
    "EMA",
    "EngineError",
    "Ensemble",
    "Frozen",
    "Memory",
    "Routed",
    "Stored",
    "Teacher",
    "plain",
    "without_graph",
]
