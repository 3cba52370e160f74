"""DATA. ``shed`` of a frontend: 503 for a share of its traffic while the process is overloaded.

Routes that lbproxy itself answers (reply, redirect) and routes with ``shed=no`` are exempt, and so
is the admin API, which is not traffic of a frontend. ``priority`` of the route decides which
traffic is refused first.
"""

from __future__ import annotations

from typing import Any, Self

from attrs import define

from lbproxy.errors import Kind, ProxyError
from lbproxy.health.overload import Overload, fits_queue
from lbproxy.http.filter import Phases
from lbproxy.limits.rules import ShedLimits
from lbproxy.proxy.adminpart import AdminPart, Column
from lbproxy.proxy.feature import Feature, Given, counted
from lbproxy.proxy.features.shedding.load import LoadMeter
from lbproxy.proxy.features.shedding.spec import ShedDeclaration
from lbproxy.proxy.frontend import Frontend

__all__ = ["Shedding"]


@define(eq=False)
class ShedCounters:
    """Counters of ``shed`` of a frontend."""

    shed: int = counted("Requests and sessions refused to shed load.")


class Shedding(ShedDeclaration, Feature[Frontend]):
    """See the module."""

    name = "shed"
    keys = ("shed",)
    Counters = ShedCounters

    def __init__(self, spec: Any, given: Given) -> None:
        self.limits: ShedLimits = spec.shed
        self._exempt = _exempt(spec)
        self._overload = Overload(given.env.random.random)
        clock = given.network.wheel.clock
        self.meter = given.keep("load", "", lambda: LoadMeter(clock))

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`."""
        if spec.shed is None:
            return None
        if old is not None and old.limits == spec.shed and old._exempt == _exempt(spec):
            return old
        return cls(spec, given)

    def around(self, phases: Phases) -> Phases:
        """See :class:`Feature`."""
        return phases.before(request=self.request)

    def start(self) -> None:
        """See :class:`Feature`."""
        self.meter.use(self._stepped)

    def close(self) -> None:
        """See :class:`Feature`."""
        self.meter.leave(self._stepped)

    def _stepped(self) -> None:
        limits, meter = self.limits, self.meter
        lag = meter.lag / limits.lag if limits.lag else 0.0
        memory = meter.memory / limits.memory if limits.memory else 0.0
        self._overload.step(max(lag, memory))

    def request(self, traffic: Any) -> None:
        """Phase ``request``: refuse the traffic, or let it pass."""
        if traffic.route in self._exempt:
            return
        priority = traffic.priority
        queue = traffic.backend.queue if traffic.backend is not None else None
        if self.limits.queue and queue is not None and traffic.backend.spec.queue:
            taken = queue.waiting / traffic.backend.spec.queue
            if not fits_queue(taken, self.limits.queue, priority):
                self._refuse(f"queue {taken:.0%} full")
        if self._overload.refuses(priority):
            self._refuse(f"lag {self.meter.lag * 1000:.0f} ms, memory {self.meter.memory:.0%}")

    def _refuse(self, why: str) -> None:
        self.counters.shed += 1
        raise ProxyError(Kind.SHED, why)

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        return {
            "shed": self.counters.shed,
            "share": round(self._overload.share, 4),
            "pressure": round(self._overload.pressure, 4),
            "lag_s": round(self.meter.lag, 6),
            "memory": round(self.meter.memory, 4),
        }


def _exempt(spec: Any) -> frozenset[str]:
    """Return the texts of routes with ``shed=no``."""
    return frozenset(route.text for route in spec.routes if route.shed is False)


Shedding.part = AdminPart(
    "shed",
    state="shed",
    title="Load shedding",
    owner_key="frontend",
    fields={
        "shed": "count",
        "share": "number",
        "pressure": "number",
        "lag_s": "number",
        "memory": "number",
    },
    columns=(
        Column("frontend", "Frontend"),
        Column("shed", "Refused", "count"),
        Column("share", "Share"),
        Column("pressure", "Load / limit"),
        Column("lag_s", "Late", "seconds"),
        Column("memory", "Memory"),
    ),
)
