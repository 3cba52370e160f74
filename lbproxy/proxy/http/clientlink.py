"""DATA. An accepted client connection below HTTP: reading, back-pressure, deadlines and the end.

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

    Two facts are independent of the state: back-pressure in each direction (``_read_paused``,
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
        self._unsent = 0  # unsent bytes when the client stopped reading, or at the last check
        self._end: ClientEnd | None = None  # set while the connection is being closed

    def _enter(self, state: int) -> None:
        """Change to ``state``, one that ``clientstate.NEXT`` allows."""
        if self._state == IDLE:
            self._wait_no_more()
        self._state = state

    # -- what a protocol defines ----------------------------------------------------------------

    def shut(self) -> None:
        """Stop: close now if idle, else after the running request."""
        raise NotImplementedError

    def _overdue(self) -> None:
        """Handle a missed deadline of the client."""
        raise NotImplementedError

    def _rearm(self) -> None:
        """Set the deadline of the state."""
        raise NotImplementedError

    def _client_gone(self, error: ProxyError) -> None:
        """End the client's running request, because nothing more can be sent to it."""
        raise NotImplementedError

    def _drop_input(self) -> None:
        """Discard received data that was not processed."""
        raise NotImplementedError

    # -- Twisted --------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Handle the accepted connection; TLS, if any, is established."""
        note_local(self.info, self.transport)
        self.frontend.clients.add(self)
        self.transport.registerProducer(self, True)
        # the first request has the time of a head to start, like later ones
        self._timer.set(self.frontend.spec.timeout_header)
        self.excess = self.frontend.has_too_many(self.info)
        self.frontend.limits.idle.add(self, True)

    def peer_hung_up(self, reset: bool) -> bool:
        """Handle a hang-up of the client while reading is paused. A reset ends its exchange at
        once.
        """
        return reset

    def writeConnectionLost(self) -> None:
        """Do nothing: the sending side is closed."""

    def stopProducing(self) -> None:
        """Do nothing: the transport is closing, and connectionLost follows."""

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
        """Start or stop reading."""
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
        """Disconnect a client that reads nothing. One that reads some gets the same time again."""
        self._unsent = taken_since(self.transport, self._unsent)
        if self._unsent:
            self._timer.set(self.frontend.client_timeout)
            return
        self._client_gone(ProxyError(Kind.CLIENT_STALLED, "does not read"))
        self._abort()

    # -- the end --------------------------------------------------------------------------------

    def kill(self, error: ProxyError) -> None:
        """Abort the connection in any state."""
        self._client_gone(error)
        self._abort()

    def _linger(self) -> None:
        """Close after the last answer. A client that may still send gets time to read it."""
        self._enter(LINGERING)
        self._drop_input()
        self._end = end = ClientEnd(self.transport, self._timer, self.frontend.client_timeout)
        end.linger()
        self._want(True)

    def _received_late(self, size: int) -> None:
        """Handle ``size`` bytes that the client has sent after the last answer."""
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
        """Close, because the client has had its time to read, or has closed."""
        end = self._end
        assert end is not None
        self._enter(CLOSING)
        end.close()

    def _abort(self) -> None:
        self._enter(CLOSED)
        self._timer.clear()
        self.transport.abortConnection()

    def _lost(self) -> None:
        """Release everything, because the connection is closed."""
        self._enter(CLOSED)
        self._timer.close()
        self._drop_input()
        self._end = None
        self.frontend.clients.discard(self)
