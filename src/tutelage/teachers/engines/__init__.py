"""Ways to run a frozen network forward: as it is, folded, compiled, or through onnxruntime."""

from tutelage.teachers.engines.base import ENGINES, EngineError, EngineName

__all__ = ["ENGINES", "EngineError", "EngineName"]
