"""CONTROL. Objects that a reload has removed, until their sessions end or their time is up.

:mod:`lbproxy.generation.reload` creates one for each reload that removes something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field, frozen
from twisted.logger import Logger

from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind
from lbproxy.generation.generation import Ground
from lbproxy.logs.sink import LogSink
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.frontend import Frontend

__all__ = ["Leaving", "Remnant"]

_log = Logger()

_LOOK = 0.25  # seconds between two checks whether all sessions have ended


@frozen
class Remnant:
    """The ``sessions`` of a removed object. ``what`` is ``frontend web``, ``backend app`` or
    ``server app/a``.
    """

    what: str
    sessions: int


@define(eq=False)
class Leaving:
    """Frontends, backends and servers that the new generation does not have, and logs that only
    they write.
    """

    ground: Ground
    frontends: list[Frontend] = field(factory=list)
    backends: list[Backend] = field(factory=list)
    servers: list[tuple[Backend, ServerState]] = field(factory=list)
    sinks: list[LogSink] = field(factory=list)
    _over: Callable[[Leaving], None] | None = None
    _deadline: float = 0.0
    _call: Any = None

    def remnants(self) -> Iterator[Remnant]:
        """Yield the removed objects that still have sessions.

        A session may count for its frontend and for its server.
        """
        for frontend in self.frontends:
            if frontend.client_count:
                yield Remnant(f"frontend {frontend.name}", frontend.client_count)
        for backend in self.backends:
            running = sum(server.session_count for server in backend.group.servers.values())
            if running or backend.queue.waiting:
                yield Remnant(f"backend {backend.name}", running + backend.queue.waiting)
        for backend, server in self.servers:
            if server.session_count:
                yield Remnant(f"server {backend.name}/{server.name}", server.session_count)

    @property
    def sessions(self) -> int:
        """Number of sessions on removed objects. Each counts once."""
        count = sum(frontend.client_count for frontend in self.frontends)
        for server in self._servers():
            count += server.session_count
            for session in server.sessions:
                count -= getattr(session.traffic, "frontend", None) in self.frontends
        return count + sum(backend.queue.waiting for backend in self.backends)

    def _servers(self) -> Iterator[ServerState]:
        for backend in self.backends:
            yield from backend.group.servers.values()
        for _, server in self.servers:
            yield server

    # -- life -----------------------------------------------------------------------------------

    def begin(self, limit: float, over: Callable[[Leaving], None]) -> None:
        """Stop new work, and give running work ``limit`` seconds.

        ``over(self)`` is called once, possibly before this returns.
        """
        self._over = over
        self._deadline = self.ground.network.wheel.now() + limit
        for frontend in self.frontends:
            frontend.stop()
        for backend in self.backends:
            backend.retire()
        self._look()

    def _look(self) -> None:
        self._call = None
        left = self._deadline - self.ground.network.wheel.now()
        if left > 0 and any(self.remnants()):
            self._call = self.ground.reactor.callLater(min(left, _LOOK), self._look)
            return
        self.finish()

    def finish(self) -> None:
        """Abort the remaining sessions. Later calls do nothing."""
        over, self._over = self._over, None
        if over is None:
            return
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for remnant in self.remnants():
            _log.warn(
                "cut off {sessions} sessions of {what}, which a reload removed",
                sessions=remnant.sessions,
                what=remnant.what,
            )
        for frontend in self.frontends:
            frontend.abort()
        for backend in self.backends:
            backend.close()
            for server in backend.group.servers.values():
                backend.kill_sessions(server, Kind.SHUTDOWN)
        for backend, server in self.servers:
            backend.kill_sessions(server)
        for sink in self.sinks:
            sink.stop()
        over(self)
