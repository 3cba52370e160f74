"""DATA. Dials the addresses of a server in turn, for :mod:`lbproxy.proxy.dial`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IProtocol

from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, ProxyError
from lbproxy.model import Address
from lbproxy.net.endpoints import Dial
from lbproxy.proxy.terms import Terms

__all__ = ["SeveralDial"]


class SeveralDial(Dial):
    """Tries one address after the other. Those not yet tried share the remaining time."""

    def __init__(
        self,
        terms: Terms,
        server: ServerState,
        addresses: Sequence[Address],
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        preamble: bytes,
    ) -> None:
        self._terms = terms
        self._server = server
        self._protocol = protocol
        self._failed = failed
        self._preamble = preamble
        self._left: list[Address] = list(addresses)
        self._address: Address | None = None
        self._deadline = terms.wheel.now() + terms.timeout_connect
        self._dial: Dial | None = None
        self._soon = terms.wheel.timer(self._none)
        if self._left:
            self._next()
        else:
            self._soon.set(0.0)

    @property
    def address(self) -> Address | None:
        """See :class:`Dial`."""
        return self._address

    def _none(self) -> None:
        self._failed(ProxyError(Kind.CONNECT_FAILED, f"{self._server.name} has no address"))

    def _next(self) -> None:
        left = max(0.01, self._deadline - self._terms.wheel.now()) / len(self._left)
        address = self._address = self._left.pop(0)
        self._dial = self._terms.dialler.dial(
            address,
            self._protocol,
            self._one_failed,
            timeout=left,
            tls=self._server.tls,
            preamble=self._preamble,
        )

    def _one_failed(self, error: ProxyError) -> None:
        if self._left and self._terms.wheel.now() < self._deadline:
            self._next()
        else:
            self._failed(error)

    def cancel(self) -> None:
        """See :class:`Dial`."""
        self._soon.clear()
        if self._dial is not None:
            self._dial.cancel()
