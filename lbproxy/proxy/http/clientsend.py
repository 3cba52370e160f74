"""DATA. The sending half of an HTTP/1 client connection: responses and tunnel bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lbproxy.errors import ProxyError
from lbproxy.http.h1_write import encode_chunks, encode_response
from lbproxy.http.known import DATE
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.net.closing import half_close
from lbproxy.net.transport import FastTransport
from lbproxy.proxy.http.clientlink import ClientLink
from lbproxy.proxy.http.clientstate import ANSWERING, BODY, EXPECTING, LINGERING, TUNNEL
from lbproxy.proxy.http.replies import http_date
from lbproxy.proxy.info import ConnectionInfo

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["ClientSender"]

_APART: Final = 16 * 1024
"""Maximum size in bytes of a body that is cheaper to join with its head than to send separately."""


class ClientSender(ClientLink):
    """The sending half; see the module. ``_keep``: the connection outlives the running exchange.

    It is a :class:`~lbproxy.proxy.http.streams.ClientStream`. Exchanges know this class, so that
    their calls of an HTTP/1 client are C calls.
    """

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__(frontend, info)
        self._request: RequestHead | None = None  # traffic of the exchange
        self._keep = False
        self._chunked = False  # the response is chunked

    # -- what a protocol defines ----------------------------------------------------------------

    def pause_request(self) -> None:
        """See :class:`ClientStream`."""
        raise NotImplementedError

    def resume_request(self) -> None:
        """See :class:`ClientStream`."""
        raise NotImplementedError

    def start_tunnel(self) -> tuple[bytes, bool]:
        """See :class:`ClientStream`."""
        raise NotImplementedError

    def exchange_done(self, *, reuse: bool) -> None:
        """See :class:`ClientStream`."""
        raise NotImplementedError

    # -- responses ------------------------------------------------------------------------------

    def send_response(self, head: ResponseHead, data: bytes, end: End | None) -> None:
        """See :class:`ClientStream`."""
        state, request = self._state, self._request
        if state >= LINGERING or request is None:
            return
        if head.status < 200:
            out, _ = encode_response(head, client_version=request.version)
            if state == EXPECTING:
                self._enter(BODY)
                self._rearm()
            self.transport.write(out)
            return
        self._keep = keep = (
            self._keep
            and head.keep_alive
            and (state >= ANSWERING or end is None)
            and not (head.length is None and request.version < 11)
            and not self.frontend.stopping
        )
        # RFC 9110 §6.6.1: a response that is forwarded has a Date
        date = None
        if head.listed or not head.present >> DATE & 1:
            date = http_date(self.frontend.wheel.wall())
        out, self._chunked = encode_response(
            head, client_version=request.version, keep_alive=keep, date=date, method=request.method
        )
        if self._chunked:
            out += encode_chunks(data, end)
        elif len(data) >= _APART:
            self.transport.writeSequence([out, data])
            return
        elif data:
            out += data
        transport = self.transport
        if isinstance(transport, FastTransport):  # a call that is not by name
            transport.write(out)
        else:
            transport.write(out)

    def offer(self, data: Any) -> int:
        """Send the part of more body data that the client accepts now, and return its length; -1 if
        the body must be sent by :meth:`send_data`.
        """
        transport = self.transport
        if self._chunked or not isinstance(transport, FastTransport) or transport.TLS:
            return -1
        return transport.offer(data) if self._state < LINGERING else -1

    def send_data(self, data: bytes, end: End | None) -> None:
        """See :class:`ClientStream`."""
        state = self._state
        if state >= LINGERING:
            return
        if state == TUNNEL:
            if data:
                self.transport.write(data)
            if end is not None:
                half_close(self.transport)
            return
        out = encode_chunks(data, end) if self._chunked else data
        if out:
            self.transport.write(out)

    def abort(self, error: ProxyError) -> None:
        """See :class:`ClientStream`: a cut connection is the only sign HTTP/1 has."""
        self._abort()
