"""DATA. Bytes in both directions, after a 101 to an Upgrade or a 2xx to a CONNECT.

A tunnel is over when both directions have ended; its exchange then finishes. A throttle may pause
both directions; back-pressure alone does not resume them then.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.http.message import END, End, ResponseHead
from lbproxy.proxy.http.delivery import DeliveryOwner, gather
from lbproxy.proxy.http.streams import ClientStream, SourceStream
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["THROTTLE", "Tunnel"]

THROTTLE: Final = "throttle"
"""Name in ``traffic.vars`` of the object that meters and pauses traffic: ``passed(size)``,
``add(hold)``.
"""


class Tunnel:
    """A tunnel; see the module. ``owner``: the exchange, which may end within each call.

    ``held``: the throttle pauses it. ``full``: the server accepts no more.
    """

    __slots__ = (
        "_client",
        "_client_ended",
        "_owner",
        "_server_ended",
        "_stream",
        "_throttle",
        "_traffic",
        "full",
        "held",
    )

    def __init__(self, owner: DeliveryOwner, client: ClientStream, stream: SourceStream) -> None:
        self._owner = owner
        self._client = client
        self._stream = stream
        self._traffic: HTTPTraffic = owner.traffic
        self._client_ended = self._server_ended = False
        self._throttle: Any = None
        self.full = self.held = False

    @property
    def ended(self) -> bool:
        """True if both directions have ended."""
        return self._client_ended and self._server_ended

    def open(self, head: ResponseHead, rest: list[Any]) -> None:
        """Send ``head`` to the client, and pass on the bytes received before the tunnel started."""
        traffic = self._traffic
        traffic.tunnelled = True
        traffic.request_ended = False  # the client may send bytes again
        backend = traffic.backend
        if backend is not None and backend.rebalancer is not None:
            traffic.watched = backend.rebalancer.watch(head.upgrade or b"")
        if traffic.vars is not None:
            self._throttle = traffic.vars.get(THROTTLE)
        first = self._stream.start_tunnel()
        self._client.send_response(head, b"", None)
        early, ended = self._client.start_tunnel()
        if early and not self._owner.over:
            self.from_client(early)
        if ended and not self._owner.over:
            self.client_end(END)
        if first:
            rest.insert(0, first)
        if rest and not self._owner.over:
            self.from_server(rest)
        if self._throttle is not None and not self._owner.over:
            self._throttle.add(self._owner.hold_tunnel)

    def from_client(self, data: bytes) -> None:
        """Pass bytes on to the server."""
        self._traffic.bytes_in += len(data)
        if self._traffic.watched is not None:
            self._traffic.watched.from_client(data)
        self._stream.send_body(data, None)
        if self._throttle is not None:
            self._throttle.passed(len(data))

    def client_end(self, end: End) -> None:
        """Handle the end of the client's direction."""
        self._client_ended = self._traffic.request_ended = True
        self._stream.send_body(b"", end)

    def from_server(self, events: list[Any]) -> None:
        """Pass bytes, and the end of that direction, on to the client."""
        traffic = self._traffic
        data, end = gather(events)
        traffic.bytes_out += len(data)
        if traffic.watched is not None:
            traffic.watched.from_server(data)
        self._client.send_data(data, end)
        if self._throttle is not None:
            self._throttle.passed(len(data))
        if end is not None:
            self._server_ended = True

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """Send a closing message to each side."""
        if to_server:
            self._stream.send_body(to_server, None)
        if to_client and not self._owner.over:
            self._client.send_data(to_client, None)
