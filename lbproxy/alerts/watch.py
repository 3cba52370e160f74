"""CONTROL. Observes the load balancer once a second and adds events for operators.

Changes of server states are reported at once (:func:`follow`). Counters of the data path (refused
clients, full queues, lost log lines) are read here, which adds no cost to traffic.
:mod:`lbproxy.service` owns one :class:`Watch`.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from twisted.application.service import Service

from lbproxy.balance.server import AdminState, ServerState, State
from lbproxy.errors import Kind
from lbproxy.observe.events import Burst, EventKind, Events, EventSeverity
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.feature import Feature
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.guarding import guard
from lbproxy.proxy.together import Growth
from lbproxy.tls.certificates import KeyPair

__all__ = ["EVERY", "EXPIRY_DAYS", "Watch", "WatchTarget", "follow"]

EVERY = 1.0
"""Seconds between two observations."""

EXPIRY_DAYS = (14, 7, 3, 1, 0)
"""A certificate causes an event when it has fewer days left than each of these."""

_CERTIFICATES_EVERY = 3600.0
_REFUSALS = (
    *(Kind.DENIED, Kind.LIMITED, Kind.BAD_PREAMBLE),
    *(Kind.RATE_LIMITED, Kind.BLOCKED, Kind.BANNED),
)
_DAY = 86400.0

_STATES = {
    State.UP: (EventKind.SERVER_UP, EventSeverity.INFO),
    State.DOWN: (EventKind.SERVER_DOWN, EventSeverity.WARNING),
    State.DRAIN: (EventKind.SERVER_DRAIN, EventSeverity.INFO),
    State.MAINT: (EventKind.SERVER_MAINT, EventSeverity.INFO),
}


def follow(backend: Backend, events: Events) -> None:
    """Add events for the servers of a backend. Call it once for each backend."""
    backend.group.on_state(_Servers(backend, events).moved)


class _Servers:
    def __init__(self, backend: Backend, events: Events) -> None:
        self._backend = backend
        self._events = events
        self._empty = False  # last reported state

    def moved(self, server: ServerState, old: State, new: State) -> None:
        backend = self._backend
        kind, severity = _STATES[new]
        subject = f"{backend.name}/{server.name}"
        note = server.note if server.admin is AdminState.READY else ""
        if new is State.DOWN and not server.addresses:
            note = "the server has no address"
        self._events.add(
            kind,
            subject,
            f"server {subject} is {new.value}{f': {note}' if note else ''}",
            severity,
            backend=backend.name,
            server=server.name,
            old=old.value,
            new=new.value,
            note=note,
        )
        if backend.group.has_eligible:
            self._empty = False
        elif not self._empty:
            self._empty = True
            self._events.add(
                EventKind.BACKEND_EMPTY,
                backend.name,
                f"backend {backend.name} has no usable server",
                EventSeverity.ERROR,
                backend=backend.name,
            )


class WatchTarget(Protocol):
    """The interface of :class:`lbproxy.service.LoadBalancer` that is observed."""

    @property
    def events(self) -> Events:
        """The event list."""

    @property
    def frontends(self) -> Mapping[str, Frontend]:
        """The frontends by name."""

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The backends by name."""

    def all_features(self) -> Iterable[Feature[Any]]:
        """The features of frontends, backends and routes."""

    def key_pairs(self) -> Iterable[KeyPair]:
        """The certificates in use."""

    def log_sinks(self) -> Iterable[Any]:
        """The access logs in use."""


