"""PURE. The stored responses that an unsafe request invalidates (RFC 9111 §4.4, RFC 9875 §2.2)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from lbproxy.cache.key import public_host
from lbproxy.cache.storing import group_names
from lbproxy.http.message import RequestHead, ResponseHead

__all__ = ["SAFE", "invalidated_groups", "invalidated_urls"]

SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH"})
"""Safe methods (RFC 9110 §9.2.1)."""

_UNSAFE: Final = re.compile(rb"[^\x21-\x7e]")


def invalidated_urls(url: bytes, request: RequestHead, response: ResponseHead) -> list[bytes]:
    """Return the URLs whose stored responses must not be used any more.

    ``url``: the target of the request. The result is empty for safe methods and for error
    responses. Location and Content-Location count only on the same origin.
    """
    if request.method in SAFE or not 200 <= response.status < 400:
        return []
    found = [url]
    for name in (b"location", b"content-location"):
        for value in response.header_values(name):
            other = _joined(url, value)
            if other is not None and other not in found:
                found.append(other)
    return found


def _joined(url: bytes, value: bytes) -> bytes | None:
    """Return ``value`` resolved against ``url`` without its fragment, if it stays on the origin."""
    base = url.decode("latin-1")
    try:
        full = urlsplit(urljoin(base, value.decode("latin-1")))._replace(fragment="")
        own = urlsplit(base)
        same = _origin(full) == _origin(own)
    except ValueError:
        return None
    if not same:
        return None
    full = full._replace(netloc=own.netloc, path=full.path or "/")
    found = full.geturl()
    if value.partition(b"#")[0].endswith(b"?") and not full.query:
        found += "?"  # part of the target; geturl() drops it
    return _UNSAFE.sub(_escape, found.encode("latin-1", "replace"))


def _escape(match: re.Match[bytes]) -> bytes:
    """Return a byte as clients send it when they follow a URL."""
    return b"%%%02X" % match[0][0]


def _origin(url: SplitResult) -> tuple[str, bytes]:
    """Return scheme, and host with its port (RFC 9110 §4.3.1). Raises ValueError if the port is no
    number.
    """
    _ = url.port
    host = url.netloc.rpartition("@")[2].lower().encode("latin-1", "replace")
    return url.scheme, public_host(url.scheme.encode("latin-1", "replace"), host)


def invalidated_groups(request: RequestHead, response: ResponseHead) -> frozenset[bytes]:
    """Return the cache groups of this origin that the response invalidates (RFC 9875 §3)."""
    if request.method in SAFE or not 200 <= response.status < 400:
        return frozenset()
    return group_names(response.header_values(b"cache-group-invalidation"))
