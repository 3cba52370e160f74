"""DATA. The flow of requests on a client connection: when it is read, and its deadlines.

A connection is read only while the data can be used. Its deadline is that of its state, in
:mod:`lbproxy.proxy.http.clientstate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbproxy.errors import ProxyError
from lbproxy.http.h1 import RequestParser
from lbproxy.proxy.http.clientsend import ClientSender
from lbproxy.proxy.http.clientstate import (
    ANSWERING,
    BODY,
    HEAD,
    IDLE,
    LINGERING,
    REFUSED,
    TUNNEL,
)
from lbproxy.proxy.http.exchange import Exchange
from lbproxy.proxy.info import ConnectionInfo

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["ClientFlow"]


class ClientFlow(ClientSender):
    """The flow of requests; see the module. ``_hold``: the exchange has stopped the request
    body.
    """

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__(frontend, info)
        self._parser = RequestParser(frontend.request_limits)
        self._exchange: Exchange | None = None
        self._backlog: list[Any] = []  # events not processed yet
        self._hold = False

    def _pump(self) -> None:
        """Process parsed events, as far as the current exchange allows."""
        raise NotImplementedError

    # -- back-pressure --------------------------------------------------------------------------

    def _regulate(self) -> None:
        """Read only while the data can be used."""
        state = self._state
        if state >= LINGERING:
            return
        # after a complete request reading continues, to detect the client's FIN
        held = self._hold and state != ANSWERING
        self._want(not (self._backlog or held or self._parser.pending))

    def pauseProducing(self) -> None:
        """Pause the response, because the client does not read fast enough."""
        self._write_stopped()
        if self._exchange is not None:
            self._exchange.client_paused()

    def resumeProducing(self) -> None:
        """Resume the response."""
        self._write_paused = False
        self._rearm()
        if self._exchange is not None:
            self._exchange.client_resumed()
        else:
            self._pump()

    # -- deadlines ------------------------------------------------------------------------------

    def _rearm(self) -> None:
        """Set the deadline of the state; see the table of states.

        For a client that does not read, only its reading renews the deadline. A client whose
        requests wait for their turn has none.
        """
        if self._write_paused:
            return
        state, frontend = self._state, self.frontend
        if state == IDLE and not self._backlog:
            self._timer.set(frontend.timeout_keepalive)
        elif state == HEAD:
            self._timer.set(frontend.spec.timeout_header)
        elif (state == BODY and not self._hold) or state == REFUSED:
            self._timer.set(frontend.spec.timeout_body)
        else:
            self._timer.clear()

    @property
    def body_bytes(self) -> int:
        """Return the number of request body bytes so far while the client has to continue; else
        -1.
        """
        exchange = self._exchange
        if exchange is None or self._state != BODY or self._hold or self._read_paused:
            return -1
        size: int = exchange.traffic.bytes_in
        return size

    # -- what the exchange wants ----------------------------------------------------------------

    def pause_request(self) -> None:
        """See :class:`ClientStream`."""
        self._hold = True
        self._rearm()
        self._regulate()

    def resume_request(self) -> None:
        """See :class:`ClientStream`."""
        self._hold = False
        self._rearm()
        self._pump()

    def refuse_body(self, error: ProxyError) -> None:
        """End the running request in the middle of its body."""
        exchange = self._exchange
        if exchange is not None:
            self._keep = False
            exchange.fail(error)

    # -- the end --------------------------------------------------------------------------------

    def _is_last(self) -> bool:
        """Return whether no bytes follow the running request."""
        return not self._backlog and not self._parser.pending

    def _client_gone(self, error: ProxyError) -> None:
        if self._exchange is not None:
            self._exchange.client_gone(error)

    def _drop_input(self) -> None:
        self._backlog = []

    def shut(self) -> None:
        """Stop: close now if idle, else after the current answer."""
        self._keep = False
        if self._exchange is None:
            self._lose()

    def _close_gently(self) -> None:
        """Close after an answer."""
        state = self._state
        sends = state < ANSWERING or self._read_paused or not self._is_last()
        if not sends or state == TUNNEL or self._eof:
            self._lose()
        else:
            self._linger()
