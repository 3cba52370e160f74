"""DATA. A TLS handshake on any Twisted transport, through Twisted's memory BIO.

Used by :class:`lbproxy.net.stock.StockNetwork`, and by the fast network where it cannot run TLS on the
socket itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IProtocol, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.errors import Kind, ProxyError
from lbproxy.net.handover import hand_over
from lbproxy.net.timers import TimerWheel
from lbproxy.tls.info import tls_error_text, tls_info
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["StockHandshake", "StockTLSTransport"]

_log = Logger()


@implementer(ISSLTransport)
class StockTLSTransport(TLSMemoryBIOProtocol):
    """Twisted's TLS, except that it says that it is TLS, and that closing does not wait for the peer.

    Twisted sends close_notify and then waits for the peer's, without a limit; a peer may never answer.
    RFC 8446 §6.1 does not ask for the wait: everything written is flushed, then the connection closes.
    """

    def loseWriteConnection(self) -> None:
        """Close: a FIN below TLS, which this would be otherwise, is an attack to the peer."""
        self.loseConnection()  # type: ignore[no-untyped-call]

    def _shutdownTLS(self) -> None:
        super()._shutdownTLS()  # type: ignore[no-untyped-call]
        if self.disconnecting and not self._aborted and self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted's call.  We did not wait for the peer's close_notify, so its absence is no loss."""
        if self.disconnecting and not self._aborted and isinstance(reason.value, ConnectionDone):
            self._lostTLSConnection = True
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


@implementer(IHandshakeListener)
class StockHandshake(Protocol):
    """What sits on the TLS layer until the handshake has ended.

    ``established(info)`` returns the protocol that follows; ``failed(error)`` is the other end, the
    connection being closed; exactly one of them is called, unless :meth:`cancel` is.  ``late``: the
    error at the deadline, ``timeout`` seconds from now.
    """

    def __init__(
        self,
        wheel: TimerWheel,
        parameters: TLSParameters,
        established: Callable[[TLSInfo], IProtocol],
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        late: ProxyError | None = None,
    ) -> None:
        self._parameters = parameters
        self._established = established
        self._failed: Callable[[ProxyError], None] | None = failed
        self._kind = Kind.CLIENT_TLS if parameters.server_side else Kind.SERVER_TLS
        self._late = late or ProxyError(self._kind, f"no handshake within {timeout:.3g} s")
        self._raw: Any = None
        self._timer = wheel.timer(self._too_late)
        self._timer.set(timeout)

    def begin(self, clock: Any, transport: Any, received: bytes) -> None:
        """Put TLS on ``transport``, ``received`` being what was read from it already."""
        self._raw = transport
        try:
            factory = TLSMemoryBIOFactory(
                self._parameters.creator, not self._parameters.server_side, _WRAPPED, clock
            )
            tls = StockTLSTransport(factory, self)  # type: ignore[no-untyped-call]
            if not hand_over(transport, tls, received):
                raise TypeError(f"{transport!r} cannot be given to another protocol")
        except Exception:
            _log.failure("TLS cannot be started")
            clock.callLater(0, self._fail, ProxyError(self._kind, "TLS cannot be started"))

    def handshakeCompleted(self) -> None:
        """Verified and established: the protocol proper takes over."""
        failed = self._decided()
        if failed is None:
            return
        tls: Any = self.transport
        try:
            protocol = self._established(tls_info(tls.getHandle()))
        except ProxyError as error:
            tls.abortConnection()
            failed(error)
            return
        hand_over(tls, protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The handshake failed, or the peer left."""
        tls: Any = self.transport
        problem = getattr(self._parameters.creator, "problem", None)
        detail = problem(tls.getHandle()) if problem is not None else ""
        assert reason.value is not None
        self._fail(ProxyError(self._kind, detail or tls_error_text(reason.value)))

    def cancel(self) -> None:
        """Drop the connection and say nothing; harmless once it is decided."""
        if self._decided() is not None:
            self._abort()

    def _too_late(self) -> None:
        self._fail(self._late)

    def _fail(self, error: ProxyError) -> None:
        failed = self._decided()
        if failed is not None:
            self._abort()
            failed(error)

    def _decided(self) -> Callable[[ProxyError], None] | None:
        failed, self._failed = self._failed, None
        self._timer.close()
        return failed

    def _abort(self) -> None:
        if self._raw is not None:
            self._raw.abortConnection()


_WRAPPED = Factory()  # Twisted's TLS factory wants one; the protocols are made here
