"""DATA. The responses that lbproxy generates itself: error pages and replies of filters."""

from __future__ import annotations

from email.utils import formatdate

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Reply, ResponseHead
from lbproxy.http.reasons import reason_phrase

__all__ = ["error_reply", "http_date", "reply_head"]

_EXPLAIN = {
    400: "The request is invalid.",
    403: "Access denied.",
    404: "Not found.",
    405: "The method is not allowed.",
    408: "The request took too long to arrive.",
    413: "The request body is too large.",
    414: "The URL is too long.",
    417: "The expectation of the request cannot be met.",
    429: "Too many requests. Please try again later.",
    431: "The request header fields are too large.",
    500: "Internal error.",
    501: "The request needs a feature that is not supported.",
    502: "The server did not send a valid response.",
    503: "No server is available. Please try again shortly.",
    504: "The server did not respond in time.",
    505: "The HTTP version is not supported.",
    508: "The request loops: it has passed through this proxy before.",
}

# after these the state of the client's connection is undefined, so that it is closed
_CLOSING = frozenset({400, 408, 413, 414, 417, 431, 501, 505})

# after these the client may try again in a second
_SHORT = frozenset(
    (Kind.QUEUE_FULL, Kind.QUEUE_TIMEOUT, Kind.NO_SERVER, Kind.CIRCUIT_OPEN, Kind.SHED)
)

_cached_date = (-1, b"")


def http_date(now: float) -> bytes:
    """Return ``now`` (seconds since the epoch) as an IMF-fixdate (RFC 9110 §5.6.7), cached for its
    second.
    """
    global _cached_date  # noqa: PLW0603
    second = int(now)
    if _cached_date[0] != second:
        _cached_date = (second, formatdate(max(second, 0), usegmt=True).encode("ascii"))
    return _cached_date[1]


def error_reply(error: ProxyError, allow: bytes) -> Reply:
    """Return the error page for ``error``, without internal details or data from the client.

    ``allow``: the Allow header of a 405."""
    status = error.status or 500
    title = f"{status} {reason_phrase(status).decode()}".rstrip()
    reference = f"<p>Request ID: {error.reference}</p>" if error.reference else ""
    body = (
        f"<!doctype html><html><head><title>{title}</title></head>"
        f"<body><h1>{title}</h1><p>{_EXPLAIN.get(status, '')}</p>{reference}</body></html>\n"
    ).encode()
    headers = [(b"Content-Type", b"text/html; charset=utf-8"), (b"Cache-Control", b"no-store")]
    if error.kind in _SHORT:
        headers.append((b"Retry-After", b"1"))
    if error.reference:
        headers.append((b"X-Request-Id", error.reference.encode("latin-1", "replace")))
    if status == 405:
        headers.append((b"Allow", allow))
    return Reply(status, body, headers, close=status in _CLOSING)


def reply_head(reply: Reply, now: float) -> ResponseHead:
    """Return the response head for ``reply``, dated ``now`` (seconds since the epoch)."""
    headers = list(reply.headers)
    headers.append((b"Date", http_date(now)))
    return ResponseHead(
        status=reply.status,
        headers=headers,
        reason=reason_phrase(reply.status),
        length=len(reply.body) if isinstance(reply.body, bytes) else reply.length,
    )
