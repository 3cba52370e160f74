"""PURE. RFC 9110 field, token and authority syntax, for the HTTP codecs, forwarding and routing.

Everything here is a judgement about bytes that came from a peer or from a filter.  What is asked
for again and again (field names, hosts) is remembered in bounded dictionaries, so that the usual
question costs one lookup.
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
"""Bytes that may stand in a head besides the CRLFs that part its lines:

HTAB, SP, VCHAR and obs-text (RFC 9110 §5.5). ``head.translate(None, FIELD_TEXT)`` leaves what is
wrong with it.
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
"""Field names (lower case) that a codec itself reads or writes."""

TRAILER_FORBIDDEN = CLAIMED | frozenset(
    b"transfer-encoding content-length host connection keep-alive proxy-connection upgrade te "
    b"trailer http2-settings proxy-authentication-info "
    b"content-encoding content-type content-range content-location "
    b"cache-control expect max-forwards pragma range if-match if-none-match if-modified-since "
    b"if-unmodified-since if-range authorization proxy-authorization proxy-authenticate "
    b"www-authenticate cookie set-cookie age date expires location retry-after vary warning".split()
)
"""Fields (lower case) that have no effect in a trailer section, or a dangerous one, and are dropped
there (RFC 9110 §6.5.1): framing, routing, authentication, conditions, and who the client is.
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

A name that is missing here has to go through :func:`checked_name`, which adds it.
"""

_NAMES_MAX = 2048
_NAME_KEPT_MAX = 64  # longer names are checked each time rather than held

_hosts: dict[bytes, bytes] = {}
_HOSTS_MAX = 2048


def is_token(text: bytes) -> bool:
    """Return whether ``text`` is a token (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def checked_name(name: bytes) -> bytes:
    """Return the entry of :data:`FIELD_NAMES` for ``name``; check and cache a new name.

    ValueError if it is not a token. The dictionary restarts with the common names if a peer has
    filled it with others.
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
    """``text`` (``host`` or ``host:port``) in lower case, without an empty port.

    Stricter than RFC 3986 §3.2.2, whose reg-name also allows quotes, commas and percent signs that
    no server can be looked up by: a name is labels of letters, digits, ``-``, ``_`` and ``~``, with
    at most one trailing dot; an IPv6 literal stands in brackets and has no zone.  A port is 1 to
    65535.  ValueError otherwise.
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
    """Return whether :func:`normal_host` takes ``text``."""
    try:
        normal_host(text)
    except ValueError:
        return False
    return True


def list_members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list (RFC 9110 §5.6.1), lower-cased, empty ones left out.

    Not for lists whose members hold quoted strings.
    """
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]
