"""DATA. A connection being made: its deadline, its TLS, and its outcome exactly once.

The base of :class:`lbproxy.net.fastdial.FastDial` and :class:`lbproxy.net.stockdial.StockDial`, which
make the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol

from lbproxy.compiled import native
from lbproxy.errors import Kind, ProxyError
from lbproxy.model import Address
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.loop import Loop
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["Dialling"]


@native(allow_interpreted_subclasses=True)
class Dialling:
    """See :meth:`lbproxy.net.endpoints.Dialler.dial` for the contract."""

    __slots__ = (
        "_address",
        "_deadline",
        "_failed",
        "_handshake",
        "_loop",
        "_preamble",
        "_protocol",
        "_timeout",
        "_timer",
        "_tls",
    )

    def __init__(
        self,
        loop: Loop,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        timeout: float,
        tls: TLSParameters | None,
        preamble: bytes,
    ) -> None:
        self._loop = loop
        self._address = address
        self._protocol = protocol
        self._failed: Callable[[ProxyError], None] | None = failed
        self._timeout = timeout
        self._tls = tls
        self._preamble = preamble
        self._handshake: Handshaking | None = None
        self._timer = loop.wheel.timer(self._too_late)
        self._timer.set(timeout)
        self._deadline = loop.wheel.now() + timeout

    def begin(self) -> None:
        """Connect; the outcome never comes before this returns."""
        raise NotImplementedError

    def cancel(self) -> None:
        """See :class:`lbproxy.net.endpoints.Dial`."""
        if self._failed is not None:
            self._failed = None
            self._timer.close()
            self._drop()

    def _drop(self) -> None:
        """Close what exists of the connection, once the outcome is decided."""
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.cancel()

    def _secure(self, kind: type[Handshaking], transport: Any, tls: TLSParameters) -> None:
        """Connected, and ``preamble`` is written: start TLS within the time that is left."""
        self._timer.clear()
        handshake = kind(
            self._loop,
            tls,
            self._secured,
            self._insecure,
            max(0.0, self._deadline - self._loop.wheel.now()),
            ProxyError(Kind.CONNECT_TIMEOUT, f"no TLS within {self._timeout:g} s"),
        )
        self._handshake = handshake
        handshake.begin(transport, b"")

    def _secured(self, info: TLSInfo) -> IProtocol:
        self._decided()
        return self._protocol

    def _insecure(self, error: ProxyError) -> None:
        self._fail(self._error(error.kind, error.detail))

    def _too_late(self) -> None:
        self._fail(self._error(Kind.CONNECT_TIMEOUT, f"no connection within {self._timeout:g} s"))

    def _error(self, kind: Kind, words: str) -> ProxyError:
        return ProxyError(kind, f"{self._address}: {words}")

    def _fail(self, error: ProxyError) -> None:
        failed = self._failed
        if failed is not None:
            self._failed = None
            self._timer.close()
            self._drop()
            failed(error)

    def _decided(self) -> None:
        """The connection is the protocol's; nothing can fail any longer."""
        self._failed = None
        self._timer.close()
        self._handshake = None
