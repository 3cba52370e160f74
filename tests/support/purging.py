"""Purges of a cache, for tests that wait for their end."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lbproxy.cache.memory import Memory
from lbproxy.cache.purge import Purge

__all__ = ["purged", "purged_of", "result_of"]

T = TypeVar("T")


def result_of(deferred: Deferred[T]) -> T:
    """Return the result that is here already, or raise its exception."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "it is not complete"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    result: T = found[0]
    return result


def purged(cache: Any, wanted: Purge, soft: bool = False) -> int:
    """Purge a cache that is small enough for one turn; return how many responses."""
    return result_of(cache.purge(wanted, soft))


def purged_of(memory: Memory, wanted: Purge, soft: bool = False) -> int:
    """Purge a memory store to the end; return how many responses."""
    sweep = memory.sweep(wanted, soft)
    sweep.complete()
    return sweep.count
