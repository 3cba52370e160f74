"""PURE. What frontends and backends count, and how it is read.

The data path bumps plain ints (``counters.requests += 1``); whoever shows them calls the ``*_snapshot``
functions, which cost nothing to anybody else.  The counters of a server are
:class:`lbproxy.balance.server.ServerCounters`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sized
from typing import Any, Protocol

from attrs import asdict, define, field

from lbproxy.errors import Kind

__all__ = [
    "BUCKETS",
    "BackendCounters",
    "FrontendCounters",
    "Histogram",
    "backend_snapshot",
    "frontend_snapshot",
    "server_snapshot",
    "snapshot",
]

BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds in seconds, inclusive, for times between loopback and the longest timeouts."""


class Histogram:
    """Counts of durations in fixed buckets; ``add`` is a bisection and two additions.

    ``bounds``: ascending upper bounds, inclusive.  ``counts`` has one more place, for what is above.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Iterable[float] = BUCKETS) -> None:
        self.bounds = tuple(bounds)
        if not self.bounds or any(
            a >= b for a, b in zip(self.bounds, self.bounds[1:], strict=False)
        ):
            raise ValueError("the bounds of a histogram must ascend")
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many were added."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """An upper bound of the ``share`` (0 to 1) quantile, in seconds.

        0.0 when nothing was added, infinity when it lies above the last bound.
        """
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"{share} is not between 0 and 1")
        wanted = share * self.count
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen and seen >= wanted:
                return bound
        return float("inf") if self.count else 0.0

    def cumulative(self) -> list[tuple[float, int]]:
        """(upper bound, how many at or below it), the last bound being infinity."""
        seen = 0
        rows: list[tuple[float, int]] = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            rows.append((bound, seen))
        return rows


@define(eq=False)
class FrontendCounters:
    """Totals of a frontend since start.

    ``connections``: accepted, those refused later included.  ``refused``: ended before they carried
    traffic (address lists, limits, TLS, PROXY header).  ``responses``: by class, index 1 to 5; index 0
    counts exchanges that ended without a status, or with one outside 100 to 599.  ``bytes_in``: bodies
    (HTTP) or bytes (TCP) from clients; ``bytes_out``: to clients.  ``closes``: how exchanges, sessions
    and refused connections ended.
    """

    connections: int = 0
    refused: int = 0
    requests: int = 0
    responses: list[int] = field(factory=lambda: [0] * 6)
    bytes_in: int = 0
    bytes_out: int = 0
    closes: dict[Kind, int] = field(factory=dict)


@define(eq=False)
class BackendCounters:
    """Totals of a backend since start.

    ``retries``: further attempts after a failed one; ``redispatches``: those of them that had another
    server to go to.  ``queued``: had to wait for a server; ``queue_timeouts``: waited in vain;
    ``queue_full``: could not even wait; ``no_server``: none was up.
    """

    retries: int = 0
    redispatches: int = 0
    queued: int = 0
    queue_timeouts: int = 0
    queue_full: int = 0
    no_server: int = 0


class _Frontend(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def counters(self) -> FrontendCounters: ...
    @property
    def clients(self) -> Sized: ...


class _Group(Protocol):
    @property
    def servers(self) -> Mapping[str, Any]: ...
    @property
    def eligible_count(self) -> int: ...
    @property
    def balancer_errors(self) -> int: ...
    @property
    def panicking(self) -> bool: ...


class _Backend(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def counters(self) -> BackendCounters: ...
    @property
    def queue(self) -> Sized: ...
    @property
    def group(self) -> _Group: ...


class _LoadBalancer(Protocol):
    @property
    def frontends(self) -> Mapping[str, _Frontend]: ...
    @property
    def backends(self) -> Mapping[str, _Backend]: ...


def frontend_snapshot(frontend: _Frontend) -> dict[str, Any]:
    """A frontend's counters as plain JSON types; ``active_connections`` is how many there are now."""
    counters = frontend.counters
    return {
        "name": frontend.name,
        "mode": frontend.mode,
        "active_connections": len(frontend.clients),
        "connections": counters.connections,
        "refused": counters.refused,
        "requests": counters.requests,
        "responses": {f"{n}xx" if n else "none": counters.responses[n] for n in range(6)},
        "bytes_in": counters.bytes_in,
        "bytes_out": counters.bytes_out,
        "closes": {kind.value: count for kind, count in counters.closes.items()},
    }


def server_snapshot(server: Any) -> dict[str, Any]:
    """The state of a server (:class:`lbproxy.balance.server.ServerState`) and its counters as plain JSON types."""
    return {
        "name": server.name,
        "state": server.state.value,
        "note": server.note,
        "ejected": server.ejected,
        "weight": server.full_weight,
        "share": server.share,
        "backup": server.spec.backup,
        "tier": server.spec.tier,
        "active": server.active,
        "maxconn": server.maxconn,
        "addresses": [str(address) for address in server.addresses],
        **asdict(server.counters),
    }


def backend_snapshot(backend: _Backend) -> dict[str, Any]:
    """A backend's counters and those of its servers as plain JSON types; ``waiting`` is the queue now."""
    return {
        "name": backend.name,
        "mode": backend.mode,
        "waiting": len(backend.queue),
        "eligible": backend.group.eligible_count,
        "panic": backend.group.panicking,
        "balancer_errors": backend.group.balancer_errors,
        **asdict(backend.counters),
        "servers": [server_snapshot(server) for server in backend.group.servers.values()],
    }


def snapshot(balancer: _LoadBalancer) -> dict[str, Any]:
    """Everything a :class:`lbproxy.service.LoadBalancer` counts, as plain JSON types."""
    return {
        "frontends": [frontend_snapshot(frontend) for frontend in balancer.frontends.values()],
        "backends": [backend_snapshot(backend) for backend in balancer.backends.values()],
    }
