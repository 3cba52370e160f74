"""CONTROL. Import of plugins: from a module, or from a file that is loaded again when it changes.

Failures are :class:`~lbproxy.config.errors.PluginError` with the line of the user's code.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from lbproxy.config.errors import PluginError

__all__ = ["import_object", "load_file", "member"]


def import_object(target: str) -> Any:
    """Return the object that ``MODULE:NAME`` names."""
    module, _, attribute = target.partition(":")
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise PluginError(_why(target, error, None)) from None
    return member(loaded, attribute, target)


def member(module: Any, attribute: str, target: str) -> Any:
    """Return an attribute of a module, which may contain dots. ``target``: its name in the
    error.
    """
    found = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise PluginError(f"{target!r}: there is no {attribute!r} in {module.__name__}")
    return found


_files: dict[str, tuple[tuple[int, int], Any]] = {}
"""Loaded files by path: (time of change and size, module).

An unchanged file gives the same classes again.
"""


def load_file(path: Path) -> Any:
    """Return the module of a Python file. A new or changed file is executed."""
    where = os.path.normpath(path.absolute())
    try:
        status = Path(where).stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PluginError(f"cannot read {path}: {reason}") from None
    stamp = (status.st_mtime_ns, status.st_size)
    if where in _files and _files[where][0] == stamp:
        return _files[where][1]
    module = _run_file(where)
    _files[where] = (stamp, module)
    return module


def _run_file(path: str) -> Any:
    from hashlib import blake2b

    name = f"lbproxy_file_{Path(path).stem}_{blake2b(path.encode(), digest_size=4).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # attrs and dataclasses look up their own module there
    try:
        # not exec_module, which trusts byte code by whole seconds: the file may have changed just
        # now
        exec(compile(Path(path).read_bytes(), path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise PluginError(_why(path, error, path)) from None
    return module


def _why(target: str, error: BaseException, path: str | None) -> str:
    """Return a description of an exception in a user's module, with its line."""
    import traceback

    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    place = target
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    if lines:
        place = f"{path}:{lines[-1].lineno}"
    elif path is None:
        outside = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if f.filename not in (__file__, importlib.__file__) and "importlib" not in f.filename
        ]
        if outside:
            place = f"{target}: {outside[-1].filename}:{outside[-1].lineno}"
    return f"{place}: {type(error).__name__}: {error}"
