"""DATA. A TCP session, which is also the protocol of the client's connection.

:mod:`lbproxy.proxy.tcp.state` has the table of its states, :mod:`lbproxy.proxy.tcp.routing` the
choice of a server, :mod:`lbproxy.proxy.tcp.attempt` the server's side. The rules:

1. Bytes that the client sends before the server is connected are buffered, up to
   :data:`EARLY_BYTES`, so that the end of the client's connection is detected.
2. A failed dial releases the lease and, while retries are left, another server is tried.
3. In RELAYING the two transports are each other's producers, so that neither is read faster than
   the other accepts data. If a direction moves bulk data between lbproxy's own transports without
   TLS, the kernel relays it (:mod:`lbproxy.net.relay`).
4. A FIN from one side becomes a FIN to the other. The session is over when both directions are.
5. :meth:`Session._finish` runs exactly once: lease, counters, log, filters of phase ``finish``.
6. Buffered data may then still be sent, for at most :data:`FLUSH_S`. The session stays among the
   frontend's clients until both its connections are closed, so that a stopping frontend can abort
   it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.errors import Kind, ProxyError
from lbproxy.net import halfclose
from lbproxy.net.relay import splice_to
from lbproxy.net.stream import Stream, StreamProtocol
from lbproxy.net.wrapped import stream_of
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.info import note_local
from lbproxy.proxy.tcp.attempt import TCPAttempt
from lbproxy.proxy.tcp.ends import CLIENT, SERVER, is_clean, words_of
from lbproxy.proxy.tcp.routing import Routing
from lbproxy.proxy.tcp.state import SessionState
from lbproxy.proxy.tries import Tries

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["EARLY_BYTES", "Session"]

EARLY_BYTES: Final = 64 * 1024
"""Maximum bytes that a client may send before its server is connected."""

_DIALLING: Final = SessionState.DIALLING  # cached, because each enum member access costs a lookup
_PAUSED: Final = SessionState.PAUSED
_CONNECTED: Final = SessionState.CONNECTED
_RELAYING: Final = SessionState.RELAYING
_OK: Final = Kind.OK


class Session(Routing, StreamProtocol):
    """A TCP session and the protocol of its client."""

    __slots__ = ("_early_size", "_tap", "factory")

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__(frontend, info)
        self.factory: Any = None
        self._tap: Any = None  # in RELAYING, receives the client's bytes
        self._early_size = 0

    # -- the client's connection ----------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self._client = stream_of(transport)
        self._open = CLIENT
        note_local(self.info, transport)
        frontend = self.frontend
        frontend.clients.add(self)
        early = frontend.early
        if early:
            run_hooks(self, self, early, self._route)
        else:
            self._route()

    def dataReceived(self, data: bytes) -> None:
        """Handle bytes from the client."""
        server = self._to_server
        if server is not None:
            self.bytes_in += len(data)
            server.write(data)
        elif not self.over:
            self.bytes_in += len(data)
            if self.state is _RELAYING:
                self._tap(data)
            else:
                self._keep(data)

    def _keep(self, data: bytes) -> None:
        """Buffer bytes by rule 1."""
        if self._early is None:
            self._early = [data]
        else:
            self._early.append(data)
        before = self._early_size
        self._early_size = before + len(data)
        if before < EARLY_BYTES <= self._early_size:
            self.transport.pauseProducing()

    def bulk_flow(self) -> None:
        """Handle much data from the client; the transport calls it."""
        attempt = self._attempt
        # otherwise the kernel would bypass the tap
        if attempt is not None and self._to_server is not None:
            splice_to(self.transport, attempt.transport, self.moved_in)

    def moved_in(self, size: int) -> None:
        """Handle bytes that the kernel has read from the client; 0: the server has read some."""
        self.bytes_in += size
        if self._idle is not None:
            self._idle.touch()

    def moved_out(self, size: int) -> None:
        """See :class:`TCPTraffic`."""
        self.bytes_out += size
        if self._idle is not None:
            self._idle.touch()

    def peer_hung_up(self, reset: bool) -> bool:
        """Handle a hang-up of the client while reading is paused. A reset ends the session at
        once.
        """
        return reset

    def readConnectionLost(self) -> None:
        """Handle the end of the client's direction."""
        if halfclose.peer_ended(self._half):
            return
        self._ended(halfclose.PEER_END, CLIENT)
        if self.over:
            return
        if self._open & SERVER:
            self._pass_end(self._server_stream())
        elif not self._early_size and (self._attempt is None or self._attempt.lease is None):
            self._end(Kind.CLIENT_GONE, "left before a server was found")

    def writeConnectionLost(self) -> None:
        """Do nothing: the FIN to the client is being sent."""

    def connectionLost(self, reason: Failure) -> None:
        """Handle the end of the client's connection."""
        self._open &= ~CLIENT
        self._to_server = None
        if not self.over:
            if not self._open & SERVER:
                self._finish(Kind.CLIENT_GONE, "left before the server was connected")
            else:
                clean = is_clean(reason)
                self._finish(_OK if clean else Kind.CLIENT_GONE, "" if clean else words_of(reason))
                # many clients close TLS without a close_notify: their earlier data must arrive
                self._close_server(clean or self.info.tls is not None)
                self._limit_flush()
        self.frontend.depart(self.info)
        if not self._open:
            self._gone()

    # -- the server's connection ----------------------------------------------------------------

    def _connect(self) -> None:
        assert self._attempt is not None
        self.state = _DIALLING
        self._attempt.connect()

    def attempt_failed(self, error: ProxyError) -> None:
        """See :class:`TCPTraffic`; try again if that is allowed and may help."""
        backend, server = self.backend, self.server
        assert backend is not None and server is not None
        tries = self._tries
        if tries is None:
            limits = self._limits
            tries = self._tries = Tries(self.started, -1 if limits is None else limits.retries)
            self.tried = tries.servers
        if not (error.retry and tries.allow(backend, self.attempts)):
            self.fail(error)
            return
        pause = tries.again(backend, server, self.attempts)
        if pause:
            self.state = _PAUSED
            self._wake_in(pause)
        else:
            self._acquire()

    def attempt_connected(self) -> None:
        """See :class:`TCPTraffic`."""
        attempt = self._attempt
        assert attempt is not None and attempt.stream is not None
        self.state = _CONNECTED
        self._open |= SERVER
        self.t_connect = attempt.t_connect
        hooks = self._hooks
        if hooks is not None and hooks.response:
            attempt.stream.pauseProducing()
            held: list[bytes] = []  # TLS may have read more already
            attempt.tap = held.append
            run_hooks(self, self, hooks.response, partial(self._resume_and_join, attempt, held))
        else:
            self._join(attempt)

    def _resume_and_join(self, attempt: TCPAttempt, held: list[bytes]) -> None:
        assert attempt.stream is not None and self._client is not None
        attempt.stream.resumeProducing()
        self._join(attempt)
        if held and self._open == CLIENT | SERVER:
            data = b"".join(held)
            if attempt.to_client is not None:
                attempt.to_client.write(data)
            else:
                attempt.tap(data)

    def wrap_streams(self, wrap: Callable[[Stream], Stream]) -> None:
        """Replace each stream by ``wrap(stream)``; for hooks of phase ``response``."""
        attempt = self._attempt
        if self._client is not None and attempt is not None and attempt.stream is not None:
            self._client = wrap(self._client)
            attempt.stream = wrap(attempt.stream)

    def _join(self, attempt: TCPAttempt) -> None:
        """Start to relay bytes."""
        client, server = self._client, attempt.stream
        if client is None or server is None or not self._open & SERVER:
            self._end(Kind.SERVER_GONE, "closed before the session began")
            return
        self.state = _RELAYING
        server.registerProducer(client, True)
        client.registerProducer(server, True)
        rebalancer = attempt.backend.rebalancer
        if rebalancer is not None:
            self.watched = rebalancer.watch()
        watched = self.watched
        if watched is None:
            self._to_server = server
            attempt.to_client = client
        else:
            self._tap = watched.tap_client(server.write)
            attempt.tap = watched.tap_server(client.write)
        early, self._early = self._early, None
        if self._early_size >= EARLY_BYTES and not halfclose.peer_ended(self._half):
            client.resumeProducing()  # before the write, which may pause it again
        if early:
            data = early[0] if len(early) == 1 else b"".join(early)
            if self._to_server is None:
                self._tap(data)
            else:
                server.write(data)
        if halfclose.peer_ended(self._half):
            server.loseWriteConnection()
        self._watch()

    # -- ends and orders ------------------------------------------------------------------------

    def server_gone(self, kind: Kind) -> None:
        """End because the server went down with ``on_down = close``, or an operator ended the
        session.
        """
        attempt = self._attempt
        error = ProxyError(kind, "went down during the dial")
        # no data is lost yet: try another server
        if kind is not Kind.SERVER_DOWN or attempt is None or not attempt.give_up(error):
            self._end(kind, "")

    def shut(self) -> None:
        """Stop: a session with a server continues, one without a server ends."""
        if self._attempt is None or self._attempt.stream is None:
            self._end(Kind.SHUTDOWN, "")


classImplements(Session, IProtocol, IHalfCloseableProtocol)
