"""DATA. The content of a PROXY protocol header, and the codes that both versions share.

:mod:`lbproxy.net.proxyproto` parses and writes headers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from attrs import frozen

from lbproxy.errors import Kind, ProxyError

__all__ = [
    "MAX_TLVS",
    "TLV",
    "TLV_ALPN",
    "TLV_AUTHORITY",
    "TLV_CRC32C",
    "TLV_NETNS",
    "TLV_NOOP",
    "TLV_SSL",
    "TLV_UNIQUE_ID",
    "ProxyHeader",
    "ProxyTLS",
    "as_ipv6",
    "bad_header",
    "parse_ssl",
    "parse_tlvs",
]

MAX_TLVS = 128  # 20 types are registered; an empty TLV takes 3 bytes of the header
TLV_ALPN = 0x01
TLV_AUTHORITY = 0x02
TLV_CRC32C = 0x03
TLV_NOOP = 0x04
TLV_UNIQUE_ID = 0x05
TLV_SSL = 0x20
TLV_NETNS = 0x30
TLV = tuple[int, bytes]


@frozen
class ProxyTLS:
    """The SSL TLV (section 2.2.5), which describes the TLS connection between the client and the
    sender of the header.

    ``version`` such as "TLSv1.3". ``common_name`` of the client's certificate, "" if none.
    ``verified``: the client presented a certificate and it was verified.
    """

    over_tls: bool
    verified: bool
    version: str = ""
    common_name: str = ""
    cipher: str = ""
    tlvs: tuple[TLV, ...] = ()


@frozen
class ProxyHeader:
    """The content of a header.

    ``local``: the sender's own connection (a health check); the socket's addresses apply.
    ``source_ip`` is "" if the header contains no IP addresses (local, UNKNOWN, Unix sockets). An
    IPv4-mapped address, as sent by dual-stack listeners of other proxies, is shown as IPv4.
    ``tlvs``: as received, in order, without padding.
    """

    version: int
    local: bool = False
    source_ip: str = ""
    source_port: int = 0
    destination_ip: str = ""
    destination_port: int = 0
    tlvs: tuple[TLV, ...] = ()

    def tlv(self, kind: int) -> bytes | None:
        """Return the first value of this type."""
        for found, value in self.tlvs:
            if found == kind:
                return value
        return None

    @property
    def alpn(self) -> str:
        """The application protocol that the client negotiated, "" if unknown."""
        return (self.tlv(TLV_ALPN) or b"").decode("latin-1")

    @property
    def authority(self) -> str:
        """The host name that the client requested (SNI) in lower case, "" if unknown."""
        return (self.tlv(TLV_AUTHORITY) or b"").decode("utf-8", "replace").lower()

    @property
    def unique_id(self) -> bytes:
        """The sender's identifier of the connection, at most 128 bytes."""
        return self.tlv(TLV_UNIQUE_ID) or b""

    @property
    def tls(self) -> ProxyTLS | None:
        """Properties of the client's TLS, None if unknown."""
        value = self.tlv(TLV_SSL)
        return None if value is None else parse_ssl(value)


def bad_header(detail: str) -> ProxyError:
    """Return the failure of a connection whose header is malformed."""
    return ProxyError(Kind.BAD_PREAMBLE, detail)


def as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    """Return an address as IPv6. An IPv4 address is mapped."""
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def parse_tlvs(data: bytes, at: int) -> list[TLV]:
    """Return the TLVs from ``at`` on. Raises ProxyError for a truncated one, or for too many."""
    tlvs: list[TLV] = []
    while at < len(data):
        if len(tlvs) == MAX_TLVS:
            raise bad_header(f"PROXY header with more than {MAX_TLVS} TLVs")
        if len(data) - at < 3:
            raise bad_header("PROXY TLV cut short")
        kind, size = struct.unpack_from("!BH", data, at)
        at += 3
        if len(data) - at < size:
            raise bad_header("PROXY TLV cut short")
        tlvs.append((kind, data[at : at + size]))
        at += size
    return tlvs


def parse_ssl(value: bytes) -> ProxyTLS:
    """Return the content of the SSL TLV. Raises ProxyError if it is truncated."""
    if len(value) < 5:
        raise bad_header("PROXY SSL TLV cut short")
    client, verify = struct.unpack_from("!BI", value)
    tlvs = parse_tlvs(value, 5)
    return ProxyTLS(
        over_tls=bool(client & 0x01),
        verified=bool(client & 0x06) and verify == 0,
        version=_text(tlvs, 0x21),
        common_name=_text(tlvs, 0x22),
        cipher=_text(tlvs, 0x23),
        tlvs=tuple(tlvs),
    )


def _text(tlvs: Sequence[TLV], kind: int) -> str:
    for found, value in tlvs:
        if found == kind:
            return value.decode("utf-8", "replace")
    return ""
