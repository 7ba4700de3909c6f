"""What a configuration file of gunicorn's says: it is Python, and evaluated as gunicorn does it."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader
from traceback import walk_tb
from types import ModuleType

_Value = bool | int | float | str | list[str]

# The name that gunicorn gives the module.
_NAME = "__config__"


def evaluate(location: str) -> dict[str, _Value]:
    """Give the names in a file, or in ``python:MODULE``, that may be settings, and what they hold."""
    # As gunicorn has it: the file may import what lies beside the application.
    sys.path.insert(0, os.getcwd())
    path = location.removeprefix("file:")
    try:
        if location.startswith("python:"):
            module = importlib.import_module(location.removeprefix("python:"))
        else:
            module = _load(path)
    except (Exception, SystemExit) as error:
        raise ValueError(_told(error, path)) from error
    names = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {name: _plain(value) for name, value in names.items() if not _is_foreign(value, module)}


def _load(path: str) -> ModuleType:
    loader = SourceFileLoader(_NAME, path)
    spec = importlib.util.spec_from_loader(_NAME, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    loader.exec_module(module)
    return module


def _told(error: BaseException, path: str) -> str:
    """Give an error in a few words, with the line of the file that it came from."""
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
    place = f"line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {error}"


def _is_foreign(value: object, module: ModuleType) -> bool:
    """Whether it is a module, or was imported from one; functions of the file's own may be hooks."""
    return isinstance(value, ModuleType) or getattr(value, "__module__", module.__name__) != module.__name__


def _plain(value: object) -> _Value:
    """Give it as a setting's value; of what cannot be one, such as a function, give what it is."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set):
        return [str(item) for item in value]
    if callable(value):
        return f"a {type(value).__name__}"
    return str(value)
