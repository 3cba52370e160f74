"""DATA. A connection attempt: its deadline, its TLS handshake, and a single outcome.

The base of :class:`lbproxy.net.fastdial.FastDial` and :class:`lbproxy.net.stockdial.StockDial`,
which create the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol

from lbproxy.compiled import native
from lbproxy.errors import Kind, ProxyError
from lbproxy.model import Address
from lbproxy.net.handler import Handler
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.loop import Loop
from lbproxy.net.timers import Timer
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["Dialling"]


@native(allow_interpreted_subclasses=True)
class Dialling(Handler):
    """A connection attempt; see :meth:`lbproxy.net.dialler.Dialler.dial` for the contract.

    It is a :class:`Handler`, so that a poller can call subclasses that connect through one.
    """

    __slots__ = (
        "_deadline",
        "_failed",
        "_handshake",
        "_loop",
        "_preamble",
        "_protocol",
        "_timeout",
        "_timer",
        "_tls",
        "address",
    )

    def __init__(self, loop: Loop, address: Address) -> None:
        self._loop = loop
        self.address = address
        self._handshake: Handshaking | None = None
        self._timer: Timer | None = None
        self._deadline = 0.0
        self._failed: Callable[[ProxyError], None] | None = None

    def begin(
        self,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        timeout: float,
        tls: TLSParameters | None,
        preamble: bytes,
    ) -> None:
        """Connect. The outcome is never reported before this returns."""
        self._protocol = protocol
        self._failed = failed
        self._timeout = timeout
        self._tls = tls
        self._preamble = preamble
        self._start()

    def _start(self) -> None:
        """Start to connect."""
        raise NotImplementedError

    def cancel(self) -> None:
        """See :class:`lbproxy.net.endpoints.Dial`."""
        if self._failed is not None:
            self._decided()
            self._drop()

    def _arm(self) -> None:
        """Set the deadline, unless the connection is established at once."""
        wheel = self._loop.wheel
        self._timer = timer = wheel.timer(self._too_late)
        timer.set(self._timeout)
        self._deadline = wheel.now() + self._timeout

    def _drop(self) -> None:
        """Close the remains of the connection after the outcome is decided."""
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.cancel()

    def _secure(self, kind: type[Handshaking], transport: Any, tls: TLSParameters) -> None:
        """Start TLS on the connected transport within the remaining time. ``preamble`` has been
        written.
        """
        left = self._timeout
        if self._timer is not None:
            self._timer.clear()
            left = max(0.0, self._deadline - self._loop.wheel.now())
        handshake = kind(
            self._loop,
            tls,
            self._secured,
            self._insecure,
            left,
            ProxyError(Kind.CONNECT_TIMEOUT, f"no TLS within {self._timeout:g} s"),
        )
        self._handshake = handshake
        handshake.begin(transport, b"")

    def _secured(self, info: TLSInfo) -> IProtocol:
        self._decided()
        self._handshake = None
        return self._protocol

    def _insecure(self, error: ProxyError) -> None:
        self._fail(self._error(error.kind, error.detail))

    def _too_late(self) -> None:
        self._fail(self._error(Kind.CONNECT_TIMEOUT, f"no connection within {self._timeout:g} s"))

    def _error(self, kind: Kind, words: str) -> ProxyError:
        return ProxyError(kind, f"{self.address}: {words}")

    def _fail(self, error: ProxyError) -> None:
        failed = self._failed
        if failed is not None:
            self._decided()
            self._drop()
            failed(error)

    def _decided(self) -> None:
        """Mark the outcome as decided. No other outcome can follow."""
        self._failed = None
        if self._timer is not None:
            self._timer.close()
