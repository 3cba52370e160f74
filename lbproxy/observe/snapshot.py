"""PURE. The counters and gauges of a load balancer as plain values, for the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Protocol

from lbproxy.observe.metrics import BackendCounters, FrontendCounters, Histogram

__all__ = ["backend_snapshot", "frontend_snapshot", "server_snapshot", "snapshot"]


class _Frontend(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def counters(self) -> FrontendCounters: ...
    @property
    def client_count(self) -> int: ...
    def feature_snapshot(self) -> dict[str, Any]: ...


class _Group(Protocol):
    @property
    def servers(self) -> Mapping[str, Any]: ...
    @property
    def eligible_count(self) -> int: ...
    @property
    def balancer_errors(self) -> int: ...
    @property
    def panicking(self) -> bool: ...


class _Queue(Protocol):
    @property
    def waiting(self) -> int: ...


class _Backend(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def counters(self) -> BackendCounters: ...
    @property
    def queue(self) -> _Queue: ...
    @property
    def group(self) -> _Group: ...
    def feature_snapshot(self) -> dict[str, Any]: ...


class _LoadBalancer(Protocol):
    @property
    def frontends(self) -> Mapping[str, _Frontend]: ...
    @property
    def backends(self) -> Mapping[str, _Backend]: ...


_readers: dict[type[Any], tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]] = {}


def _numbers(counters: Any) -> dict[str, Any]:
    """Return the plain numbers of a counters object."""
    reader = _readers.get(type(counters))
    if reader is None:
        names = tuple(name for name in dir(counters) if type(getattr(counters, name)) is int)
        reader = _readers[type(counters)] = (names, attrgetter(*names))
    names, read = reader
    return dict(zip(names, read(counters), strict=True))


def _times(**histograms: Histogram | None) -> dict[str, Any]:
    """Return the active histograms as plain JSON types.

    ``counts`` has one element for each of :data:`BUCKETS`, and one for longer durations.
    """
    return {
        name: {"counts": list(one.counts), "total": one.total}
        for name, one in histograms.items()
        if one is not None
    }


def frontend_snapshot(frontend: _Frontend) -> dict[str, Any]:
    """Return a frontend's counters as plain JSON types, with its current ``active_connections``."""
    counters = frontend.counters
    return {
        "name": frontend.name,
        "mode": frontend.mode,
        "active_connections": frontend.client_count,
        "connections": counters.connections,
        "refused": counters.refused,
        "evicted": counters.evicted,
        "requests": counters.requests,
        "responses": {f"{n}xx" if n else "none": counters.responses[n] for n in range(6)},
        "bytes_in": counters.bytes_in,
        "bytes_out": counters.bytes_out,
        "closes": {kind.value: count for kind, count in counters.closes.items()},
        "log_errors": counters.log_errors,
        **frontend.feature_snapshot(),
        **_times(request_seconds=counters.request_seconds),
    }


def server_snapshot(server: Any) -> dict[str, Any]:
    """Return the state and the counters of a server as plain JSON types."""
    return {
        "name": server.name,
        "state": server.state.value,
        "note": server.note,
        "ejected": server.ejected,
        "weight": server.full_weight,
        "share": round(server.share * server.agent_share, 4),
        "backup": server.spec.backup,
        "tier": server.spec.tier,
        "active": server.active,
        "maxconn": server.maxconn,
        "addresses": [str(address) for address in server.addresses],
        "unusable": sorted(server.unusable),
        **_numbers(server.counters),
    }


def backend_snapshot(backend: _Backend, *, servers: bool = True) -> dict[str, Any]:
    """Return the counters of a backend and its servers as plain JSON types.

    ``waiting`` is the current length of the queue.
    """
    found = {
        "name": backend.name,
        "mode": backend.mode,
        "waiting": backend.queue.waiting,
        "eligible": backend.group.eligible_count,
        "panic": backend.group.panicking,
        "balancer_errors": backend.group.balancer_errors,
        **_numbers(backend.counters),
        **_times(
            queue_seconds=backend.counters.queue_seconds,
            connect_seconds=backend.counters.connect_seconds,
            response_seconds=backend.counters.response_seconds,
        ),
        **backend.feature_snapshot(),
    }
    if servers:
        found["servers"] = [server_snapshot(server) for server in backend.group.servers.values()]
    return found


def snapshot(balancer: _LoadBalancer) -> dict[str, Any]:
    """Return all counters of a :class:`lbproxy.service.LoadBalancer` as plain JSON types."""
    return {
        "frontends": [frontend_snapshot(frontend) for frontend in balancer.frontends.values()],
        "backends": [backend_snapshot(backend) for backend in balancer.backends.values()],
    }
