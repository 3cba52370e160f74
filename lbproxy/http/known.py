"""PURE. Field names known to lbproxy, and the search for a name in the table of a head.

The scanner (:mod:`lbproxy.http.scan`) gives each field line the number of its name, so that later
searches compare numbers. A name is recognised by its length and its last eight bytes. Together they
select a place in a table without collisions, and the name at that place is then compared byte for
byte.

A number is below 62, so a set of names is one ``i64``.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

__all__ = [
    "CLAIMED",
    "LOWER",
    "NUMBERS",
    "OVERRIDES",
    "FieldName",
    "bit",
    "disguised",
    "field_name",
    "known_number",
    "matches",
]

UNKNOWN: Final = 0
HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 3
CONNECTION: Final = 4
UPGRADE: Final = 5
EXPECT: Final = 6
DATE: Final = 7
TE: Final = 8
PROXY_CONNECTION: Final = 9
HOP_BY_HOP: Final = 10
"""Other hop-by-hop fields (RFC 9110 §7.6.1)."""
VIA: Final = 11
TRAILER: Final = 12
SERVER: Final = 13
COOKIE: Final = 14
SET_COOKIE: Final = 15
USER_AGENT: Final = 16
REFERER: Final = 17
FORWARDED: Final = 18
X_FORWARDED_FOR: Final = 19
X_FORWARDED_PROTO: Final = 20
X_FORWARDED_HOST: Final = 21
X_FORWARDED_PORT: Final = 22
CLAIM: Final = 23
"""Other fields that only a trusted proxy may send, and all such fields spelled with ``_``."""
DISGUISED: Final = 24
"""The spellings ``content_length`` and ``transfer_encoding``.

