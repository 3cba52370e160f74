"""PROXY protocol headers: tables, any split, garbage, and agreement with Twisted's parsers."""

from __future__ import annotations

import socket
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols.haproxy._exceptions import InvalidProxyHeader
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser

from lbproxy.errors import Kind, ProxyError
from lbproxy.net import proxyproto
from lbproxy.net.proxyheader import TLV_ALPN, TLV_AUTHORITY
from lbproxy.net.proxyproto import (
    MAX_V2_BYTES,
    SIGNATURE,
    TLV_CRC32C,
    TLV_NOOP,
    TLV_SSL,
    TLV_UNIQUE_ID,
    ProxyHeader,
    ProxyHeaderParser,
    crc32c,
    encode_v1,
    encode_v2,
)


def parse(data: bytes, cuts: list[int] | None = None) -> tuple[ProxyHeader | None, bytes]:
    """Feed ``data`` in pieces; bytes after the piece that completed the header count as
    left over.
    """
    parser = ProxyHeaderParser()
    edges = sorted({0, len(data), *(cuts or [])})
    for start, end in pairwise(edges):
        header = parser.receive(data[start:end])
        if header is not None:
            return header, parser.leftover + data[end:]
    return None, b""


def refused(data: bytes, cuts: list[int] | None = None) -> str:
    with pytest.raises(ProxyError) as caught:
        parse(data, cuts)
    assert caught.value.kind is Kind.BAD_PREAMBLE
    return caught.value.detail


V1_GOOD = [
    (
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
        ProxyHeader(1, False, "192.0.2.1", 56324, "198.51.100.2", 443),
    ),
    (
        b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n",
        ProxyHeader(1, False, "2001:db8::1", 0, "::1", 65535),
    ),
    (
        b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",
        ProxyHeader(1, False, "ffff:" * 7 + "ffff", 65535, "ffff:" * 7 + "ffff", 65535),
    ),
    (b"PROXY UNKNOWN\r\n", ProxyHeader(1)),
    (b"PROXY UNKNOWN whatever 1 2\xff\r\n", ProxyHeader(1)),
]


@pytest.mark.parametrize(("line", "header"), V1_GOOD)
def test_v1(line: bytes, header: ProxyHeader) -> None:
    for cut in range(len(line)):
        assert parse(line + b"GET /", [cut]) == (header, b"GET /")
    assert parse(line, list(range(len(line)))) == (header, b"")


V1_BAD = [
    b"GET / HTTP/1.1\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
    b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
    b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
    b"PROXY TCP4 \xff.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY \r\n",
    b"PROXY " + b"x" * 200,
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"proxy tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
]


@pytest.mark.parametrize("line", V1_BAD)
def test_v1_refused(line: bytes) -> None:
    refused(line)
    refused(line, list(range(len(line))))


def test_v1_longest() -> None:
    line = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert len(line) == 107
    assert parse(line) == (ProxyHeader(1), b"")


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


IP4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 5, 443)
SSL_TLV = b"\x05" + bytes(4) + b"\x21\x00\x07TLSv1.3" + b"\x22\x00\x05alice" + b"\x23\x00\x03AES"


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def test_v2_tlvs() -> None:
    body = b"".join(
        [
            IP4,
            tlv(TLV_NOOP, b"padding"),
            tlv(TLV_ALPN, b"h2"),
            tlv(TLV_AUTHORITY, "Exämple.org".encode()),
            tlv(TLV_UNIQUE_ID, b"\x00id"),
            tlv(TLV_SSL, SSL_TLV),
            tlv(0xE0, b""),
        ]
    )
    header, rest = parse(v2(0x21, 0x11, body) + b"hello")
    assert header is not None and rest == b"hello"
    assert (header.source_ip, header.source_port) == ("192.0.2.1", 5)
    assert (header.destination_ip, header.destination_port) == ("198.51.100.2", 443)
    assert (header.alpn, header.authority, header.unique_id) == ("h2", "exämple.org", b"\x00id")
    assert header.tls is not None
    assert (header.tls.version, header.tls.common_name, header.tls.cipher) == (
        "TLSv1.3",
        "alice",
        "AES",
    )
    assert header.tls.over_tls and header.tls.verified
    assert [kind for kind, _ in header.tlvs] == [1, 2, 5, 0x20, 0xE0]


