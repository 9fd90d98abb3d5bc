"""`python:` specifications: data made by the user's own function."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.arrays import Arrays, DataSet
from tutelage.data.spec import Spec
from tutelage.errors import OptionError, SpecError, TutelageError, nearest


def function(spec: Spec) -> Callable[..., Any]:
    """Return the user's function that a specification names.

    Args:
        spec: `python:package.module:function` or `python:path/to/file.py:function`.

    Raises:
        SpecError: if the module or function does not exist.
    """
    module, _, name = spec.target.rpartition(":")
    if spec.kind != "python" or not module or not name:
        raise SpecError(f"'{spec.text}' names no function: expected python:package.module:factory or python:file.py:factory.")
    loaded = _import(spec, module)
    made: Any = getattr(loaded, name, None)
    if not callable(made):
        known = [n for n, v in vars(loaded).items() if callable(v) and not n.startswith("_")]
        raise SpecError(f"'{spec.text}': the module has no function '{name}'.{nearest(name, known) if known else ''}")
    found: Callable[..., Any] = made
    return found


def factory(spec: Spec) -> Arrays | DataSet:
    """Call `package.module:function` or `path/to/file.py:function`; options become its keyword arguments.

    Args:
        spec: the specification. Values that read as Python literals are passed as such, others as strings.

    Returns:
        What the function returned, as arrays or a data set.

    Raises:
        SpecError: if the module or function does not exist, raises, or returns something else.
        OptionError: if the function has no argument of an option's name.
    """
    made = function(spec)
    arguments = inspect.signature(made).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in arguments.values()):
        for option in spec.options:
            if option not in arguments:
                offered = nearest(option, arguments) if arguments else " It takes none."
                raise OptionError(f"'{spec.text}': the factory has no argument '{option}'.{offered}")
    return call(made, spec.text, {key: _literal(value) for key, value in spec.options.items()})


def call(made: Callable[..., Any], name: str, arguments: dict[str, Any] | None = None) -> Arrays | DataSet:
    """Call a data factory.

    Args:
        made: returns a `DataSet`, `Arrays`, or inputs and labels.
        name: what errors call it.
        arguments: keyword arguments.

    Returns:
        Arrays or a data set.

    Raises:
        SpecError: if it raises, or returns something else.
    """
    try:
        result = made(**(arguments or {}))
    except TutelageError:
        raise
    except Exception as error:
        raise SpecError(f"The data factory '{name}' raised {type(error).__name__}: {error}") from error
    return wrap(result, name)


def wrap(result: Any, name: str) -> Arrays | DataSet:
    """Turn `(inputs, labels)` into arrays; leave arrays and data sets as they are.

    Args:
        result: what a factory returned.
        name: what errors call it.

    Returns:
        Arrays or a data set.

    Raises:
        SpecError: if it is something else.
    """
    if isinstance(result, Arrays | DataSet):
        return result
    if not (isinstance(result, tuple) and len(result) == 2):
        raise SpecError(f"'{name}' gave a {type(result).__name__}: expected a DataSet, Arrays, or a tuple of inputs and labels.")
    inputs, labels = result
    if isinstance(inputs, np.ndarray | Tensor) and not isinstance(inputs, np.memmap):
        inputs = torch.as_tensor(inputs)
        inputs = inputs if inputs.dtype == torch.uint8 and inputs.ndim == 4 else inputs.float()
    try:
        numbers = torch.as_tensor(labels).long()
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError(f"The labels that '{name}' gave are not class numbers ({error}).") from error
    count = int(numbers.max()) + 1 if numbers.numel() else 0
    return Arrays({"input": inputs, "label": numbers}, tuple(str(c) for c in range(count)), name)


def _import(spec: Spec, module: str) -> ModuleType:
    try:
        if module.endswith(".py"):
            path = Path(module).expanduser()
            found = importlib.util.spec_from_file_location(path.stem, path)
            if found is None or found.loader is None or not path.is_file():
                raise SpecError(f"'{spec.text}': the file '{path}' does not exist.")
            loaded = importlib.util.module_from_spec(found)
            found.loader.exec_module(loaded)
            return loaded
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # as `python -m` does, for modules beside the user
        return importlib.import_module(module)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"'{spec.text}': the module '{module}' does not import: {type(error).__name__}: {error}") from error


def _literal(value: str) -> Any:
    if value.lower() in {"true", "false"}:
        return value.lower() == "true"
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
