"""DATA. A TLS handshake on a connection: its deadline, and a single outcome.

The base of :class:`lbproxy.net.sslhandshake.Handshake` (TLS on the socket itself) and
:class:`lbproxy.net.stocktls.StockHandshake` (TLS through a memory BIO), which do the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.compiled import native
from lbproxy.errors import Kind, ProxyError
from lbproxy.net.handshakes import Handshakes, PlacedHandshake
from lbproxy.net.loop import Loop
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["Handshaking"]


@native(allow_interpreted_subclasses=True)
class Handshaking(PlacedHandshake):
    """A TLS handshake; see :meth:`lbproxy.net.endpoints.Dialler.start_tls` for the contract.

    ``established(info)`` returns the next protocol, or raises a ProxyError to refuse the
    connection. ``late``: the error at the deadline, ``timeout`` seconds from now; None: a generic
    one.
    """

    __slots__ = (
        "_established",
        "_failed",
        "_kind",
        "_late",
        "_loop",
        "_parameters",
        "_places",
        "_timer",
    )

    def __init__(
        self,
        loop: Loop,
        parameters: TLSParameters,
        established: Callable[[TLSInfo], Any],
        failed: Callable[[ProxyError], None],
        timeout: float,
        late: ProxyError | None = None,
    ) -> None:
        super().__init__()
        self._loop = loop
        # None for a handshake with a server: the number of clients bounds these handshakes
        self._places: Handshakes | None = loop.handshakes if parameters.server_side else None
        self._parameters = parameters
        self._established = established
        self._failed: Callable[[ProxyError], None] | None = failed
        self._kind = Kind.CLIENT_TLS if parameters.server_side else Kind.SERVER_TLS
        self._late = late or ProxyError(self._kind, f"no handshake within {timeout:.3g} s")
        self._timer = loop.wheel.timer(self._too_late)
        self._timer.set(timeout)

    def begin(self, transport: Any, received: bytes) -> None:
        """Start on ``transport``. ``received``: bytes that were already read from it."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Close the connection without a report. Does nothing once the outcome is decided."""
        if self._decided() is not None:
            self._drop()

    def give_way(self) -> None:
        """See :class:`PlacedHandshake`."""
        self._fail(
            ProxyError(
                Kind.HANDSHAKE_EVICTED, "the TLS handshake was closed to make room for others"
            )
        )

    def _drop(self) -> None:
        """Close the connection."""
        raise NotImplementedError

    def _settle(self, info: TLSInfo) -> Any:
        """Return the protocol that follows a successful handshake, or None if it was refused or
        cancelled.
        """
        try:
            protocol = self._established(info)
        except ProxyError as error:
            self._fail(error)
            return None
        return protocol if self._decided() is not None else None

    def _fail(self, error: ProxyError) -> None:
        failed = self._decided()
        if failed is not None:
            self._drop()
            failed(error)

    def _too_late(self) -> None:
        places = self._places
        if places is not None and places.held_up(self):  # not an error of the client
            self._fail(ProxyError(Kind.LIMITED, "waited for other handshakes (max_handshakes)"))
        else:
            self._fail(self._late)

    def _decided(self) -> Callable[[ProxyError], None] | None:
        """Return ``failed`` to the first caller, and None to all later ones."""
        failed, self._failed = self._failed, None
        self._timer.close()
        if self._places is not None:
            self._places.leave(self)
        return failed