class Watch(Service):
    """Observes the counters. ``reactor``: IReactorTime. ``now``: Unix time, for certificates."""

    name = "watch"

    def __init__(
        self, watched: WatchTarget, reactor: Any, now: Callable[[], float] = time.time
    ) -> None:
        self._watched = watched
        self._events = watched.events
        self._reactor = reactor
        self._now = now
        self._call: Any = None
        self._seen: dict[str, int] = {}  # counters at the last observation
        self._bursts: dict[str, Burst] = {}
        self._told: dict[str, float] = {}  # certificate -> number of days in its last event
        self._certificates_at = float("-inf")

    def startService(self) -> None:
        """Start. Earlier counts are not reported."""
        super().startService()
        for key, value, _ in self._counted():
            self._seen[key] = value
        self._look()

    def stopService(self) -> None:
        """Stop watching."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    # -- once a second --------------------------------------------------------------------------

    def _look(self) -> None:
        self._call = self._reactor.callLater(EVERY, self._look)
        now = self._reactor.seconds()
        for key, value, report in self._counted():
            grown = value - self._seen.get(key, 0)
            self._seen[key] = value
            burst = self._bursts.get(key)
            if burst is None:
                if grown <= 0:
                    continue
                burst = self._bursts[key] = Burst()
            count = burst.add(max(0, grown), now)
            if count:
                guard(report, count)
        if now - self._certificates_at >= _CERTIFICATES_EVERY:
            self._certificates_at = now
            self._certificates()

    def _counted(self) -> Iterable[tuple[str, int, Callable[[int], None]]]:
        """Yield a key, the total, and the event for its growth, for each counter of another
        module.
        """
        for frontend in self._watched.frontends.values():
            for kind in _REFUSALS:
                total = frontend.counters.closes.get(kind, 0)
                if total:
                    yield f"f {frontend.name} {kind.value}", total, self._refused(frontend, kind)
        for backend in self._watched.backends.values():
            total = backend.counters.queue_full
            if total:
                yield f"q {backend.name}", total, self._queue_full(backend)
        for sink in self._watched.log_sinks():
            if sink.dropped:
                yield f"l {sink.path}", sink.dropped, self._log_dropped(sink.path)
        grown: dict[str, Growth] = {}
        for one in self._watched.all_features():
            if one.has_growths():
                guard(_add_growths, grown, one)
        for key, growth in grown.items():
            yield key, growth.total, self._grown(growth)

    def _refused(self, frontend: Frontend, kind: Kind) -> Callable[[int], None]:
        def report(count: int) -> None:
            self._events.add(
                EventKind.CLIENTS_REFUSED,
                frontend.name,
                f"frontend {frontend.name} refused {count} ({kind.value})",
                EventSeverity.WARNING,
                frontend=frontend.name,
                reason=kind.value,
                count=count,
            )

        return report

    def _queue_full(self, backend: Backend) -> Callable[[int], None]:
        def report(count: int) -> None:
            self._events.add(
                EventKind.QUEUE_FULL,
                backend.name,
                f"backend {backend.name} rejected {count}: its queue was full",
                EventSeverity.WARNING,
                backend=backend.name,
                count=count,
            )

        return report

    def _log_dropped(self, path: str) -> Callable[[int], None]:
        def report(count: int) -> None:
            self._events.add(
                EventKind.LOG_DROPPED,
                path,
                f"access log {path} lost {count} lines",
                EventSeverity.WARNING,
                path=path,
                count=count,
            )

        return report

    def _grown(self, growth: Growth) -> Callable[[int], None]:
        def report(count: int) -> None:
            facts = {**growth.facts, "count": count}
            text = str(growth.words(count))
            self._events.add(growth.kind, growth.subject, text, growth.severity, **facts)

        return report

    def _certificates(self) -> None:
        now = self._now()
        seen: dict[str, float] = {}
        for pair in self._watched.key_pairs():
            key = f"{pair.source} {pair.expires}"
            days = (pair.expires - now) / _DAY
            step = next((limit for limit in reversed(EXPIRY_DAYS) if days < limit), None)
            if step is None:
                continue
            if key not in seen and self._told.get(key, _DAY) > step:
                self._expiring(pair, days)
            seen[key] = step
        self._told = seen

    def _expiring(self, pair: KeyPair, days: float) -> None:
        name = pair.names[0] if pair.names else pair.source
        when = "has expired" if days < 0 else f"expires in {_span(days)}"
        self._events.add(
            EventKind.CERTIFICATE_EXPIRING,
            name,
            f"certificate {name} ({pair.source}) {when}",
            EventSeverity.ERROR if days < 1 else EventSeverity.WARNING,
            source=pair.source,
            names=list(pair.names),
            expires=pair.expires,
            days=round(days, 2),
        )


def _add_growths(found: dict[str, Growth], feature: Feature[Any]) -> None:
    """Add the growths of a feature; those of an object that owners share are one."""
    for growth in feature.growths():
        growth.check()
        found[f"{feature.name} {growth.key} {growth.subject}"] = growth


def _span(days: float) -> str:
    if days >= 2:
        return f"{int(days)} days"
    hours = int(days * 24)
    return f"{hours} hour{'' if hours == 1 else 's'}"
