"""DATA. Connection attempts through the reactor's own connectors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import error
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.errors import Kind
from lbproxy.model import Address
from lbproxy.net.dialler import Dialler
from lbproxy.net.dialling import Dialling
from lbproxy.net.errorwords import error_words
from lbproxy.net.handover import hand_over
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.stocktls import StockHandshake
from lbproxy.net.unixpath import MAX_UNIX_PATH
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["StockDial", "StockDialler"]

_EPHEMERAL = 1024  # the lowest port that kernels may assign to outgoing connections


@implementer(IProtocolFactory)
class StockDial(Dialling):
    """One connection attempt. The reactor's connector uses it as its client factory."""

    noisy = False
    prepare: Callable[[Any], None] | None = None
    _connector: Any = None

    def _start(self) -> None:
        self._arm()
        reactor, address = self._loop.reactor, self.address
        no_timeout: Any = None  # our deadline covers all steps
        try:
            if address.kind == "unix":
                # the reactor raises an error for it
                if len(os.fsencode(address.path)) > MAX_UNIX_PATH:
                    raise OSError(errno.ENAMETOOLONG, "path too long")
                self._connector = reactor.connectUNIX(address.path, self, timeout=no_timeout)
            else:
                self._connector = reactor.connectTCP(
                    address.host, address.port, self, timeout=no_timeout
                )
            if self.prepare is not None:  # it connects in a later turn
                self.prepare(self._connector.transport.getHandle())
        # a port out of range, a path too long, or any other error it finds
        except Exception as problem:
            self._fail_later(error_words(problem))

    def _fail_later(self, words: str) -> None:
        failure = self._error(Kind.CONNECT_FAILED, words)
        self._loop.reactor.callLater(0, self._fail, failure)

    # -- what the connector calls

    def doStart(self) -> None:
        """See IProtocolFactory."""

    def doStop(self) -> None:
        """See IProtocolFactory."""

    def startedConnecting(self, connector: Any) -> None:
        """See ClientFactory."""

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:
        """See ClientFactory; None drops a connection whose dial was cancelled."""
        return None if self._failed is None else _Connected(self)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """See ClientFactory."""
        slow = isinstance(reason.value, error.TimeoutError | error.TCPTimedOutError)
        kind = Kind.CONNECT_TIMEOUT if slow else Kind.CONNECT_FAILED
        self._fail(self._error(kind, error_words(reason.value)))

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """See ClientFactory. The protocol handles it."""

    def connected(self, transport: Any) -> None:
        """Continue after the connect: preamble, TLS, hand-over."""
        if self._failed is None:
            transport.abortConnection()
            return
        self._connector = None  # it refers to this object: avoid a cycle for the garbage collector
        if self.address.kind == "tcp":
            if self.address.port >= _EPHEMERAL and transport.getHost() == transport.getPeer():
                # TCP can connect a port without a listener to itself
                transport.abortConnection()
                self._fail_later(os.strerror(errno.ECONNREFUSED))
                return
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        if self._preamble:
            transport.write(self._preamble)
        if self._tls is not None:
            self._secure(StockHandshake, transport, self._tls)
            return
        self._decided()
        hand_over(transport, self._taken())

    def _secured(self, info: TLSInfo) -> IProtocol:
        super()._secured(info)
        return self._taken()

    def _taken(self) -> IProtocol:
        """Return the protocol and drop the reference, because its transport refers to this object
        through the connector.
        """
        protocol, self._protocol = self._protocol, cast(IProtocol, None)
        return protocol

    def _drop(self) -> None:
        """Close a handshake, a connection, or an attempt."""
        connector, self._connector = self._connector, None
        if self._handshake is not None:
            super()._drop()
        elif connector is not None and connector.state == "connecting":
            connector.stopConnecting()


class StockDialler(Dialler):
    """Dials with ``reactor.connectTCP`` and ``connectUNIX``."""

    def _new_dial(self, address: Address) -> Dialling:
        """See :meth:`Dialler._new_dial`."""
        dial = StockDial(self.loop, address)
        dial.prepare = self.prepare
        return dial

    def prepared_by(self, prepare: Callable[[Any], None]) -> Dialler:
        """See :meth:`Dialler.prepared_by`."""
        twin = StockDialler(self.loop)
        twin.prepare = prepare
        return twin

    def handshaking(
        self, transport: Any, parameters: TLSParameters, received: bytes
    ) -> type[Handshaking]:
        """See :meth:`Dialler.handshaking`. TLS always runs through a memory BIO."""
        return StockHandshake


class _Connected(Protocol):
    """The protocol of a dialled connection until it is connected."""

    def __init__(self, dial: StockDial) -> None:
        self._dial = dial

    def connectionMade(self) -> None:
        self._dial.connected(self.transport)
