"""DATA. The bytes before the actual protocol of a connection.

These are PROXY header, TLS handshake and ClientHello.

:class:`lbproxy.proxy.accept.ProxyFactory` uses it if a listener needs any of them. The steps, in
this order, each only if configured:

1. ``accept_proxy``: a PROXY header must come first. It reports the client's address, which
   :meth:`Preamble.named` checks.
2. ``tls``: a handshake, by the network; or ``look``: the ClientHello is parsed and left in place,
   for frontends that route by SNI or ALPN. Connections without TLS pass without a name.
3. ``ready(info, data)`` creates the protocol to which the connection is handed over.

All steps must complete within ``timeout``. With ``look``, a client that waits for the server to
speak first (SMTP, MySQL) sends nothing and reaches the timeout: route such protocols without SNI.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.net.clienthello import NotTLS, sniff
from lbproxy.net.endpoints import Dialler, Handshaking
from lbproxy.net.handover import hand_over
from lbproxy.net.proxyproto import ProxyHeader, ProxyHeaderParser
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["Preamble"]


class Preamble(Protocol):
    """The preamble of one connection; see the module.

    Exactly one of ``ready(info, data)`` and ``failed(info, error)`` is called. ``ready`` returns
    the protocol, which gets ``makeConnection`` and then ``data``, the bytes already read. It may
    raise :class:`ProxyError` to refuse, which is then passed to ``failed``. After ``failed`` the
    connection is closed. ``timeout`` in seconds. At most 4 KiB of PROXY header and 17 KiB of
    ClientHello are buffered, plus one segment.
    """

    def __init__(
        self,
        dialler: Dialler,
        info: ConnectionInfo,
        *,
        accept_proxy: bool,
        tls: TLSParameters | None,
        look: bool,
        timeout: float,
        ready: Callable[[ConnectionInfo, bytes], IProtocol],
        failed: Callable[[ConnectionInfo, ProxyError], None],
    ) -> None:
        self._dialler = dialler
        self._info = info
        self._header = ProxyHeaderParser() if accept_proxy else None
        self._tls = tls
        self._look = look
        self._timeout = timeout
        self._deadline = 0.0
        self._ready = ready
        self._failed: Callable[[ConnectionInfo, ProxyError], None] | None = failed
        self._timer = dialler.wheel.timer(self._too_late)
        self._buffer = b""
        self._handshake: Handshaking | None = None
        self._next: IProtocol | None = None  # for transports that cannot be handed over

    # -- what the transport calls

    def connectionMade(self) -> None:
        """Handle the accepted connection."""
        self._deadline = self._dialler.wheel.now() + self._timeout
        self._timer.set(self._timeout)
        if self._header is None:
            self._after_header(b"")

    def dataReceived(self, data: bytes) -> None:
        """Handle received bytes."""
        if self._next is not None:
            self._next.dataReceived(data)
            return
        if self._failed is None:
            return
        try:
            if self._header is not None:
                header = self._header.receive(data)
                if header is None:
                    return
                data, self._header = self._header.leftover, None
                self._announced(header)
                self.named(self._info)
                self._after_header(data)
            else:
                self._peek(data)
        except ProxyError as error:
            self._fail(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle a client that left early."""
        if self._next is not None:
            self._next.connectionLost(reason)
        else:
            self._fail(ProxyError(Kind.CLIENT_GONE, "left before its first bytes were complete"))

    def __conform__(self, interface: Any) -> Any:
        """Expose the final protocol's half-close on transports that cannot be handed over."""
        if interface is IHalfCloseableProtocol and self._next is not None:
            return IHalfCloseableProtocol(self._next, None)
        return None

    # -- the steps

    def _announced(self, header: ProxyHeader) -> None:
        """Finish step 1. Local and unknown headers keep the socket's own addresses."""
        info = self._info
        info.tlvs = header.tlvs
        if header.source_ip:
            info.client_ip, info.client_port = header.source_ip, header.source_port
            info.local_ip, info.local_port = header.destination_ip, header.destination_port

    def named(self, info: ConnectionInfo) -> None:
        """Handle the client reported by the PROXY header. A subclass may raise ProxyError to refuse
        it.
        """

    def _after_header(self, data: bytes) -> None:
        if self._tls is not None:
            self._timer.close()
            self._handshake = self._dialler.start_tls(
                self.transport,
                self._tls,
                self._secured,
                self._insecure,
                timeout=max(0.0, self._deadline - self._dialler.wheel.now()),
                received=data,
            )
        elif self._look:
            if data:
                self._peek(data)
        else:
            self._done(data)

    def _secured(self, tls: TLSInfo) -> IProtocol:
        """Finish step 2 with TLS: the network hands the connection to the returned protocol."""
        self._handshake = None
        info = self._info
        info.tls = tls
        info.sni = tls.sni
        info.alpn = (tls.alpn,) if tls.alpn else ()
        try:
            protocol = self._ready(info, b"")
        except ProxyError as error:
            self._insecure(error)
            return _Refused()
        self._failed = None
        return protocol

    def _insecure(self, error: ProxyError) -> None:
        """Handle a failed handshake. The network has closed the connection."""
        self._handshake = None
        failed, self._failed = self._failed, None
        if failed is not None:
            failed(self._info, error)

    def _peek(self, data: bytes) -> None:
        """Run step 2 with a ClientHello."""
        self._buffer = buffer = self._buffer + data
        hello = sniff(buffer)
        if hello is None:
            return
        if not isinstance(hello, NotTLS):
            self._info.sni = hello.sni
            self._info.alpn = hello.alpn
        self._buffer = b""
        self._done(buffer)

    def _done(self, data: bytes) -> None:
        """Run step 3 without TLS."""
        try:
            protocol = self._ready(self._info, data)
        except ProxyError as error:
            self._fail(error)
            return
        self._failed = None
        self._timer.close()
        # set before data moves, for a transport that keeps calling this protocol
        self._next = protocol
        if hand_over(self.transport, protocol, data):
            self._next = None

    # -- the end

    def _too_late(self) -> None:
        kind = Kind.BAD_PREAMBLE if self._header is not None else Kind.CLIENT_TIMEOUT
        self._fail(ProxyError(kind, f"the first bytes were incomplete after {self._timeout:g} s"))

    def _fail(self, error: ProxyError) -> None:
        failed, self._failed = self._failed, None
        if failed is None:
            return
        self._timer.close()
        self._buffer = b""
        handshake, self._handshake = self._handshake, None
        transport: Any = self.transport
        if handshake is not None:
            handshake.cancel()
        elif transport is not None:
            transport.abortConnection()
        failed(self._info, error)


class _Refused(Protocol):
    """Closes the connection at once."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()