V2_EMPTY = [
    (v2(0x20, 0x00, b""), ProxyHeader(2, local=True)),
    (v2(0x20, 0x11, IP4), ProxyHeader(2, local=True)),
    (v2(0x20, 0xFF, b"anything"), ProxyHeader(2, local=True)),
    (v2(0x21, 0x00, b""), ProxyHeader(2)),
    (v2(0x21, 0x31, b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")), ProxyHeader(2)),
    (v2(0x21, 0x32, bytes(216)), ProxyHeader(2)),
]


@pytest.mark.parametrize(("data", "header"), V2_EMPTY)
def test_v2_without_addresses(data: bytes, header: ProxyHeader) -> None:
    assert parse(data + b"x", list(range(len(data)))) == (header, b"x")
    assert parse(data + b"x") == (header, b"x")


V2_BAD = [
    (v2(0x31, 0x11, IP4), "version"),
    (v2(0x22, 0x11, IP4), "version"),
    (v2(0x11, 0x11, IP4), "version"),
    (v2(0x21, 0x41, IP4), "family"),
    (v2(0x21, 0x13, IP4), "family"),
    (v2(0x21, 0x11, IP4[:-1]), "too short"),
    (v2(0x21, 0x21, IP4), "too short"),
    (v2(0x21, 0x31, bytes(215)), "too short"),
    (v2(0x21, 0x11, IP4 + b"\x01"), "TLV"),
    (v2(0x21, 0x11, IP4 + b"\x01\x00\x05abcd"), "TLV"),
    (v2(0x21, 0x11, IP4 + tlv(TLV_UNIQUE_ID, b"x" * 129)), "unique"),
    (v2(0x21, 0x11, IP4 + tlv(TLV_SSL, b"x")), "SSL"),
    (v2(0x21, 0x11, IP4 + tlv(0xE0, b"") * 129), "more than 128 TLVs"),
    (v2(0x21, 0x11, IP4 + tlv(TLV_SSL, bytes(5) + tlv(0xE0, b"") * 129)), "more than 128 TLVs"),
    (v2(0x21, 0x11, IP4 + tlv(TLV_SSL, b"\x01" + bytes(4) + b"\x21\x00\x09a")), "TLV"),
    (v2(0x21, 0x11, IP4 + tlv(TLV_CRC32C, b"\0\0\0\1")), "checksum"),
    (v2(0x21, 0x11, IP4 + tlv(TLV_CRC32C, b"\0\0\0")), "checksum"),
    (SIGNATURE + struct.pack("!BBH", 0x21, 0x11, MAX_V2_BYTES), "too long"),
    (SIGNATURE[:11] + b"x", "no PROXY"),
    (b"\r\nGET", "no PROXY"),
]


@pytest.mark.parametrize(("data", "words"), V2_BAD)
def test_v2_refused(data: bytes, words: str) -> None:
    assert words in refused(data)
    refused(data, list(range(len(data))))


def test_a_second_checksum_is_refused_before_any_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    header = encode_v2(None, None, [(TLV_CRC32C, bytes(4))], checksum=True)
    monkeypatch.setattr(proxyproto, "crc32c", None)
    with pytest.raises(ProxyError, match="more than one checksum"):
        ProxyHeaderParser().receive(header)


def test_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 appendix B.4


ip6 = st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None).map(str)
addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), st.ip_addresses(v=4).map(str)), st.tuples(ip6, ip6)
)
ports = st.integers(0, 65535)
some_tlvs = st.lists(
    st.tuples(st.sampled_from([1, 2, 5, 0x30, 0xE0, 0xFF]), st.binary(max_size=100)), max_size=4
)


@given(addresses, ports, ports, some_tlvs, st.booleans(), st.data())
def test_round_trip_on_any_split(
    ips: tuple[str, str],
    src: int,
    dst: int,
    tlvs: list[tuple[int, bytes]],
    checksum: bool,
    data: st.DataObject,
) -> None:
    line = encode_v1((ips[0], src), (ips[1], dst))
    both = encode_v2((ips[0], src), (ips[1], dst), tlvs, checksum=checksum)
    for version, encoded, expected in ((1, line, ()), (2, both, tuple(tlvs))):
        cuts = data.draw(st.lists(st.integers(0, len(encoded) + 3), max_size=6))
        header, rest = parse(encoded + b"abc", cuts)
        assert header == ProxyHeader(version, False, ips[0], src, ips[1], dst, expected)
        assert rest == b"abc"


