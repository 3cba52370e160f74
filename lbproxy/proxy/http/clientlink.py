"""DATA. An accepted client connection below HTTP: reading, back-pressure, deadlines, the end.

A protocol extends :class:`ClientLink` with its messages.  The states are those of
:mod:`lbproxy.proxy.http.clientstate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.idle import IdleClient
from lbproxy.proxy.http.clientend import ClientEnd
from lbproxy.proxy.http.clientstate import CLOSED, CLOSING, IDLE, LINGERING
from lbproxy.proxy.info import ConnectionInfo, note_local
from lbproxy.proxy.unsent import taken_since, unsent_bytes

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["ClientLink"]


class ClientLink(IdleClient):
    """See the module.

    These facts are independent of the state: back-pressure in each direction (``_read_paused``,
    ``_write_paused``), and whether the client has sent its FIN (``_eof``).
    """

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__()
        self.factory: Any = None
        self.transport: Any = None
        self.frontend = frontend
        self.info = info
        self._state = IDLE
        self._timer = frontend.wheel.timer(self._expired)
        self._read_paused = False
        self._write_paused = False
        self._eof = False
        self._unsent = 0  # bytes when the client stopped reading, or when it was last looked at
        self._end: ClientEnd | None = None  # once the connection is being closed

    def _enter(self, state: int) -> None:
        """Go to ``state``, one that ``clientstate.NEXT`` allows."""
        if self._state == IDLE:
            self._wait_no_more()
        self._state = state

    # -- what a protocol defines ----------------------------------------------------------------

    def shut(self) -> None:
        """The frontend stops: close now if idle, else after what runs."""
        raise NotImplementedError

    def _overdue(self) -> None:
        """The client has not sent in time what the state waits for."""
        raise NotImplementedError

    def _rearm(self) -> None:
        """Arm the deadline of the state."""
        raise NotImplementedError

    def _client_gone(self, error: ProxyError) -> None:
        """End what runs for the client: nothing more can be sent to it."""
        raise NotImplementedError

    def _drop_input(self) -> None:
        """Forget what was received and not yet acted upon."""
        raise NotImplementedError

    # -- Twisted --------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """The connection is accepted; TLS, if any, is established."""
        note_local(self.info, self.transport)
        self.frontend.clients.add(self)
        self.transport.registerProducer(self, True)
        # the first request has the time of a head to begin, like those after it
        self._timer.set(self.frontend.spec.timeout_header)
        self.excess = self.frontend.has_too_many(self.info)
        self.frontend.limits.idle.add(self, True)

    def peer_hung_up(self, reset: bool) -> bool:
        """The client has gone while reading is paused; a reset ends its exchange at once."""
        return reset

    def writeConnectionLost(self) -> None:
        """Do nothing: the sending side is closed."""

    def stopProducing(self) -> None:
        """The transport is going away; connectionLost follows."""

    # -- IdleClient -----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """See :class:`IdleClient`."""
        return self.info.counted_as or ""

    def waits_since(self) -> float:
        """See :class:`IdleClient`."""
        line = self.line
        if line is not None and line.silent:
            return self.info.connected
        return self._timer.deadline - self.frontend.timeout_keepalive

    def evict(self, silent: bool) -> None:
        """See :class:`IdleClient`."""
        self.frontend.evicted(self.info, silent)
        self._lose()

    def _wait_no_more(self) -> None:
        """Leave the line of idle connections."""
        line = self.line
        if line is not None:
            line.remove(self)

    # -- reading and deadlines ------------------------------------------------------------------

    def _want(self, want: bool) -> None:
        """Read, or do not read."""
        if want == self._read_paused:
            self._read_paused = not want
            if self._eof:
                return
            if want:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _write_stopped(self) -> None:
        """Start the deadline ``timeout_client`` for a client that does not read fast enough."""
        self._write_paused = True
        self._unsent = unsent_bytes(self.transport)
        self._timer.set(self.frontend.client_timeout)

    def _expired(self) -> None:
        state = self._state
        if state == LINGERING:
            self._close_now()
        elif state >= CLOSING:
            if self._end is None or not self._end.reads_on():
                self._abort()
        elif self._write_paused:
            self._stalled()
        else:
            self._overdue()

    def _stalled(self) -> None:
        """Cut off a client that takes nothing; one that takes some gets the same time again."""
        self._unsent = taken_since(self.transport, self._unsent)
        if self._unsent:
            self._timer.set(self.frontend.client_timeout)
            return
        self._client_gone(ProxyError(Kind.CLIENT_STALLED, "does not read"))
        self._abort()

    # -- the end --------------------------------------------------------------------------------

    def kill(self, error: ProxyError) -> None:
        """Cut the connection off, whatever it is doing."""
        self._client_gone(error)
        self._abort()

    def _linger(self) -> None:
        """Close after the last answer; a client that may still send gets time to read it."""
        self._enter(LINGERING)
        self._drop_input()
        self._end = end = ClientEnd(self.transport, self._timer, self.frontend.client_timeout)
        end.linger()
        self._want(True)

    def _received_late(self, size: int) -> None:
        """The client has sent ``size`` bytes after the last answer."""
        if self._end is not None:
            self._want(self._end.takes(size))

    def _lose(self) -> None:
        """Close after the written data; abort if the client does not read it."""
        if self._state >= LINGERING:
            return
        self._drop_input()
        self._end = ClientEnd(self.transport, self._timer, self.frontend.client_timeout)
        self._close_now()

    def _close_now(self) -> None:
        """The client has had its time to read, or wants no more."""
        end = self._end
        assert end is not None
        self._enter(CLOSING)
        end.close()

    def _abort(self) -> None:
        self._enter(CLOSED)
        self._timer.clear()
        self.transport.abortConnection()

    def _lost(self) -> None:
        """Release everything: the connection is closed."""
        self._enter(CLOSED)
        self._timer.close()
        self._drop_input()
        self._end = None
        self.frontend.clients.discard(self)
