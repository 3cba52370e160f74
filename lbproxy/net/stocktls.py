"""DATA. A TLS handshake on any Twisted transport, through Twisted's memory BIO.

:mod:`lbproxy.net.stock` uses it, and so does the fast network if it cannot run TLS on the socket
itself.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.errors import ProxyError
from lbproxy.net.handover import hand_over
from lbproxy.net.handshaking import Handshaking
from lbproxy.tls.errorwords import speaks_http, tls_error_text
from lbproxy.tls.info import tls_info

__all__ = ["StockHandshake", "StockTLSTransport"]

_log = Logger()


@implementer(ISSLTransport)
class StockTLSTransport(TLSMemoryBIOProtocol):
    """Twisted's TLS transport, changed to report that it is TLS and to close without waiting for
    the peer.

    Twisted sends close_notify and then waits for the peer's without a limit, and a peer may never
    answer. RFC 8446 §6.1 does not require the wait: everything written is flushed, then the
    connection is closed. ``creator``: see :class:`lbproxy.tls.parameters.TLSParameters`.
    """

    creator: Any = None

    def loseWriteConnection(self) -> None:
        """Close the connection. A FIN below TLS would look like an attack to the peer."""
        self.loseConnection()  # type: ignore[no-untyped-call]

    def _shutdownTLS(self) -> None:
        super()._shutdownTLS()  # type: ignore[no-untyped-call]
        if self.disconnecting and not self._aborted and self.transport is not None:
            self.transport.loseConnection()

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """Handle the end of TLS. A client that speaks plain HTTP gets an answer without TLS."""
        reply = getattr(self.creator, "plain_reply", b"")
        if reply and reason is not None and speaks_http(reason.value):
            assert self.transport is not None
            self.transport.write(reply)
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the end of the connection. We did not wait for the peer's close_notify, so its
        absence is not an error.
        """
        if self.disconnecting and not self._aborted and isinstance(reason.value, ConnectionDone):
            self._lostTLSConnection = True
        remember = getattr(self.creator, "remember", None)
        if remember is not None and self._handshakeDone:
            remember(self._tlsConnection)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class StockHandshake(Handshaking):
    """A handshake on any transport of Twisted or lbproxy."""

    _raw: Any = None
    _tls: Any = None
    _received = b""
    _begun = _paused = False

    def begin(self, transport: Any, received: bytes) -> None:
        """See :meth:`Handshaking.begin`."""
        self._raw = transport
        self._received = received
        if self._places is None:
            self._start()
            return
        self._places.take(self)
        if not self._begun:
            self._paused = True
            transport.pauseProducing()

    def place_free(self) -> None:
        """See :class:`PlacedHandshake`."""
        self._start()
        if self._paused:
            self._paused = False
            self._raw.resumeProducing()

    def answered(self) -> bool:
        """See :class:`PlacedHandshake`."""
        return self._tls is not None and self._tls.getHandle().get_cipher_name() is not None

    def _start(self) -> None:
        """Run TLS on the transport."""
        self._begun = True
        transport, received, self._received = self._raw, self._received, b""
        if self._places is not None:
            self._places.stepped(self)
        reactor = self._loop.reactor
        creator, client = self._parameters.creator, not self._parameters.server_side
        try:
            factory = TLSMemoryBIOFactory(creator, client, _WRAPPED, reactor)
            tls = StockTLSTransport(factory, _Waiting(self))  # type: ignore[no-untyped-call]
            tls.creator = creator
            self._tls = tls
            if not hand_over(transport, tls, received):
                raise TypeError(f"{transport!r} does not allow a change of its protocol")
        except BaseException:
            _log.failure("TLS cannot be started")
            reactor.callLater(0, self._fail, ProxyError(self._kind, "TLS cannot be started"))

    def completed(self, tls: Any) -> None:
        """Connect the next protocol, because TLS is established and verified."""
        if self._failed is None:
            return
        protocol = self._settle(tls_info(tls.getHandle()))
        if protocol is not None:
            hand_over(tls, protocol)

    def lost(self, tls: Any, reason: BaseException) -> None:
        """Fail, because the handshake failed or the peer left."""
        problem = getattr(self._parameters.creator, "problem", None)
        detail = problem(tls.getHandle()) if problem is not None else ""
        self._fail(ProxyError(self._kind, detail or tls_error_text(reason)))

    def _decided(self) -> Any:
        self._tls = None
        return super()._decided()

    def _drop(self) -> None:
        if self._raw is not None:
            self._raw.abortConnection()


@implementer(IHandshakeListener)
class _Waiting(Protocol):
    """The protocol of the TLS layer until the handshake has ended."""

    def __init__(self, handshake: StockHandshake) -> None:
        self._handshake = handshake

    def handshakeCompleted(self) -> None:
        self._handshake.completed(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert reason.value is not None
        self._handshake.lost(self.transport, reason.value)


_WRAPPED = Factory()  # required by Twisted's TLS factory; the protocols are created here
