"""DATA. The interface to dial servers and to start TLS.

:mod:`lbproxy.net.fastdial` and :mod:`lbproxy.net.stockdial` implement it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol

from lbproxy.compiled import native
from lbproxy.errors import ProxyError
from lbproxy.model import Address
from lbproxy.net.dial import Dial
from lbproxy.net.dialling import Dialling
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.loop import Loop
from lbproxy.net.timers import TimerWheel
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["Dialler"]


@native(allow_interpreted_subclasses=True)
class Dialler:
    """Dials and starts TLS on one reactor.

    ``prepare`` is called with each socket before it connects, unless it is None.
    """

    def __init__(self, loop: Loop) -> None:
        self.wheel: TimerWheel = loop.wheel
        self.loop = loop
        self.prepare: Callable[[Any], None] | None = None

    def prepared_by(self, prepare: Callable[[Any], None]) -> Dialler:
        """Return a dialler like this one that calls ``prepare`` with each socket before it
        connects, to bind it or to set options. An OSError that it raises fails the dial.
        """
        raise NotImplementedError

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
        """Connect to an IP literal or Unix path.

        Exactly one of these is called, never before ``dial`` returns:

        - ``protocol.makeConnection(transport)``, with ``preamble`` already written unencrypted, and
          TLS established and verified;
        - ``failed(error)`` with kind CONNECT_FAILED, CONNECT_TIMEOUT or SERVER_TLS.

        ``timeout`` is the deadline in seconds for all steps together.
        """
        dial = self._new_dial(address)
        dial.begin(protocol, failed, timeout, tls, preamble)
        return dial

    def _new_dial(self, address: Address) -> Dialling:
        """Return a dial that has not started."""
        raise NotImplementedError

    def start_tls(
        self,
        transport: Any,
        parameters: TLSParameters,
        protocol: Callable[[TLSInfo], IProtocol],
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        received: bytes = b"",
    ) -> Handshaking:
        """Run a TLS handshake on an existing connection. ``received``: bytes that were already read
        from it.

        The handshake ends with exactly one of these:

        - the object that ``protocol(info)`` returns gets ``makeConnection(tls_transport)`` and all
          further data;
        - ``failed(error)`` (CLIENT_TLS or SERVER_TLS), and the connection is closed. A peer that
          leaves during the handshake is a failure too.

        ``protocol`` may raise a :class:`ProxyError` to refuse the connection; it is passed to
        ``failed``.
        """
        kind = self.handshaking(transport, parameters, received)
        handshake = kind(self.loop, parameters, protocol, failed, timeout)
        handshake.begin(transport, received)
        return handshake

    def handshaking(
        self, transport: Any, parameters: TLSParameters, received: bytes
    ) -> type[Handshaking]:
        """Return the class of handshake that can run on ``transport``."""
        raise NotImplementedError
