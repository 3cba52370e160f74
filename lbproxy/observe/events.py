"""PURE. Events for people: a bounded list of typed events, with subscribers.

:mod:`lbproxy.service` owns one :class:`Events`. :mod:`lbproxy.alerts.watch` and the alerts add
events, the admin API shows them. Events are rare by construction: if clients can cause one at any
rate, it is added as one event with a count (see :class:`Burst`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from attrs import evolve, field, frozen

__all__ = ["KEEP", "MEANING", "Burst", "Event", "EventKind", "EventSeverity", "Events"]

KEEP = 1000
"""Number of events kept; the oldest are dropped first."""


class EventSeverity(str, Enum):
    """The importance of an event."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventKind(str, Enum):
    """The kind of an event; :data:`MEANING` has its description."""

    SERVER_UP = "server_up"
    SERVER_DOWN = "server_down"
    SERVER_DRAIN = "server_drain"
    SERVER_MAINT = "server_maint"
    BACKEND_EMPTY = "backend_empty"
    LISTENER_BOUND = "listener_bound"
    LISTENER_CLOSED = "listener_closed"
    RELOAD = "reload"
    RELOAD_REFUSED = "reload_refused"
    UPGRADE = "upgrade"
    UPGRADE_FAILED = "upgrade_failed"
    CHANGED = "changed"
    WORKER_DIED = "worker_died"
    WORKER_STARTED = "worker_started"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    CERTIFICATE_CHANGED = "certificate_changed"
    CLIENTS_REFUSED = "clients_refused"
    CLIENTS_BANNED = "clients_banned"
    QUEUE_FULL = "queue_full"
    LOG_DROPPED = "log_dropped"
    CACHE_PURGED = "cache_purged"
    ALERT = "alert"
    RECOVERED = "recovered"


MEANING: dict[EventKind, str] = {
    EventKind.SERVER_UP: "a server takes traffic (again)",
    EventKind.SERVER_DOWN: "a server is down: its checks failed, or its name does not resolve",
    EventKind.SERVER_DRAIN: "a server is drained: it takes no new traffic",
    EventKind.SERVER_MAINT: "a server is in maintenance: it takes no new traffic and no checks",
    EventKind.BACKEND_EMPTY: "a backend has no usable server left",
    EventKind.LISTENER_BOUND: "a listener was bound",
    EventKind.LISTENER_CLOSED: "a listener was closed",
    EventKind.RELOAD: "a new configuration is in use",
    EventKind.RELOAD_REFUSED: "a new configuration was wrong and is not used",
    EventKind.UPGRADE: "a new process has taken over the listening sockets; the old one drains",
    EventKind.UPGRADE_FAILED: "a new process could not take over; this one continues",
    EventKind.CHANGED: "an operator changed something at run time",
    EventKind.WORKER_DIED: "a worker process exited unexpectedly",
    EventKind.WORKER_STARTED: "a worker process started",
    EventKind.CERTIFICATE_EXPIRING: "a certificate in use expires soon, or has expired",
    EventKind.CERTIFICATE_CHANGED: "a certificate was replaced",
    EventKind.CLIENTS_REFUSED: "limits, lists, bans or firewalls refused "
    "clients; with their number",
    EventKind.CLIENTS_BANNED: "client addresses were banned; with their number",
    EventKind.QUEUE_FULL: "requests were rejected because a queue was full; with their number",
    EventKind.LOG_DROPPED: "access log lines were lost; with their number",
    EventKind.CACHE_PURGED: "clients purged a cache with the method PURGE; with their number",
    EventKind.ALERT: "an alert fires",
    EventKind.RECOVERED: "an alert has ended",
}


@frozen
class Event:
    """An event.

    ``number`` increases by one from 1. ``at``: Unix time in seconds. ``subject``: what the event is
    about, such as ``app/a`` (backend/server), ``web`` (frontend) or "". ``text``: one line for
    people. ``facts``: the same as plain JSON types.
    """

    number: int
    at: float
    kind: EventKind
    severity: EventSeverity
    subject: str
    text: str
    facts: dict[str, Any] = field(factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the event as plain JSON types."""
        return {
            "number": self.number,
            "at": self.at,
            "kind": self.kind.value,
            "severity": self.severity.value,
            "subject": self.subject,
            "text": self.text,
            "facts": self.facts,
        }


Subscriber = Callable[[Event], None]


class Events:
    """The last events, oldest first.

    ``now``: Unix time. ``keep``: number of events kept. ``failed(error)`` is called for an
    exception of a subscriber; other subscribers and the caller of :meth:`add` are not affected.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        keep: int = KEEP,
        failed: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.last = 0  # number of the newest event
        self._now = now
        self._ring: deque[Event] = deque(maxlen=keep)
        self._foreign = 0  # number of the newest event of another process
        self._subscribers: list[Subscriber] = []
        self._failed = failed

    def add(
        self,
        kind: EventKind,
        subject: str,
        text: str,
        severity: EventSeverity = EventSeverity.INFO,
        **facts: Any,
    ) -> Event:
        """Append an event and call the subscribers. Never raises."""
        self.last += 1
        event = Event(self.last, self._now(), kind, severity, subject, text, facts)
        self._ring.append(event)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(event)
            except BaseException as error:
                self._failed(error)
        return event

    def restore(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Start with the events of another process, in the form of :meth:`Event.as_dict`.

        Subscribers are not called. Events of kinds unknown to this version are ignored.
        """
        for one in events:
            try:
                kind, severity = EventKind(one["kind"]), EventSeverity(one["severity"])
            except ValueError:
                continue
            number = max(int(one["number"]), self.last + 1)
            subject, text, facts = str(one["subject"]), str(one["text"]), dict(one["facts"])
            self._ring.append(Event(number, float(one["at"]), kind, severity, subject, text, facts))
            self.last = number
        self._foreign = self.last

    def insert(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Insert events that the other process added after those of :meth:`restore`.

        They keep their numbers. The events of this process follow with new ones.
        """
        own = [event for event in self._ring if event.number > self._foreign]
        for _ in own:
            self._ring.pop()
        self.last = self._foreign
        self.restore(events)
        for event in own:
            self.last += 1
            self._ring.append(evolve(event, number=self.last))

    def since(self, number: int = 0, limit: int = KEEP) -> list[Event]:
        """Return the events after ``number``, oldest first, at most the newest ``limit``
        of them.
        """
        found: list[Event] = []
        for event in reversed(self._ring):
            if event.number <= number or len(found) >= limit:
                break
            found.append(event)
        return found[::-1]

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber(event)`` for each future event, in the thread that adds it.

        Return a function that ends the subscription. A second call does nothing.
        """
        self._subscribers.append(subscriber)

        def end() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return end

    def __len__(self) -> int:
        return len(self._ring)


class Burst:
    """Combines many occurrences into few reports: the first at once, then sums, ``every`` seconds
    apart.
    """

    __slots__ = ("_every", "_last", "held")

    def __init__(self, every: float = 60.0) -> None:
        self._every = every
        self._last = float("-inf")
        self.held = 0  # not reported yet

    def add(self, count: int, now: float) -> int:
        """Count occurrences; return the number to report now, 0 for none.

        ``count``: new occurrences, 0 if there were none.
        """
        self.held += count
        if not self.held or now - self._last < self._every:
            return 0
        self._last = now
        told, self.held = self.held, 0
        return told
