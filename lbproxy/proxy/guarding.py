"""DATA. Calls of features and connectors whose exceptions must not stop the caller.

Features and connectors may be extensions. Any exception of one is logged, once a second for each
kind; the other calls continue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = ["ask", "each", "guard", "report"]


T = TypeVar("T")


def guard(call: Callable[..., Any], *words: Any) -> None:
    """Call a method, and log its exception."""
    try:
        call(*words)
    except BaseException as error:
        report(call, error)


def ask(default: T, call: Callable[..., T], *words: Any) -> T:
    """Return the result of a method, or ``default`` after an exception, which is logged."""
    try:
        return call(*words)
    except BaseException as error:
        report(call, error)
        return default


def each(objects: Iterable[Any], method: str, *words: Any) -> None:
    """Call ``method`` of each of ``objects``, and log exceptions."""
    for one in objects:
        guard(getattr(one, method), *words)


def report(call: Callable[..., Any], error: BaseException) -> None:
    """Log an exception of ``call``."""
    # imported here, because modules that only read configurations work without Twisted
    from twisted.python.failure import Failure

    from lbproxy.proxy.guardlog import quiet

    owner = type(getattr(call, "__self__", call)).__name__
    where = f"{owner}.{getattr(call, '__name__', 'call')}"
    quiet.failure(f"{where} {type(error).__name__}", "{where} failed", Failure(error), where=where)
