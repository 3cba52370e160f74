"""DATA. The limit of further attempts: ``max_retries``, ``retry_budget`` and ``retry_floor``.

:mod:`lbproxy.health.breaker` has the arithmetic. A reload that changes one of the keys resets the
counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from lbproxy.health.breaker import RetryBudget, RetryLimit
from lbproxy.proxy.feature import Feature, Given, counted

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["Retries"]


@define(eq=False)
class RetryCounters:
    """Totals of a backend."""

    retries_refused: int = counted("Retries refused by max_retries or retry_budget.")


class _Limit(RetryLimit):
    """A limit that counts refusals for the backend."""

    __slots__ = ("_counters",)

    def __init__(self, most: int, budget: RetryBudget | None, counters: RetryCounters) -> None:
        super().__init__(most, budget)
        self._counters = counters

    def take(self, now: float, again: bool) -> bool:
        allowed = super().take(now, again)
        self._counters.retries_refused += not allowed
        return allowed


class Retries(Feature["Backend"]):
    """The limit of retries; see the module. ``limits``: the values of the keys."""

    name = "retry_limit"
    keys = ("max_retries", "retry_budget", "retry_floor")
    Counters = RetryCounters
    counters: RetryCounters

    def __init__(self, limits: tuple[int, float, float]) -> None:
        self.limits = limits

    @classmethod
    def prepare(cls, spec: Any, old: Retries | None, given: Given) -> Retries | None:
        """See :class:`Feature`."""
        if not (spec.max_retries or spec.retry_budget):
            return None
        limits = (spec.max_retries, spec.retry_budget, spec.retry_floor)
        return old if old is not None and old.limits == limits else cls(limits)

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        most, share, floor = self.limits
        budget = RetryBudget(share, floor) if share else None
        self._owner = owner
        owner.retry_limit = _Limit(most, budget, self.counters)

    def detach(self) -> None:
        """See :class:`Feature`."""
        self._owner.retry_limit = None
