"""Put a mutation into a process that has imported the module: functions get other code."""

from __future__ import annotations

import ast
import gc
from collections.abc import Collection, Iterator
from types import CodeType, FunctionType

from mutations import mutate

__all__ = ["Key", "functions", "mutated", "replace"]

Key = tuple[str, str, int]
"""File, qualified name and first line of a function."""


def functions(paths: Collection[str]) -> dict[Key, list[FunctionType]]:
    """Return all functions of these files in this process.

    There may be several with one key: attrs makes a class with slots from another class.
    """
    gc.unfreeze()
    found: dict[Key, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename in paths:
            found.setdefault(_key(thing.__code__), []).append(thing)
    return found


def mutated(path: str, source: str, index: int) -> dict[Key, CodeType]:
    """Return the code that a mutation changes, the outer functions included."""
    before = dict(_codes(compile(ast.parse(source), path, "exec", dont_inherit=True)))
    after = _codes(compile(mutate(source, index), path, "exec", dont_inherit=True))
    return {key: code for key, code in after if before.get(key) != code}


def replace(codes: dict[Key, CodeType], known: dict[Key, list[FunctionType]]) -> bool:
    """Give the functions their new code; return whether any of them exists.

    ValueError if a mutation removes the only use of an outer variable or of ``super()``.
    """
    found = [(function, code) for key, code in codes.items() for function in known.get(key, ())]
    for function, code in found:
        function.__code__ = code
    return bool(found)


def _codes(code: CodeType) -> Iterator[tuple[Key, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield _key(constant), constant
            yield from _codes(constant)


def _key(code: CodeType) -> Key:
    return code.co_filename, code.co_qualname, code.co_firstlineno
