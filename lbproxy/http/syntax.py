"""PURE. RFC 9110 field, token and authority syntax, for the HTTP codecs, forwarding and routing.

These functions check bytes from a peer or from a filter. Frequent inputs (field names, hosts) are
cached in bounded dictionaries, so that the usual check costs one lookup.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from lbproxy.http.known import CLAIMED

__all__ = [
    "FIELD_NAMES",
    "FIELD_TEXT",
    "TRAILER_FORBIDDEN",
    "checked_name",
    "is_host",
    "is_token",
    "list_members",
    "normal_host",
]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(
    rb"(?:(?P<name>[0-9A-Za-z_~\-]+(?:\.[0-9A-Za-z_~\-]+)*\.?)|\[(?P<v6>[0-9A-Fa-f:.]{2,45})\])"
    rb"(?::(?P<port>[0-9]{0,5}))?"
)
_HOST_BYTES_MAX = 262  # 255 of a DNS name and ":65535" (RFC 1035 §2.3.4)

FIELD_TEXT = bytes(c for c in range(256) if c == 9 or (c >= 32 and c != 127))
"""Bytes allowed in a head besides the CRLFs that separate its lines.

These are HTAB, SP, VCHAR and obs-text (RFC 9110 §5.5). ``head.translate(None, FIELD_TEXT)`` returns
the forbidden bytes.
"""

SPECIAL = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"upgrade",
        b"expect",
        b"date",
        b"te",
        b"proxy-connection",
    )
)
"""Field names (lower case) that a codec reads or writes itself."""

TRAILER_FORBIDDEN = CLAIMED | frozenset(
    b"transfer-encoding content-length host connection keep-alive proxy-connection upgrade te "
    b"trailer http2-settings proxy-authentication-info "
    b"content-encoding content-type content-range content-location "
    b"cache-control expect max-forwards pragma range if-match if-none-match if-modified-since "
    b"if-unmodified-since if-range authorization proxy-authorization proxy-authenticate "
    b"www-authenticate cookie set-cookie age date expires location retry-after vary warning".split()
)
"""Fields (lower case) that are dropped from a trailer section because they have no effect or a
dangerous one there (RFC 9110 §6.5.1): framing, routing, authentication, conditions, and the
identity of the client.
"""

_COMMON = (
    b"Accept Accept-CH Accept-Encoding Accept-Language Accept-Ranges "
    b"Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods "
    b"Access-Control-Allow-Origin Access-Control-Expose-Headers Access-Control-Max-Age "
    b"Access-Control-Request-Headers Access-Control-Request-Method Age Allow Alt-Svc Authorization "
    b"Cache-Control Connection Content-Disposition Content-Encoding Content-Language "
    b"Content-Length Content-Range Content-Security-Policy Content-Type Cookie DNT Date ETag "
    b"Expect Expires Forwarded Host If-Match If-Modified-Since If-None-Match If-Range "
    b"If-Unmodified-Since Keep-Alive Last-Modified Link Location Origin Pragma Priority Range "
    b"Referer Referrer-Policy Retry-After Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform "
    b"Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-GPC Sec-WebSocket-Accept "
    b"Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version "
    b"Server Set-Cookie Strict-Transport-Security TE Trailer Transfer-Encoding Upgrade "
    b"Upgrade-Insecure-Requests User-Agent Vary Via X-Content-Type-Options X-Forwarded-For "
    b"X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto X-Frame-Options X-Real-IP X-Request-ID "
    b"X-Requested-With X-XSS-Protection traceparent tracestate".split()
)


def _reading(name: bytes) -> bytes:
    low = name.lower()
    return low if low in SPECIAL else b""


_SEED = {spelling: _reading(spelling) for name in _COMMON for spelling in (name, name.lower())}

FIELD_NAMES: dict[bytes, bytes] = dict(_SEED)
"""Field names known to be tokens -> their lower case if in :data:`SPECIAL`, else empty.

A missing name must go through :func:`checked_name`, which adds it.
"""

_NAMES_MAX = 2048
_NAME_KEPT_MAX = 64  # longer names are checked each time and not cached

_hosts: dict[bytes, bytes] = {}
_HOSTS_MAX = 2048


def is_token(text: bytes) -> bool:
    """Return whether ``text`` is a token (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def checked_name(name: bytes) -> bytes:
    """Return the entry of :data:`FIELD_NAMES` for ``name``; check and cache a new name.

    Raises ValueError if it is not a token. The dictionary is reset to the common names if a peer
    has filled it with others.
    """
    if _TOKEN.fullmatch(name) is None:
        raise ValueError("field name is not a token")
    low = _reading(name)
    if len(name) <= _NAME_KEPT_MAX:
        if len(FIELD_NAMES) >= _NAMES_MAX:
            FIELD_NAMES.clear()
            FIELD_NAMES.update(_SEED)
        FIELD_NAMES[name] = low
    return low


def normal_host(text: bytes) -> bytes:
    """Return ``text`` (``host`` or ``host:port``) in lower case, without an empty port.

    It is stricter than RFC 3986 §3.2.2, whose reg-name also allows quotes, commas and percent
    signs, with which no server can be looked up. A name consists of labels of letters, digits,
    ``-``, ``_`` and ``~``, with at most one trailing dot. An IPv6 literal is in brackets and has no
    zone. A port is 1 to 65535. Raises ValueError otherwise.
    """
    host = _hosts.get(text)
    if host is not None:
        return host
    match = _HOST.fullmatch(text) if len(text) <= _HOST_BYTES_MAX else None
    if match is None:
        raise ValueError("malformed host")
    port = match["port"]
    if port and not 0 < int(port) < 65536:
        raise ValueError("host has an impossible port")
    if match["v6"] is not None:
        IPv6Address(match["v6"].decode("ascii"))  # AddressValueError is a ValueError
    host = text.lower()
    if port == b"":
        host = host[:-1]
    if len(_hosts) >= _HOSTS_MAX:
        _hosts.clear()
    _hosts[text] = host
    return host


def is_host(text: bytes) -> bool:
    """Return whether :func:`normal_host` accepts ``text``."""
    try:
        normal_host(text)
    except ValueError:
        return False
    return True


def list_members(value: bytes) -> list[bytes]:
    """Return the members of a comma-separated list (RFC 9110 §5.6.1) in lower case, without empty
    ones.

    Not for lists whose members contain quoted strings.
    """
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]
