"""DATA. Connections opened in advance: ``pool_min`` idle ones for each server that takes traffic.

The rules:

1. A server gets connections in advance while it is up and may be picked: not in drain, maint or
   down, and not an unused backup. A server with the PROXY header gets none, because its
   connections belong to one client each.
2. Missing connections are dialled when the server comes up. The number is checked once a second.
   At most :data:`AT_ONCE` dials of a backend run at a time, and at most ``pool_min`` per second
   are started for a server that closes them as fast as they are made.
3. Leases, idle connections and dials together never exceed the server's ``maxconn``. Worker
   processes do not see each other's idle connections, so each uses at most its part of it.
4. A dial has ``timeout_connect``. A failed one is counted like any other (``connect_errors``,
   passive health, once for all that ran at the same time). The next dial follows after a second,
   then after two, at most after :data:`LONGEST_PAUSE`, and is a single one.
5. A connection that is unused for ``pool_idle`` is closed like any other, and replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from lbproxy.balance.server import ServerState, State
from lbproxy.errors import ProxyError
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.http.connector import connector_of
from lbproxy.proxy.http.streams import ConnectionInfo, ServerConnection

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["AT_ONCE", "LONGEST_PAUSE", "Warmer"]

AT_ONCE = 16
"""Maximum number of dials of one backend at a time."""

LONGEST_PAUSE = 30.0
"""Maximum pause in seconds between two dials to a server that does not answer."""

_LOOK = 1.0  # seconds between two checks
_SOON = 0.1  # the next check while more connections are missing than may be dialled at once


@define(eq=False)
class _Note:
    """The data about a server's dials.  ``pause``: 0 while they succeed."""

    running: int = 0
    begun: int = 0  # dials since ``second``
    second: float = float("-inf")
    until: float = float("-inf")  # no dials before this time
    pause: float = 0.0


class _Warming:
    """The waiter of one dial."""

    is_first = False
    replayable = True

    def __init__(self, warmer: Warmer, server: ServerState) -> None:
        self.info = ConnectionInfo()
        self.server = server
        self.connector = connector_of(server)
        self._warmer = warmer

    def connected(self, connection: ServerConnection) -> None:
        """Put the new connection into the pool."""
        self._warmer.made(self, connection)

    def connect_failed(self, error: ProxyError) -> None:
        """Count the failed dial."""
        self._warmer.failed(self, error)


class Warmer(Feature["Backend"]):
    """Opens connections in advance; see the module. ``dials``: running now."""

    name = "pool_min"
    keys = ("pool_min",)

    def __init__(self) -> None:
        self.dials: set[_Warming] = set()
        self._notes: dict[ServerState, _Note] = {}
        self._works = self._retired = False

    @classmethod
    def prepare(cls, spec: Any, old: Warmer | None, given: Given) -> Warmer | None:
        """See :class:`Feature`."""
        if not spec.pool_min:
            return None
        return old if old is not None else cls()

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`.  Nothing is dialled before :meth:`start`."""
        self._backend = owner
        self._now = owner.wheel.now
        self._timer = owner.wheel.timer(self._look)

    def start(self) -> None:
        """See :class:`Feature`."""
        if not self._retired:
            self._works = True
            self._timer.set(0.0)

    def retire(self) -> None:
        """Start no more dials, and cancel running ones."""
        self._works, self._retired = False, True
        self._timer.close()
        self._cancel()

    close = retire

    def _cancel(self) -> None:
        dials, self.dials = self.dials, set()
        self._notes.clear()
        for one in dials:
            one.connector.cancel(one)

    def state_changed(self, server: ServerState, old: State, new: State) -> None:
        """Dial a server that has come up."""
        if new is State.UP and self._works:
            note = self._notes.get(server)
            if note is not None:
                note.until = note.pause = 0.0
            self._timer.set(0.0)

    # -- missing connections --------------------------------------------------------------------

    def _look(self) -> None:
        backend = self._backend
        now = self._now()
        servers = backend.group.servers
        for server in [one for one in self._notes if servers.get(one.name) is not one]:
            del self._notes[server]
        pause = _LOOK
        for server in servers.values():
            missing = self._missing(server, now)
            while missing and len(self.dials) < AT_ONCE:
                missing -= 1
                self._dial(server)
            if missing:
                pause = _SOON
                break
        self._timer.set(pause)

    def _takes(self, server: ServerState) -> bool:
        """Return whether the server needs connections now."""
        up = server.listed and server.state is State.UP
        return up and not server.spec.send_proxy and not connector_of(server).closed

    def _missing(self, server: ServerState, now: float) -> int:
        """Return how many dials may start."""
        if not self._takes(server):
            return 0
        wanted = self._backend.spec.pool_min
        idle = connector_of(server).idle
        note = self._notes.get(server)
        running = 0
        if note is not None:
            if now < note.until:
                return 0
            running = note.running
            if note.pause:
                return int(running + idle < wanted and self._room(server) > 0 and not running)
            if now - note.second < _LOOK:
                return max(0, min(wanted - idle - running, wanted - note.begun, self._room(server)))
        return max(0, min(wanted - idle - running, self._room(server)))

    def _room(self, server: ServerState) -> int:
        """Return how many more connections ``maxconn`` allows."""
        if not server.maxconn:
            return self._backend.spec.pool_min
        note = self._notes.get(server)
        running = note.running if note is not None else 0
        ours = connector_of(server).idle + running
        return min(server.maxconn - server.active, server.maxconn // self._backend.processes) - ours

    # -- a dial ---------------------------------------------------------------------------------

    def _dial(self, server: ServerState) -> None:
        now = self._now()
        note = self._notes.get(server)
        if note is None:
            note = self._notes[server] = _Note()
        if now - note.second >= _LOOK:
            note.second, note.begun = now, 0
        note.begun += 1
        note.running += 1
        one = _Warming(self, server)
        self.dials.add(one)
        one.connector.warm(one)

    def _over(self, one: _Warming) -> _Note | None:
        """Handle the end of a dial; None if it was cancelled."""
        if one not in self.dials:
            return None
        self.dials.discard(one)
        note = self._notes.get(one.server)
        if note is not None:
            note.running -= 1
        return note

    def made(self, one: _Warming, connection: ServerConnection) -> None:
        """Put a connection into the pool, if the server still needs it."""
        server = one.server
        note = self._over(one)
        if note is None or not self._takes(server):
            connection.shut()
            return
        note.pause = 0.0
        if self._room(server) > 0 and connector_of(server).idle < self._backend.spec.pool_min:
            connection.rest()
        else:
            connection.shut()  # traffic has used the capacity first

    def failed(self, one: _Warming, error: ProxyError) -> None:
        """Count a failed dial, and pause dials to the server."""
        server = one.server
        server.counters.connect_errors += 1
        note = self._over(one)
        if note is None:
            return
        now = self._now()
        if now < note.until:
            return  # one of several that ran at the same time
        note.pause = min(2 * note.pause, LONGEST_PAUSE) or 1.0
        note.until = now + note.pause
        passive = self._backend.passive
        if passive is not None and self._takes(server):
            passive.failed(server, error.kind)
