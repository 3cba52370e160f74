"""DATA. The answers lbproxy gives itself when no server's answer can be had."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Reply, ResponseHead

__all__ = ["error_reply", "http_date", "reason_phrase", "reply_head"]

_EXPLAIN = {
    400: "The request could not be understood.",
    403: "This is not for you.",
    404: "There is nothing here.",
    405: "This method is not allowed here.",
    408: "The request took too long to arrive.",
    413: "The request body is too large.",
    414: "The address is too long.",
    417: "The expectation cannot be met.",
    431: "The request's header fields are too large.",
    500: "Something went wrong on our side.",
    501: "The request asks for something that is not supported.",
    502: "The server gave no usable answer.",
    503: "No server is available right now. Please try again shortly.",
    504: "The server did not answer in time.",
    505: "This version of HTTP is not supported.",
    508: "The request came back to a proxy it had already passed.",
}

# after these the client's connection is in a state nobody should rely on
_CLOSING = frozenset({400, 408, 413, 414, 417, 431, 501, 505})

_cached_date = (-1, b"")


def http_date(now: float) -> bytes:
    """``now`` (seconds since the epoch) as an IMF-fixdate (RFC 9110 §5.6.7); cached for its second."""
    global _cached_date  # noqa: PLW0603
    second = int(now)
    if _cached_date[0] != second:
        _cached_date = (second, formatdate(max(second, 0), usegmt=True).encode("ascii"))
    return _cached_date[1]


def reason_phrase(status: int) -> bytes:
    """The standard phrase, or an empty one."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def error_reply(error: ProxyError) -> Reply:
    """The page for a failure: no detail of ours, nothing of the client's."""
    status = error.status or 500
    title = f"{status} {reason_phrase(status).decode()}"
    body = (
        f"<!doctype html><html><head><title>{title}</title></head>"
        f"<body><h1>{title}</h1><p>{_EXPLAIN.get(status, '')}</p></body></html>\n"
    ).encode()
    headers = [(b"Content-Type", b"text/html; charset=utf-8"), (b"Cache-Control", b"no-store")]
    if error.kind in (Kind.QUEUE_FULL, Kind.QUEUE_TIMEOUT, Kind.NO_SERVER, Kind.CIRCUIT_OPEN):
        headers.append((b"Retry-After", b"1"))
    if status == 405:
        headers.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"))
    return Reply(status, body, headers, close=status in _CLOSING)


def reply_head(reply: Reply, now: float) -> ResponseHead:
    """The head of a reply of ours; 204 and 304 carry no length."""
    headers = list(reply.headers)
    headers.append((b"Date", http_date(now)))
    return ResponseHead(
        status=reply.status,
        headers=headers,
        reason=reason_phrase(reply.status),
        length=len(reply.body),
    )
