"""DATA. Connections through an exit: a source address, an interface, or a proxy."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from lbproxy.cors.tunnels import ConnectRequest, Negotiation, ProxyRefused, SocksRequest
from lbproxy.errors import Kind, ProxyError
from lbproxy.model import Address
from lbproxy.net.dial import Dial
from lbproxy.net.dialler import Dialler
from lbproxy.net.handover import hand_over
from lbproxy.net.lookup import look_up
from lbproxy.proxy.features.corsproxy.egress import EgressSpec, exit_url
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["exit_dialler"]

_NEGOTIATIONS: Final[dict[str, Callable[[str, int, str, str], Negotiation]]] = {
    "http": ConnectRequest,
    "socks5": SocksRequest,
}


def exit_dialler(dialler: Dialler, spec: EgressSpec, reactor: Any) -> Any:
    """Return a dialler for the exit ``spec``, with the interface of :class:`Dialler`."""
    if spec.proxy:
        return ProxyDialler(dialler, spec, reactor)
    if spec.source:
        return dialler.prepared_by(lambda sock: sock.bind((spec.source, 0)))
    if spec.interface:
        name = spec.interface.encode()
        return dialler.prepared_by(
            lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        )
    return dialler


class ProxyDialler(Dialler):
    """Dials through the proxy of ``spec``, whose address is configuration and is not judged."""

    def __init__(self, inner: Dialler, spec: EgressSpec, reactor: Any) -> None:
        super().__init__(inner.loop)
        self.inner = inner
        self.reactor = reactor
        scheme, self.host, self.port = exit_url(spec.proxy)
        self._kind = _NEGOTIATIONS[scheme]
        self._spec = spec

    def negotiation(self, address: Address) -> Negotiation:
        """Return the request for a connection to ``address``."""
        spec = self._spec
        return self._kind(address.host, address.port, spec.proxy_user, spec.proxy_password)

    def dial(
        self,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        tls: TLSParameters | None = None,
        preamble: bytes = b"",
    ) -> Dial:
        """See :meth:`Dialler.dial`."""
        return ProxyDial(self, address, protocol, failed, timeout, tls)


class ProxyDial(Dial):
    """One connection through a proxy: look-up, connection, request and TLS, with one outcome."""

    def __init__(
        self,
        way: ProxyDialler,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        timeout: float,
        tls: TLSParameters | None,
    ) -> None:
        self._way = way
        self._address = address
        self._protocol = protocol
        self._failed: Callable[[ProxyError], None] | None = failed
        self._tls = tls
        self._hosts: list[str] = []  # remaining addresses of the proxy
        self._step: Any = None  # a dial or a handshake
        self._transport: Any = None
        self._deadline = way.wheel.now() + timeout
        self._timer = way.wheel.timer(self._expired)
        self._timer.set(timeout)
        self._lookup: Deferred[list[str]] | None = look_up(way.reactor, way.host)
        way.reactor.callLater(0, self._begin)

    @property
    def address(self) -> Address | None:
        """See :class:`Dial`."""
        return self._address

    def _begin(self) -> None:
        if self._lookup is not None:
            self._lookup.addCallbacks(self._resolved, self._unresolved)

    def _resolved(self, hosts: list[str]) -> None:
        self._lookup = None
        if self._failed is None:
            return
        if not hosts:
            self._fail(Kind.CONNECT_FAILED, f"the proxy {self._way.host} has no address")
            return
        self._hosts = hosts
        self._dial()

    def _dial(self) -> None:
        """Connect to the next address of the proxy."""
        way = self._way
        self._step = way.inner.dial(
            Address("tcp", self._hosts.pop(0), way.port),
            _Talk(self, way.negotiation(self._address)),
            self._no_proxy,
            timeout=max(0.001, self._deadline - way.wheel.now()),
        )

    def _unresolved(self, failure: Failure) -> None:
        self._lookup = None
        self._fail(Kind.CONNECT_FAILED, f"the proxy {self._way.host}: {failure.value}")

    def _no_proxy(self, error: ProxyError) -> None:
        self._step = None
        if self._hosts and error.kind is Kind.CONNECT_FAILED:
            self._dial()
            return
        self._fail(error.kind, f"the proxy: {error.detail}")

    def talks(self, transport: Any) -> None:
        """Start the conversation, because the proxy is connected."""
        self._step = None
        self._transport = transport

    def agreed(self) -> None:
        """Continue, because the connection now leads to the target."""
        transport, self._transport = self._transport, None
        if self._tls is None:
            self._decided()
            hand_over(transport, self._protocol)
            return
        left = max(0.001, self._deadline - self._way.wheel.now())
        self._step = self._way.inner.start_tls(
            transport, self._tls, self._secured, self._insecure, timeout=left
        )

    def _secured(self, info: TLSInfo) -> IProtocol:
        self._step = None
        self._decided()
        return self._protocol

    def _insecure(self, error: ProxyError) -> None:
        self._step = None
        self._fail(Kind.SERVER_TLS, error.detail)

    def refused(self, words: str) -> None:
        """Fail, because the proxy refuses the connection."""
        self._fail(Kind.CONNECT_FAILED, words)

    def _expired(self) -> None:
        self._fail(Kind.CONNECT_TIMEOUT, "the proxy has made no connection in time")

    def _fail(self, kind: Kind, words: str) -> None:
        failed = self._failed
        if failed is not None:
            self.cancel()
            failed(ProxyError(kind, f"{self._address}: {words}"))

    def cancel(self) -> None:
        """See :class:`Dial`."""
        self._decided()
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.addErrback(lambda failure: None)
            lookup.cancel()
        step, self._step = self._step, None
        if step is not None:
            step.cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abortConnection()

    def _decided(self) -> None:
        self._failed = None
        self._timer.close()


class _Talk(Protocol):
    """The conversation with the proxy."""

    def __init__(self, dial: ProxyDial, negotiation: Negotiation) -> None:
        self._dial: ProxyDial | None = dial
        self._negotiation = negotiation

    def connectionMade(self) -> None:
        """See IProtocol."""
        transport: Any = self.transport
        assert self._dial is not None
        self._dial.talks(transport)
        transport.write(self._negotiation.begin())

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        dial, transport = self._dial, self.transport
        if dial is None or transport is None:
            return
        try:
            answer = self._negotiation.receive(data)
        except ProxyRefused as error:
            self._dial = None
            dial.refused(str(error))
            return
        if answer:
            transport.write(answer)
        if self._negotiation.done:
            self._dial = None
            dial.agreed()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """See IProtocol."""
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.refused("the proxy closes the connection")
