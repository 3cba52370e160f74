"""DATA. The PROXY protocol, versions 1 and 2: parser and encoders of the header that precedes a
connection's data.

Sans-IO: :class:`lbproxy.proxy.preamble.Preamble` feeds the parser. Code that dials with
``send_proxy`` writes the result of the encoders as the dial's preamble. Section numbers are those
of "The PROXY protocol, Versions 1 & 2" by W. Tarreau.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from lbproxy.net.proxyheader import (
    MAX_TLVS,
    TLV,
    TLV_CRC32C,
    TLV_NOOP,
    TLV_SSL,
    TLV_UNIQUE_ID,
    ProxyHeader,
    ProxyTLS,
    as_ipv6,
    bad_header,
    parse_ssl,
    parse_tlvs,
)

__all__ = [
    "MAX_TLVS",
    "MAX_V1_BYTES",
    "MAX_V2_BYTES",
    "ProxyHeader",
    "ProxyHeaderParser",
    "ProxyTLS",
    "crc32c",
    "encode_v1",
    "encode_v2",
]

MAX_V1_BYTES = 107  # section 2.1, line end included
MAX_V2_BYTES = 4096  # the format allows 65551; addresses and real-world TLVs need a few hundred

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


Endpoint = tuple[str, int]
"""IP literal and port."""


class ProxyHeaderParser:
    """Parses bytes until a header is complete. Any split of the bytes gives the same result.

    ``leftover``: the bytes after the header.
    """

    __slots__ = ("_buffer", "_done", "leftover")

    def __init__(self) -> None:
        self._buffer = b""
        self._done = False
        self.leftover = b""

    def receive(self, data: bytes) -> ProxyHeader | None:
        """Return the header once it is complete, else None. Do not call it again after that.

        Raises :class:`ProxyError` (BAD_PREAMBLE) as soon as the bytes cannot become a header within
        the bounds.
        """
        self._buffer = buffer = self._buffer + data
        if buffer.startswith(b"PROXY "):
            return self._version_1(buffer)
        if buffer.startswith(SIGNATURE):
            return self._version_2(buffer)
        if b"PROXY ".startswith(buffer) or SIGNATURE.startswith(buffer):
            return None
        raise bad_header("no PROXY protocol header")

    def _version_1(self, buffer: bytes) -> ProxyHeader | None:
        end = buffer.find(b"\r\n", 0, MAX_V1_BYTES)
        if end < 0:
            if len(buffer) >= MAX_V1_BYTES:
                raise bad_header("PROXY line too long")
            return None
        self._finish(end + 2)
        return _parse_v1(buffer[:end])

    def _version_2(self, buffer: bytes) -> ProxyHeader | None:
        if len(buffer) < 16:
            if len(buffer) > 12:
                _check_command(buffer[12])
            return None
        _check_command(buffer[12])
        size = 16 + int.from_bytes(buffer[14:16], "big")
        if size > MAX_V2_BYTES:
            raise bad_header(f"PROXY header of {size} bytes is too long")
        if len(buffer) < size:
            return None
        self._finish(size)
        return _parse_v2(buffer[:size])

    def _finish(self, size: int) -> None:
        self.leftover = self._buffer[size:]
        self._buffer = b""


def encode_v1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """Return a version 1 line. None (or an empty IP) on either side gives UNKNOWN."""
    pair = _pair(source, destination)
    if pair is None:
        return b"PROXY UNKNOWN\r\n"
    src, dst, src_port, dst_port = pair
    return f"PROXY TCP{src.version} {src} {dst} {src_port} {dst_port}\r\n".encode("ascii")


def encode_v2(
    source: Endpoint | None,
    destination: Endpoint | None,
    tlvs: Iterable[TLV] = (),
    *,
    local: bool = False,
    checksum: bool = False,
) -> bytes:
    """Return a version 2 header. None (or an empty IP) on either side gives the unspecified family.

    ``local``: the connection is our own (a health check). ``checksum``: adds a CRC32C TLV. Raises
    ValueError if the header exceeds 65535 bytes.
    """
    pair = None if local else _pair(source, destination)
    if pair is None:
        family, addresses = 0x00, b""
    else:
        src, dst, src_port, dst_port = pair
        family = 0x11 if src.version == 4 else 0x21
        addresses = src.packed + dst.packed + struct.pack("!HH", src_port, dst_port)
    body = [addresses]
    body += [struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs]
    if checksum:
        body.append(struct.pack("!BHI", TLV_CRC32C, 4, 0))
    rest = b"".join(body)
    if len(rest) > 0xFFFF:
        raise ValueError("PROXY header too long")
    header = SIGNATURE + struct.pack("!BBH", 0x20 if local else 0x21, family, len(rest)) + rest
    if checksum:
        header = header[:-4] + crc32c(header).to_bytes(4, "big")
    return header


def crc32c(data: bytes) -> int:
    """Return Castagnoli's CRC (RFC 4960 appendix B). About 10 MB/s, so use it for headers only."""
    crc = 0xFFFFFFFF
    table = _CRC_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x82F63B78 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def _pair(
    source: Endpoint | None, destination: Endpoint | None
) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address, int, int] | None:
    """Return both addresses in one family.

    IPv4-mapped addresses (of dual-stack sockets) become IPv4. If the other address is a real IPv6
    one, an IPv4 address becomes IPv4-mapped.
    """
    if not source or not destination or not source[0] or not destination[0]:
        return None
    src, dst = _plain(source[0]), _plain(destination[0])
    if src.version != dst.version:
        src, dst = as_ipv6(src), as_ipv6(dst)
    return src, dst, source[1], destination[1]


