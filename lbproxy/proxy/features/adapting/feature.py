"""DATA. ``adaptive_concurrency`` of a backend.

A request is counted from its route to its end, and measured to the head of its response, including
a wait in the queue. Failures of servers are measured too, because a timeout is a slow response.
"""

from __future__ import annotations

from typing import Any, Final, Self

from attrs import define

from lbproxy.errors import Kind, ProxyError
from lbproxy.health.gradient import Gradient
from lbproxy.http.filter import Phases
from lbproxy.proxy.adminpart import AdminPart, Column
from lbproxy.proxy.feature import Feature, Given, counted
from lbproxy.proxy.features.adapting.spec import AdaptiveDeclaration, AdaptiveKeys

__all__ = ["Adapting"]

_NOTE: Final = "adaptive"  # key in ``traffic.vars``
_SLOW: Final = (
    Kind.CONNECT_TIMEOUT,
    Kind.QUEUE_TIMEOUT,
    Kind.RESPONSE_TIMEOUT,
    Kind.SERVER_TIMEOUT,
)
_KEYS: Final = tuple(AdaptiveKeys.__annotations__)


@define(eq=False)
class AdaptiveCounters:
    """The effects of ``adaptive_concurrency`` of a backend."""

    adaptive_refused: int = counted("Requests refused because of adaptive_concurrency.")


@define(eq=False)
class _Running:
    """A counted request. ``since``: its start, negative once it was measured."""

    since: float


class Adapting(AdaptiveDeclaration, Feature[Any]):
    """See the module."""

    name = "adaptive_concurrency"
    keys = _KEYS
    Counters = AdaptiveCounters

    def __init__(self, wanted: tuple[Any, ...], given: Given) -> None:
        _, tolerance, least, most = self._wanted = wanted
        self.gradient = Gradient(least, most, tolerance)
        self._now = given.network.wheel.now
        self._elsewhere: dict[str, Any] = {}

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`.  ValueError for bounds that exclude each other."""
        wanted = tuple(getattr(spec, key) for key in _KEYS)
        if not spec.adaptive_concurrency:
            return None
        if spec.adaptive_min > spec.adaptive_max:
            raise ValueError("'adaptive_min' is above 'adaptive_max'")
        return old if old is not None and old._wanted == wanted else cls(wanted, given)

    def around(self, phases: Phases) -> Phases:
        """See :class:`Feature`."""
        return phases.before(request=self.request).after(response=self.response, finish=self.finish)

    def request(self, traffic: Any) -> None:
        """Phase ``request``: count the request, or refuse it."""
        if not self.gradient.fits(traffic.priority):
            self.counters.adaptive_refused += 1
            limit = self.gradient.limit
            raise ProxyError(Kind.SHED, f"adaptive limit {limit:.0f}, {self.gradient.active} run")
        if traffic.vars is None:
            traffic.vars = {}
        self.gradient.begin()
        traffic.vars[_NOTE] = self, _Running(self._now())

    def response(self, traffic: Any) -> None:
        """Phase ``response``: measure the response."""
        running = self._running(traffic)
        if running is not None and running.since >= 0:
            now = self._now()
            self.gradient.sample(now - running.since, now)
            running.since = -1.0

    def finish(self, traffic: Any) -> None:
        """Phase ``finish``: the request has ended."""
        running = self._running(traffic)
        if running is None:
            return
        del traffic.vars[_NOTE]
        if running.since >= 0 and traffic.close in _SLOW:
            now = self._now()
            self.gradient.sample(now - running.since, now)
        self.gradient.end()

    def _running(self, traffic: Any) -> _Running | None:
        found = traffic.vars.get(_NOTE) if traffic.vars else None
        return found[1] if found is not None and found[0] is self else None

    # -- what is shown --------------------------------------------------------------------------

    def gauges(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        gradient = self.gradient
        return {"limit": round(gradient.limit), "active": gradient.active}

    def show_gauges(self, total: dict[str, Any]) -> None:
        """See :class:`Feature`."""
        self._elsewhere = total

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`; with workers the times are not known here."""
        gradient, other = self.gradient, self._elsewhere
        return {
            "adaptive_refused": self.counters.adaptive_refused,
            "limit": other.get("limit", round(gradient.limit)),
            "active": other.get("active", gradient.active),
            "base_s": round(gradient.base, 6),
            "recent_s": round(gradient.recent, 6),
        }


Adapting.part = AdminPart(
    "adaptive",
    state="adaptive",
    title="Adaptive concurrency",
    owner_key="backend",
    fields={
        "adaptive_refused": "count",
        "limit": "count",
        "active": "count",
        "base_s": "number",
        "recent_s": "number",
    },
    columns=(
        Column("backend", "Backend"),
        Column("limit", "Limit", "count"),
        Column("active", "Active", "count"),
        Column("adaptive_refused", "Refused", "count"),
        Column("base_s", "Without load", "seconds"),
        Column("recent_s", "Now", "seconds"),
    ),
)
