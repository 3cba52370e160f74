"""PURE. The limits, leases and values of :class:`~lbproxy.sharing.contracts.Replicated`, in the
memory of one process.

The store is synchronous. :mod:`lbproxy.sharing.local` uses it for its own process, and the master
for all workers. Each kind holds at most :data:`MOST` keys; beyond that, the least recently used
keys are dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from lbproxy.sharing.contracts import Rate

__all__ = ["MOST", "Store"]

MOST = 100_000
"""Maximum number of keys of each kind."""

_NEVER = float("inf")


class Store:
    """Limits, leases and values in memory. ``now``: monotonic time in seconds."""

    def __init__(self, now: Callable[[], float], most: int = MOST) -> None:
        self._now = now
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._leases: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._values: OrderedDict[str, tuple[Any, float]] = OrderedDict()

    def take(self, key: str, cost: float, rate: Rate) -> float:
        """See :meth:`Replicated.take`.

        The generic cell rate algorithm (ITU-T I.371) stores one number per key: the time at which
        its limit is full again.
        """
        if cost < 0 or cost > rate.burst:
            raise ValueError(f"a cost of {cost:g} is not between 0 and the burst, {rate.burst:g}")
        now = self._now()
        each = rate.seconds / rate.amount
        full_at = max(now, self._full_at.get(key, now)) + cost * each
        wait = full_at - rate.burst * each - now
        if wait > 1e-9:
            return wait
        self._full_at[key] = full_at
        self._bound(self._full_at, key)
        return 0.0

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """See :meth:`Replicated.lease`; ``holder`` is the process that asks."""
        now = self._now()
        owner, until = self._leases.get(name, (holder, 0.0))
        if owner != holder and until > now:
            return False
        self._leases[name] = (holder, now + seconds)
        self._bound(self._leases, name)
        return True

    def release(self, name: str, holder: str) -> None:
        """See :meth:`Replicated.release`."""
        owner, _ = self._leases.get(name, ("", 0.0))
        if owner == holder:
            del self._leases[name]

    def release_all(self, holder: str) -> None:
        """End all leases of a process that has ended."""
        for name in [name for name, (owner, _) in self._leases.items() if owner == holder]:
            del self._leases[name]

    def get(self, key: str) -> Any:
        """See :meth:`Replicated.get`."""
        value, until = self._values.get(key, (None, _NEVER))
        if until <= self._now():
            del self._values[key]
            return None
        if key in self._values:
            self._values.move_to_end(key)
        return value

    def put(self, key: str, value: Any, seconds: float = 0.0) -> None:
        """See :meth:`Replicated.put`."""
        if value is None:
            self._values.pop(key, None)
            return
        self._values[key] = (value, self._now() + seconds if seconds else _NEVER)
        self._bound(self._values, key)

    def _bound(self, kind: OrderedDict[str, Any], key: str) -> None:
        kind.move_to_end(key)
        if len(kind) > self._most:
            kind.popitem(last=False)