def _plain(ip: str) -> IPv4Address | IPv6Address:
    """Return an address without its scope (``%eth0``), which is meaningless to the receiver."""
    address = ip_address(ip.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


# -- version 1 (section 2.1) ---------------------------------------------------------------------


def _parse_v1(line: bytes) -> ProxyHeader:
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":  # the receiver must ignore anything after it
        return ProxyHeader(1)
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise bad_header(f"malformed PROXY line {line!r}")
    version = 4 if words[1] == b"TCP4" else 6
    try:
        return ProxyHeader(
            1,
            source_ip=_ip(words[2], version),
            source_port=_port(words[4]),
            destination_ip=_ip(words[3], version),
            destination_port=_port(words[5]),
        )
    except ValueError:
        raise bad_header(f"malformed PROXY line {line!r}") from None


def _ip(word: bytes, version: int) -> str:
    if version == 4:
        return str(IPv4Address(word.decode("ascii")))
    return _shown(_ipv6(word.decode("ascii")))


def _ipv6(word: str) -> IPv6Address:
    if "%" in word:
        raise ValueError(word)
    return IPv6Address(word)


def _shown(address: IPv6Address) -> str:
    """Return the text of an address; an IPv4-mapped one as IPv4."""
    return str(address.ipv4_mapped or address)


def _port(word: bytes) -> int:
    """Parse a decimal port without leading zeros, 0 to 65535."""
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0"):
        raise ValueError(word)
    port = int(word)
    if port > 65535:
        raise ValueError(word)
    return port


# -- version 2 (section 2.2) ---------------------------------------------------------------------

# address family and transport -> length of both addresses and ports; others must be refused
_ADDRESS_BYTES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}


def _check_command(byte: int) -> None:
    if byte not in (0x20, 0x21):
        raise bad_header(f"PROXY version and command {byte:#04x} unknown")


def _parse_v2(header: bytes) -> ProxyHeader:
    if header[12] == 0x20:  # LOCAL: the rest must be ignored
        return ProxyHeader(2, local=True)
    family = header[13] >> 4
    size = _ADDRESS_BYTES.get(header[13])
    if size is None:
        raise bad_header(f"PROXY address family {header[13]:#04x} unknown")
    if len(header) < 16 + size:
        raise bad_header("PROXY header too short for its addresses")
    tlvs = parse_tlvs(header, 16 + size)
    _check_crc(header, 16 + size, tlvs)
    kept = tuple(tlv for tlv in tlvs if tlv[0] not in (TLV_NOOP, TLV_CRC32C))
    for kind, value in kept:
        if kind == TLV_UNIQUE_ID and len(value) > 128:
            raise bad_header("PROXY unique id longer than 128 bytes")
        if kind == TLV_SSL:
            parse_ssl(value)
    if family == 0x1:
        src, dst, src_port, dst_port = struct.unpack_from("!4s4sHH", header, 16)
        return ProxyHeader(
            2, False, str(IPv4Address(src)), src_port, str(IPv4Address(dst)), dst_port, kept
        )
    if family == 0x2:
        src, dst, src_port, dst_port = struct.unpack_from("!16s16sHH", header, 16)
        source, destination = _shown(IPv6Address(src)), _shown(IPv6Address(dst))
        return ProxyHeader(2, False, source, src_port, destination, dst_port, kept)
    return ProxyHeader(2, tlvs=kept)  # unspecified, or Unix socket paths: no IP addresses


def _check_crc(header: bytes, at: int, tlvs: list[TLV]) -> None:
    """Verify the checksum over the whole header, with its own value as zeros (section 2.2.4).

    A second checksum is refused, because each costs a pass over the header.
    """
    if sum(kind == TLV_CRC32C for kind, _ in tlvs) > 1:
        raise bad_header("PROXY header with more than one checksum")
    for kind, value in tlvs:
        at += 3
        if kind == TLV_CRC32C:
            zeroed = header[:at] + b"\0\0\0\0" + header[at + 4 :]
            if len(value) != 4 or crc32c(zeroed) != int.from_bytes(value, "big"):
                raise bad_header("PROXY header checksum is wrong")
        at += len(value)
