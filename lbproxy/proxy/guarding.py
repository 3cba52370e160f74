"""DATA. Calls of features and connectors that must not stop those who call them.

Features and connectors may belong to somebody else.  An exception of one, of any class, is logged
once a second for each kind; the others are called as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["each", "guard"]


def guard(call: Callable[..., Any], *words: Any) -> None:
    """Call a method, and log what it raises."""
    try:
        call(*words)
    except BaseException as error:
        _report(call, error)


def each(objects: Iterable[Any], method: str, *words: Any) -> None:
    """Call ``method`` of each of ``objects``, and log what it raises."""
    for one in objects:
        guard(getattr(one, method), *words)


def _report(call: Callable[..., Any], error: BaseException) -> None:
    # imported here: modules that only read configurations do without Twisted
    from twisted.python.failure import Failure

    from lbproxy.proxy.guardlog import quiet

    owner = type(getattr(call, "__self__", call)).__name__
    where = f"{owner}.{getattr(call, '__name__', 'call')}"
    quiet.failure(f"{where} {type(error).__name__}", "{where} failed", Failure(error), where=where)
