"""CONTROL. Collects the input of the alert rules: counters, servers, certificates and logs.

:class:`lbproxy.alerts.alerter.Alerter` calls it once a second. Values that rarely change are read
less often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from lbproxy.alerts.watch import WatchTarget
from lbproxy.balance.server import AdminState
from lbproxy.config.model import Config
from lbproxy.errors import MEANING, Kind
from lbproxy.guard.connections import ConnectionTotal
from lbproxy.observe.alerts import BackendSample, FrontendSample, Sample
from lbproxy.observe.events import Event
from lbproxy.observe.offenders import Offenders
from lbproxy.observe.samples import FEATURE_FIELDS
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Feature
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.guarding import guard

__all__ = ["AlertSampler", "SampledBalancer"]

_SERVERS_EVERY = 5.0  # interval for counting the servers of each backend
_CERTIFICATES_EVERY = 60.0
_HALF_MINUTE = 30.0

_FAILURES = frozenset(kind for kind, meaning in MEANING.items() if meaning.side == "server") | {
    Kind.NO_SERVER,
    Kind.QUEUE_FULL,
    Kind.QUEUE_TIMEOUT,
    Kind.FILTER_FAILED,
    Kind.FILTER_TIMEOUT,
}


class SampledBalancer(WatchTarget, Protocol):
    """The interface of :class:`lbproxy.service.LoadBalancer` that is sampled."""

    @property
    def total(self) -> ConnectionTotal:
        """The connection limits of the whole process."""

    @property
    def config(self) -> Config:
        """The current configuration."""

    worker_lag: float
    nodes: Any


class AlertSampler:
    """Collects samples. ``now``: Unix time."""

    def __init__(self, balancer: SampledBalancer, now: Callable[[], float]) -> None:
        self._balancer = balancer
        self._now = now
        self._happened: dict[str, int] = {}
        self._servers: dict[str, tuple[int, int]] = {}
        self._certificates: dict[str, float] = {}
        self._servers_at = self._certificates_at = self._turned_at = float("-inf")

    def note(self, event: Event) -> None:
        """Count an event."""
        self._happened[event.kind.value] = self._happened.get(event.kind.value, 0) + 1

    def sample(self, now: float, lag: float = 0.0) -> Sample:
        """Return the input of the rules at ``now``, in the reactor's clock."""
        balancer = self._balancer
        if now - self._certificates_at >= _CERTIFICATES_EVERY:
            self._certificates_at = now
            self._certificates = {
                pair.names[0] if pair.names else pair.source: pair.expires
                for pair in balancer.key_pairs()
            }
        if now - self._servers_at >= _SERVERS_EVERY:
            self._servers_at = now
            self._servers = {name: _wanted(one) for name, one in balancer.backends.items()}
        if now - self._turned_at >= _HALF_MINUTE:
            self._turned_at = now
            for frontend in balancer.frontends.values():
                if frontend.offenders is not None:
                    frontend.offenders.turn()
        wall = self._now()
        return Sample(
            at=now,
            frontends={name: _frontend(one) for name, one in balancer.frontends.items()},
            backends={
                name: _backend(one, self._servers.get(name, (0, 0)))
                for name, one in balancer.backends.items()
            },
            active=balancer.total.active,
            maxconn=balancer.total.maxconn,
            certificates={name: at - wall for name, at in self._certificates.items()},
            logs={sink.path: sink.dropped for sink in balancer.log_sinks()},
            lag=max(lag, self._balancer.worker_lag),
            happened=dict(self._happened),
            shared_error=_shared_error(balancer.nodes),
            **_of_features(balancer.all_features()),
        )


def _shared_error(nodes: Any) -> str:
    """Return why the shared store does not respond here or in a worker."""
    if nodes is None or (nodes.up and not nodes.processes_down):
        return ""
    return str(nodes.error) or f"{nodes.processes_down} workers cannot reach it"


def _of_features(features: Iterable[Feature[Any]]) -> dict[str, dict[str, Any]]:
    """Return the samples of features: by field of :class:`Sample`, and by name."""
    found: dict[str, dict[str, Any]] = {}
    for one in features:
        if one.has_sample():
            guard(_add_sample, found, one)
    return found


def _add_sample(found: dict[str, dict[str, Any]], feature: Feature[Any]) -> None:
    for name, values in feature.sample().items():
        kind = FEATURE_FIELDS.get(name)
        if kind is None:
            raise ValueError(f"feature {feature.name}: no rule of alerts reads {name!r}")
        for key, value in values.items():
            if not isinstance(value, kind):
                raise TypeError(f"feature {feature.name}: {name} of {key!r} is {value!r}")
        found.setdefault(name, {}).update(values)


def _frontend(frontend: Frontend) -> FrontendSample:
    counters = frontend.counters
    counters.measure()
    if frontend.offenders is None:
        frontend.offenders = Offenders()
    if frontend.mode == "http":
        done, failed = sum(counters.responses), counters.responses[5]
        bad = counters.refused + counters.responses[4] - counters.closes.get(Kind.CHALLENGED, 0)
    else:
        done, failed = _ended(counters.closes)
        bad = counters.refused
    limits = frontend.limits
    return FrontendSample(
        done,
        failed,
        bad,
        limits.active,
        limits.maxconn,
        frontend.offenders.worst(),
        counters.connections,
    )


def _ended(closes: Mapping[Kind, int]) -> tuple[int, int]:
    return sum(closes.values()), sum(closes.get(kind, 0) for kind in _FAILURES)


def _backend(backend: Backend, servers: tuple[int, int]) -> BackendSample:
    counters = backend.counters
    counters.measure()
    times = counters.response_seconds
    return BackendSample(
        wanted=servers[0],
        up=servers[1],
        usable=backend.group.has_eligible,
        waiting=backend.queue.waiting,
        queue=backend.spec.queue,
        sent_away=counters.queue_full + counters.queue_timeouts,
        timed=times.count if times is not None else 0,
        seconds=times.total if times is not None else 0.0,
    )


def _wanted(backend: Backend) -> tuple[int, int]:
    """Return the number of servers that should be up, and of those that are."""
    wanted = up = 0
    for server in backend.group.servers.values():
        if server.admin is AdminState.READY and not server.spec.backup:
            wanted += 1
            up += server.healthy and bool(server.addresses)
    return wanted, up