@given(addresses, ports, ports)
def test_twisted_agrees(ips: tuple[str, str], src: int, dst: int) -> None:
    ours = encode_v1((ips[0], src), (ips[1], dst))
    theirs = V1Parser.parse(ours[:-2])
    assert (theirs.source.host, theirs.source.port) == (ips[0], src)  # type: ignore[union-attr]
    assert (theirs.destination.host, theirs.destination.port) == (ips[1], dst)  # type: ignore[union-attr]
    theirs = V2Parser.parse(encode_v2((ips[0], src), (ips[1], dst)))
    assert (theirs.source.port, theirs.destination.port) == (src, dst)  # type: ignore[union-attr]
    header, _ = parse(encode_v2((ips[0], src), (ips[1], dst)))
    assert header is not None
    family = socket.AF_INET6 if ":" in ips[0] else socket.AF_INET
    for host, ip in (
        (theirs.source.host, header.source_ip),  # type: ignore[union-attr]
        (theirs.destination.host, header.destination_ip),  # type: ignore[union-attr]
    ):
        text = host.decode() if isinstance(host, bytes) else host
        assert socket.inet_pton(family, text) == socket.inet_pton(family, ip)


@given(st.binary(max_size=40), st.sampled_from([0x20, 0x21, 0x11, 0x22]), st.integers(0, 255))
def test_twisted_refuses_no_more_than_we_do(body: bytes, command: int, family: int) -> None:
    """What we take as a v2 header with addresses, Twisted's parser takes too."""
    data = v2(command, family, body)
    try:
        header, _ = parse(data)
    except ProxyError:
        return
    assert header is not None
    if header.source_ip:
        try:
            info = V2Parser.parse(data)
        except InvalidProxyHeader as error:
            pytest.fail(f"{data!r}: {error}")
        assert info.source.port == header.source_port  # type: ignore[union-attr]


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"]),
    st.lists(st.integers(0, 320), max_size=5),
)
def test_garbage_never_raises_anything_else(data: bytes, start: bytes, cuts: list[int]) -> None:
    def outcome(cuts: list[int]) -> object:
        try:
            return parse(start + data, cuts)
        except ProxyError as error:
            assert error.kind is Kind.BAD_PREAMBLE
            return None

    assert outcome([]) == outcome(cuts)


def test_encoders() -> None:
    assert encode_v1(None, ("1.2.3.4", 5)) == b"PROXY UNKNOWN\r\n"
    assert encode_v1(("", 0), ("1.2.3.4", 5)) == b"PROXY UNKNOWN\r\n"
    mixed, _ = parse(encode_v1(("1.2.3.4", 5), ("::1", 6)))
    assert mixed is not None and mixed.destination_ip == "::1"
    assert mixed.source_ip == "1.2.3.4"
    other, _ = parse(b"PROXY TCP6 ::ffff:1.2.3.4 ::ffff:5.6.7.8 5 6\r\n")
    assert other == ProxyHeader(1, False, "1.2.3.4", 5, "5.6.7.8", 6)
    binary, _ = parse(encode_v2(("1.2.3.4", 5), ("::1", 6)))
    assert binary == ProxyHeader(2, False, "1.2.3.4", 5, "::1", 6)
    dual_stack = encode_v1(("::ffff:1.2.3.4", 5), ("::ffff:5.6.7.8", 6))
    assert dual_stack == b"PROXY TCP4 1.2.3.4 5.6.7.8 5 6\r\n"
    assert encode_v1(("fe80::1%eth0", 5), ("::1", 6)) == b"PROXY TCP6 fe80::1 ::1 5 6\r\n"
    assert parse(encode_v2(None, None)) == (ProxyHeader(2), b"")
    assert parse(encode_v2(("1.2.3.4", 5), ("1.2.3.4", 6), local=True)) == (
        ProxyHeader(2, local=True),
        b"",
    )
    with pytest.raises(ValueError, match="too long"):
        encode_v2(None, None, [(1, bytes(0x10000 - 3))])


def test_nothing_yet() -> None:
    parser = ProxyHeaderParser()
    assert parser.receive(b"") is None
    assert parser.receive(b"PR") is None
