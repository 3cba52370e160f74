"""DATA. A reply as the source of an exchange: fixed replies, replies of filters, error pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbproxy.http.message import End, Reply, RequestHead, ResponseHead
from lbproxy.proxy.http.bodystream import respond
from lbproxy.proxy.http.replies import reply_head
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.http.traffic import HTTPTraffic

if TYPE_CHECKING:
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["ReplySource"]


class ReplySource(Source):
    """Answers one exchange with ``reply``.  Its responses are lbproxy's own (``origin``).

    ``name``: ``reply`` or ``error``. Raises ValueError if the status is not that of a final
    response.
    """

    origin = False

    def __init__(self, reply: Reply, name: str) -> None:
        if not 200 <= reply.status <= 999:
            raise ValueError(f"status {reply.status}")
        self.name = name  # type: ignore[misc]
        self._reply = reply

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`.  The request body is ignored."""
        reply = self._reply
        traffic: HTTPTraffic = sink.traffic
        body: Any = reply.body
        whole = isinstance(body, bytes)
        response = reply_head(reply, traffic.frontend.wheel.wall())
        response.keep_alive = not reply.close and (traffic.request_ended or not whole)
        if head.method == b"HEAD" or reply.status in (204, 304):
            _without_body(response, head.method == b"HEAD")
            if not whole:
                _close(body)
            body = b""
        return respond(sink, response, body)


def _without_body(response: ResponseHead, describes: bool) -> None:
    """Send no body. The response to a HEAD ``describes`` the length of the response to a GET."""
    if describes and response.length:
        response.add_header(b"Content-Length", b"%d" % response.length)
    response.length = 0


def _close(body: Any) -> None:
    """Close a generator that has not been started."""
    close = getattr(body, "close", None)
    if close is not None:
        close()