CGI-like gateways treat them as the real fields (RFC 3875 §4.1.18).
"""
AUTHORIZATION: Final = 25
ASKS_CACHE: Final = 26
"""Other request fields that a cache must read before it may serve a stored response."""
IF_NONE_MATCH: Final = 27

_CLIENTS: Final = (
    b"x-real-ip x-client-ip x-cluster-client-ip x-remote-ip x-remote-addr x-originating-ip "
    b"x-original-forwarded-for x-envoy-external-address x-proxyuser-ip client-ip true-client-ip "
    b"forwarded-for proxy-client-ip wl-proxy-client-ip cf-connecting-ip cf-connecting-ipv6 "
    b"cf-pseudo-ipv4 cf-ipcountry cloudfront-viewer-address cloudfront-viewer-country "
    b"fastly-client-ip fly-client-ip x-azure-clientip x-azure-socketip x-appengine-user-ip "
    b"x-appengine-country x-nf-client-connection-ip x-vercel-forwarded-for ali-cdn-real-ip "
    b"x-sucuri-clientip x-forwarded-by x-forwarded-client-cert x-forwarded-user x-forwarded-email "
    b"x-forwarded-groups x-forwarded-preferred-username".split()
)
"""Headers in which CDNs and proxies state the address, country or name of the client."""

_OVERRIDES: Final = (
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-override-url",
    b"x-http-destinationurl",
    b"x-host",
    b"x-wap-profile",
)
"""Headers of applications, which every client may send, by which a server answers a request other
than that of the request line.
"""

NUMBERS: Final[dict[bytes, int]] = {
    b"host": HOST,
    b"authorization": AUTHORIZATION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"date": DATE,
    b"te": TE,
    b"proxy-connection": PROXY_CONNECTION,
    b"keep-alive": HOP_BY_HOP,
    b"proxy-authenticate": HOP_BY_HOP,
    b"proxy-authorization": HOP_BY_HOP,
    b"proxy-authentication-info": HOP_BY_HOP,
    b"http2-settings": HOP_BY_HOP,
    b"via": VIA,
    b"trailer": TRAILER,
    b"server": SERVER,
    b"cookie": COOKIE,
    b"set-cookie": SET_COOKIE,
    b"user-agent": USER_AGENT,
    b"referer": REFERER,
    b"forwarded": FORWARDED,
    b"x-forwarded-for": X_FORWARDED_FOR,
    b"x-forwarded-proto": X_FORWARDED_PROTO,
    b"x-forwarded-host": X_FORWARDED_HOST,
    b"x-forwarded-port": X_FORWARDED_PORT,
    b"x-forwarded": CLAIM,
    b"x-forwarded-protocol": CLAIM,
    b"x-forwarded-server": CLAIM,
    b"x-forwarded-scheme": CLAIM,
    b"x-forwarded-ssl": CLAIM,
    b"x-forwarded-prefix": CLAIM,
    b"x-forwarded-path": CLAIM,
    b"x-forwarded-uri": CLAIM,
    b"x-original-host": CLAIM,
    b"x-original-uri": CLAIM,
    b"x-original-method": CLAIM,
    b"x-original-scheme": CLAIM,
    b"x-original-proto": CLAIM,
    b"x-forwarded-method": CLAIM,
    b"x-forwarded-https": CLAIM,
    b"x-forwarded-context": CLAIM,
    b"x-forwarded-pathbase": CLAIM,
    b"x-script-name": CLAIM,
    b"script-name": CLAIM,
    b"path-info": CLAIM,
    b"x-scheme": CLAIM,
    b"x-replaced-path": CLAIM,
    b"x-backend-host": CLAIM,
    b"x-http-host-override": CLAIM,
    b"x-envoy-original-path": CLAIM,
    b"x-envoy-original-host": CLAIM,
    b"x-envoy-original-method": CLAIM,
    b"x-url-scheme": CLAIM,
    b"front-end-https": CLAIM,
    b"proxy": CLAIM,  # CGI programs take it for the proxy of their own requests (httpoxy)
    b"cf-visitor": CLAIM,
    b"cloudfront-forwarded-proto": CLAIM,
    **dict.fromkeys(_CLIENTS, CLAIM),
    b"if-none-match": IF_NONE_MATCH,
    b"cache-control": ASKS_CACHE,
    b"pragma": ASKS_CACHE,
    b"range": ASKS_CACHE,
    b"if-range": ASKS_CACHE,
    b"if-match": ASKS_CACHE,
    b"if-modified-since": ASKS_CACHE,
    b"if-unmodified-since": ASKS_CACHE,
    **dict.fromkeys(_OVERRIDES, ASKS_CACHE),
}
"""The number of each known name, by its spelling in lower case."""

_SHARED: Final = frozenset((UNKNOWN, HOP_BY_HOP, CLAIM, DISGUISED, ASKS_CACHE))
TAIL_BYTES: Final = 8


_CLAIMS: Final = (
    1 << FORWARDED
    | 1 << X_FORWARDED_FOR
    | 1 << X_FORWARDED_PROTO
    | 1 << X_FORWARDED_HOST
    | 1 << X_FORWARDED_PORT
    | 1 << CLAIM
)
"""Headers that only a trusted proxy may send."""


def _spellings(name: bytes) -> list[bytes]:
    """Return the spellings of a name with at least one ``_`` in place of ``-``."""
    parts = [[b"-", b"_"] if char == 45 else [bytes((char,))] for char in name]
    return [found for found in map(b"".join, product(*parts)) if found != name]


_DISGUISES: Final[dict[bytes, int]] = {
    b"content_length": DISGUISED,
    b"transfer_encoding": DISGUISED,
} | {
    spelling: number if name in _OVERRIDES else CLAIM
    for name, number in NUMBERS.items()
    if _CLAIMS >> number & 1 or name in _OVERRIDES
    for spelling in _spellings(name)
}
"""Names spelled with at least one ``_``, in lower case."""

OVERRIDES: Final[frozenset[bytes]] = frozenset(_OVERRIDES) | frozenset(
    name for name, number in _DISGUISES.items() if number == ASKS_CACHE
)
"""Headers by which a server answers another request: all spellings, in lower case."""

CLAIMED: Final[frozenset[bytes]] = (
    frozenset(name for name, number in NUMBERS.items() if _CLAIMS >> number & 1)
    | frozenset(_DISGUISES) - OVERRIDES
)
"""Headers that only a trusted proxy may send, and disguised framing fields: all spellings, in lower
case.
"""

# -- the table without collisions ----------------------------------------------------------------

_PLACES: Final = 1024
_MIX: Final = 174  # found by trying, like the shifts: no two names share a place
_ROW: Final = 48  # bytes: number, length, tail, and the first 24 bytes of the name


def _tail(low: bytes) -> int:
    """Return the last eight bytes of a name, or all of a shorter one, as a number."""
    return int.from_bytes(low[-TAIL_BYTES:], "little")


def _place(tail: i64, size: i64) -> i64:
    return (tail ^ (tail >> 2) ^ (tail >> 47) ^ (size * _MIX)) & 1023


def _build() -> bytes:
    rows: list[bytes | None] = [None] * _PLACES
    for name, number in NUMBERS.items():
        place = int(_place(_tail(name), len(name)))
        if rows[place] is not None:
            raise ValueError(f"{name!r} collides with another field name: change _MIX")
        words = [number, len(name), _tail(name)]
        start = name.ljust(24, b"\0")[:24]
        rows[place] = b"".join(word.to_bytes(8, "little") for word in words) + start
    return b"".join(row or bytes(_ROW) for row in rows)


_TABLE: Final[bytes] = _build()


def known_number(raw: bytes, start: i64, size: i64, tail: i64) -> i64:
    """Return the number of the name of ``size`` bytes at ``start`` with a given ``tail``; 0 for any
    other name.

    ``tail``: its last eight bytes (all of a shorter name) in lower case, little endian. The name is
    a token; it may be in any case.
    """
    table = _TABLE
    row: i64 = _place(tail, size) * _ROW
    if read_i64_le(table, row + 8) != size or read_i64_le(table, row + 16) != tail:
        return 0
    # "|" converts to lower case, and no other token byte becomes a byte of a known name
    blanks: i64 = 0x2020202020202020
    done: i64 = 0
    while done + 8 < size:
        if read_i64_le(raw, start + done) | blanks != read_i64_le(table, row + 24 + done):
            return 0
        done += 8
    return read_i64_le(table, row)


def bit(number: i64) -> i64:
    """Return ``1 << number``, for a number from 0 to 62.

    mypyc replaces a local variable that is assigned once by its value. A literal has 32 bits in C
    and cannot be shifted by 31 or more, so the variable is assigned twice.
    """
    found: i64 = 1
    found <<= number
    return found


def disguised(name: bytes) -> int:
    """Return the number of a name that contains ``_``."""
    return _DISGUISES.get(name.lower(), UNKNOWN)


# -- names that are looked for -------------------------------------------------------------------

_KEPT_MAX: Final = 2048
_KEPT_SIZE_MAX: Final = 64  # maximum length of a cached name in bytes
_TOKEN_BYTES: Final = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


class FieldName:
    """A prepared field name to search for in heads.

    ``low``: in lower case. ``number``: as in :data:`NUMBERS`. ``single``: the number is not 0 and
    no other name has it. ``token``: the name is a token, so that a line with it can be written.
    """

    __slots__ = ("low", "number", "single", "size", "token")

    def __init__(self, name: bytes) -> None:
        low = name.lower()
        number = NUMBERS.get(low, UNKNOWN)
        if number == UNKNOWN and b"_" in low:
            number = disguised(low)
        self.low = low
        self.size: i64 = len(low)
        self.token = bool(low) and _TOKEN_BYTES.issuperset(low)
        self.number: i64 = number
        self.single = number not in _SHARED


_names: dict[bytes, FieldName] = {}


def field_name(name: bytes) -> FieldName:
    """Return a prepared ``name`` in any case. Results are cached, with bounds on number and
    size.
    """
    found = _names.get(name)
    if found is None:
        found = FieldName(name)
        if len(name) <= _KEPT_SIZE_MAX:
            if len(_names) >= _KEPT_MAX:
                _names.clear()
            _names[name] = found
    return found


def matches(raw: bytes, start: i64, name: FieldName) -> bool:
    """Return whether the name at ``start`` of ``raw``, of equal length, is ``name`` in any case."""
    low: bytes = name.low
    lower: bytes = LOWER
    at: i64 = name.size
    while at > 0:  # names differ more often at their ends than at their beginnings
        at -= 1
        if lower[i64(raw[start + at])] != low[at]:
            return False
    return True


LOWER: Final[bytes] = bytes([c + 32 if 65 <= c <= 90 else c for c in range(256)])
