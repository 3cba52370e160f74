"""CONTROL. Draining servers: progress, waiting for the end, and the sessions on a server.

:class:`lbproxy.service.LoadBalancer` calls it from its methods of the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from lbproxy.balance.server import AdminState, RunningSession, ServerState, State
from lbproxy.http.message import text_of
from lbproxy.net.timers import TimerWheel
from lbproxy.proxy.backend import Backend

__all__ = ["DrainStatus", "Drains", "SessionView", "session_id", "sessions_of", "status_of"]

_LOOK = 0.1  # seconds between two checks of a server that a caller waits for


@frozen
class DrainStatus:
    """The progress of draining a server.

    ``sessions``: TCP sessions, tunnels and requests on it. ``stickies``: entries of the backend's
    sticky table for it, None without a table (no ``sticky``, or only a cookie). ``since_s``:
    seconds in ``state``.
    """

    backend: str
    server: str
    state: State
    sessions: int
    stickies: int | None
    since_s: float

    @property
    def done(self) -> bool:
        """True if the server has no sessions and gets no new ones by balancing."""
        return self.sessions == 0 and self.state in (State.DRAIN, State.MAINT)


@frozen
class SessionView:
    """A snapshot of a TCP session, tunnel or request on a server.

    ``id``: unique, never reused. ``age_s``: seconds since the start of the connection (TCP) or the
    request (HTTP). ``request``: method and path, without the query, which may contain secrets; ""
    for TCP. ``kind``: ``tcp``, ``http`` or ``tunnel``.
    """

    id: str
    backend: str
    server: str
    frontend: str
    kind: str
    client_ip: str
    client_port: int
    age_s: float
    bytes_in: int
    bytes_out: int
    request: str


def status_of(backend: Backend, server: ServerState) -> DrainStatus:
    """Return the current progress."""
    table = backend.sticky.table if backend.sticky is not None else None
    return DrainStatus(
        backend.name,
        server.name,
        server.state,
        server.session_count,
        table.count(server.name) if table is not None else None,
        max(0.0, backend.wheel.now() - server.since),
    )


def sessions_of(backend: Backend, servers: Iterable[ServerState]) -> Iterator[SessionView]:
    """Yield the sessions on ``servers`` of ``backend``, oldest first on each."""
    now = backend.wheel.now()
    for server in servers:
        for session in sorted(server.sessions, key=lambda one: one.traffic.started):
            yield _view(backend.name, server.name, session, now)


def session_id(session: RunningSession) -> str:
    """Return the id for :class:`SessionView`.

    The start time distinguishes sessions at the same memory address.
    """
    return f"{id(session):x}-{int(session.traffic.started * 1e6):x}"


def _view(backend: str, server: str, session: RunningSession, now: float) -> SessionView:
    traffic = session.traffic
    request = traffic.request
    kind, line = "tcp", ""
    if request is not None:
        kind = "tunnel" if traffic.tunnelled else "http"
        line = text_of(b" ".join((request.method, request.path)))[:200]
    return SessionView(
        session_id(session),
        backend,
        server,
        traffic.frontend_name,
        kind,
        traffic.client_ip,
        traffic.client_port,
        max(0.0, now - traffic.started),
        traffic.bytes_in,
        traffic.bytes_out,
        line,
    )


@define(eq=False)
class _Wait:
    backend: Backend
    server: ServerState
    deadline: float
    done: Deferred[DrainStatus]


class Drains(Service):
    """The callers that wait for drained servers. All are notified when the service stops."""

    def __init__(self, reactor: Any, wheel: TimerWheel) -> None:
        self._reactor = reactor
        self._wheel = wheel
        self._waits: list[_Wait] = []
        self._call: Any = None

    def wait(self, backend: Backend, server: ServerState, timeout: float) -> Deferred[DrainStatus]:
        """Return a Deferred that fires with the status when no session is left on ``server``.

        It fires after ``timeout`` seconds at the latest, and also if an operator takes the server
        back into service, so check ``done``. It may be cancelled.
        """
        done: Deferred[DrainStatus] = Deferred(self._cancelled)
        self._waits.append(_Wait(backend, server, self._wheel.now() + timeout, done))
        self._look()
        return done

    def stopService(self) -> None:
        """Report the progress to all waiting callers."""
        super().stopService()  # type: ignore[no-untyped-call]
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.done.callback(status_of(wait.backend, wait.server))

    def _cancelled(self, done: Deferred[DrainStatus]) -> None:
        self._waits = [wait for wait in self._waits if wait.done is not done]

    def _look(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        now = self._wheel.now()
        waits, self._waits = self._waits, []
        over: list[_Wait] = []
        for wait in waits:
            ended = not wait.server.session_count or wait.server.admin is AdminState.READY
            (over if ended or now >= wait.deadline else self._waits).append(wait)
        for wait in over:
            wait.done.callback(status_of(wait.backend, wait.server))
        if self._waits and self._call is None:
            self._call = self._reactor.callLater(_LOOK, self._look)
