"""PURE. Counters of frontends and backends.

The data path increments plain ints (``counters.requests += 1``). Readers use
:mod:`lbproxy.observe.snapshot`, which adds no cost to the data path. The counters of a server are
:class:`lbproxy.balance.server.ServerCounters`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from lbproxy.errors import Kind

__all__ = [
    "BUCKETS",
    "BackendCounters",
    "FrontendCounters",
    "Histogram",
    "observe_exchange",
    "observe_session",
]

BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
)  # fmt: skip
"""Upper bounds in seconds, inclusive, from loopback times to the longest timeouts."""


class Histogram:
    """Counts of durations in fixed buckets; ``add`` is a bisection and two additions.

    ``bounds``: ascending upper bounds in seconds, inclusive. ``counts`` has one more element, for
    longer durations.
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
        """Add a duration in seconds."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """Number of durations."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Return an upper bound of the ``share`` (0 to 1) quantile, in seconds.

        0.0 without durations, infinity if the quantile is above the last bound.
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
        """Return (upper bound, number of durations up to it) pairs; the last bound is infinity."""
        seen = 0
        rows: list[tuple[float, int]] = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            rows.append((bound, seen))
        return rows


class FrontendCounters:
    """Totals of a frontend since the start.

    ``connections``: accepted connections, including those refused later. ``refused``: connections
    that ended before they carried traffic (address lists, limits, TLS, PROXY header).
    ``evicted``: connections without a request that were closed to make room for others.
    ``responses``: by class, index 1 to 5; index 0 counts exchanges without a status, or with one
    outside 100 to 599. ``bytes_in``: bodies (HTTP) or bytes (TCP) from clients; ``bytes_out``: to
    clients. ``closes``: close reasons of exchanges, sessions and refused connections.
    ``log_errors``: records that the access log failed to write.

    ``request_seconds``: from the first byte of a request, or the connection of a session, to its
    end. None if times are not measured.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "closes",
        "connections",
        "evicted",
        "log_errors",
        "refused",
        "request_seconds",
        "requests",
        "responses",
    )

    def __init__(self) -> None:
        self.connections = self.refused = self.evicted = self.requests = 0
        self.bytes_in = self.bytes_out = self.log_errors = 0
        self.responses = [0] * 6
        self.closes: dict[Kind, int] = {}
        self.request_seconds: Histogram | None = None

    def measure(self) -> None:
        """Measure times from now on. A second call does nothing."""
        if self.request_seconds is None:
            self.request_seconds = Histogram()


class BackendCounters:
    """Totals of a backend since the start.

    ``retries``: further attempts after a failed one; ``redispatches``: those at another server.
    ``queued``: requests that waited for a server; ``queue_timeouts``: those that waited in vain;
    ``queue_full``: requests refused because the queue was full. ``no_server``: requests while no
    server was up. ``circuit_open``: requests refused because the backend had reached its
    ``maxconn``. Features have counters of their own
    (:attr:`lbproxy.proxy.feature.Feature.Counters`).

    ``queue_seconds``: time in the queue, of requests that waited. ``connect_seconds``: time to
    connect, including TLS, of new connections. ``response_seconds``: from the sent request to the
    response head; HTTP only. All three are None if times are not measured.
    """

    __slots__ = (
        "circuit_open",
        "connect_seconds",
        "no_server",
        "queue_full",
        "queue_seconds",
        "queue_timeouts",
        "queued",
        "redispatches",
        "response_seconds",
        "retries",
    )

    def __init__(self) -> None:
        self.retries = self.redispatches = 0
        self.queued = self.queue_timeouts = self.queue_full = 0
        self.no_server = self.circuit_open = 0
        self.queue_seconds: Histogram | None = None
        self.connect_seconds: Histogram | None = None
        self.response_seconds: Histogram | None = None

    def measure(self) -> None:
        """Measure times from now on. A second call does nothing."""
        if self.queue_seconds is None:
            self.queue_seconds = Histogram()
            self.connect_seconds = Histogram()
            self.response_seconds = Histogram()


def observe_exchange(histogram: Histogram, exchange: Any) -> None:
    """Measure a finished HTTP exchange (an :class:`lbproxy.observe.record.HTTPRecord` with its
    ``backend``).
    """
    seconds = exchange.t_total
    histogram.counts[bisect_left(histogram.bounds, seconds)] += 1
    histogram.total += seconds
    backend = exchange.backend
    if backend is None:
        return
    counters = backend.counters
    seconds = exchange.t_response
    if seconds >= 0.0:
        histogram = counters.response_seconds
        if histogram is None:
            return
        histogram.counts[bisect_left(histogram.bounds, seconds)] += 1
        histogram.total += seconds
    if not exchange.reused and exchange.t_connect >= 0.0 and counters.connect_seconds is not None:
        counters.connect_seconds.add(exchange.t_connect)
    if exchange.t_queue > 0.0 and counters.queue_seconds is not None:
        counters.queue_seconds.add(exchange.t_queue)


def observe_session(histogram: Histogram, session: Any) -> None:
    """Measure a finished TCP session."""
    histogram.add(session.t_total)
    if session.backend is None:
        return
    counters = session.backend.counters
    if session.t_connect >= 0.0 and counters.connect_seconds is not None:
        counters.connect_seconds.add(session.t_connect)
    if session.t_queue > 0.0 and counters.queue_seconds is not None:
        counters.queue_seconds.add(session.t_queue)
