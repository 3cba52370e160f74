"""The ClientHello sniffer against hellos that OpenSSL writes, cut everywhere, re-framed and
damaged.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from lbproxy.errors import Kind, ProxyError
from lbproxy.net.clienthello import MAX_HELLO_BYTES, MAX_RECORDS, NOT_TLS, ClientHello, sniff


def real_hello(
    sni: str = "", alpn: tuple[bytes, ...] = (), version: int = SSL.TLS1_3_VERSION
) -> bytes:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    if alpn:
        context.set_alpn_protos(list(alpn))
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if sni:
        connection.set_tlsext_host_name(sni.encode())
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


def message(hello: bytes) -> bytes:
    """The handshake message of a hello that is one record."""
    assert len(hello) == 5 + int.from_bytes(hello[3:5], "big")
    return hello[5:]


def records(data: bytes, size: int) -> bytes:
    """``data`` in records of at most ``size`` bytes."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part for part in parts)


def hello(extensions: bytes | None, session: bytes = b"", ciphers: bytes = b"\x13\x01") -> bytes:
    body = b"\x03\x03" + bytes(32) + struct.pack("!B", len(session)) + session
    body += struct.pack("!H", len(ciphers)) + ciphers + b"\x01\x00"
    if extensions is not None:
        body += struct.pack("!H", len(extensions)) + extensions
    return records(b"\x01" + len(body).to_bytes(3, "big") + body, 16384)


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def names(*entries: tuple[int, bytes]) -> bytes:
    inner = b"".join(struct.pack("!BH", kind, len(name)) + name for kind, name in entries)
    return extension(0, struct.pack("!H", len(inner)) + inner)


REAL = [
    (real_hello(), ClientHello()),
    (real_hello("Www.Example.COM"), ClientHello("www.example.com")),
    (real_hello("a.b", (b"h2", b"http/1.1")), ClientHello("a.b", ("h2", "http/1.1"))),
    (real_hello("old.example", version=SSL.TLS1_2_VERSION), ClientHello("old.example")),
]


@pytest.mark.parametrize(("data", "expected"), REAL)
def test_real_hellos_on_every_split(data: bytes, expected: ClientHello) -> None:
    for cut in range(len(data)):
        assert sniff(data[:cut]) is None
    assert sniff(data) == expected
    assert sniff(data + b"more that belongs to later records") == expected


@pytest.mark.parametrize("size", [30, 31, 100, 700])
def test_cut_into_records(size: int) -> None:
    data = records(message(REAL[2][0]), size)
    for cut in range(0, len(data), 5):
        assert sniff(data[:cut]) is None
    assert sniff(data) == REAL[2][1]


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", b"\x00", b"\x16\x02", b"\x80\x2e\x01", b"\x15\x03\x01", b"PROXY "],
)
def test_not_tls(data: bytes) -> None:
    assert sniff(data) is NOT_TLS


@pytest.mark.parametrize("data", [b"", b"\x16", b"\x16\x03", b"\x16\x03\x01\x02\x00\x01"])
def test_more_needed(data: bytes) -> None:
    assert sniff(data) is None


GOOD = [
    (hello(None), ClientHello()),
    (hello(b""), ClientHello()),
    (hello(names((7, b"x"), (0, b"A"))), ClientHello("a")),
    (hello(names((7, b"x"))), ClientHello()),
    (hello(extension(16, b"\0\x03\x02\x0a\x0a")), ClientHello(alpn=("\n\n",))),
    (hello(b"", session=bytes(32)), ClientHello()),
]


@pytest.mark.parametrize(("data", "expected"), GOOD)
def test_handmade(data: bytes, expected: ClientHello) -> None:
    assert sniff(data) == expected


BAD = [
    b"\x16\x03\x01\x00\x00\x01",  # empty record
    b"\x16\x03\x01\x40\x01\x01",  # record too long
    b"\x16\x03\x01\x00\x01\x02",  # not a ClientHello
    b"\x16\x03\x01\x00\x01\x01\x15\x03\x01\x00\x02",  # an alert in the middle
    b"\x16\x03\x01\x00\x04\x01" + (MAX_HELLO_BYTES + 1).to_bytes(3, "big"),
    b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",  # empty hello
    hello(b"\x00"),
    hello(b"", session=bytes(33)),
    hello(b"", ciphers=b""),
    hello(b"", ciphers=b"\x13"),
    hello(names()),
    hello(names((0, b""))),
    hello(names((0, b"a"), (0, b"b"))),
    hello(names((0, b"a\0b"))),
    hello(names((0, b"\xc3\xa9"))),
    hello(names((0, b"a" * 256))),
    hello(names((0, b"a")) * 2),
    hello(extension(0, b"")),
    hello(extension(0, b"\0\x04\0\0\1aX")),
    hello(extension(16, b"\0\0")),
    hello(extension(16, b"\0\1\0")),
    hello(extension(16, b"\0\2\1a!")),
    records(b"\x01\x00\x40\x00" + bytes(8000), 1)[: 6 * MAX_RECORDS],
    records(b"\x01\x00\x40\x00" + bytes(16380), 16384)[:-1] + b"x\x16\x03\x01\x40\x01",
]


@pytest.mark.parametrize("data", BAD)
def test_malformed(data: bytes) -> None:
    with pytest.raises(ProxyError) as caught:
        sniff(data)
    assert caught.value.kind is Kind.BAD_PREAMBLE


@given(
    st.sampled_from([data for data, _ in REAL]),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4),
    st.binary(max_size=20),
)
def test_damaged_hellos_raise_nothing_else(
    data: bytes, changes: list[tuple[int, int]], tail: bytes
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    try:
        sniff(bytes(damaged) + tail)
    except ProxyError as error:
        assert error.kind is Kind.BAD_PREAMBLE


@given(st.binary(max_size=100))
def test_garbage(data: bytes) -> None:
    for start in (
        b"",
        b"\x16\x03\x01",
        b"\x16\x03\x01\x00\x50\x01\x00\x00\x4c\x03\x03" + bytes(32),
    ):
        try:
            sniff(start + data)
        except ProxyError as error:
            assert error.kind is Kind.BAD_PREAMBLE
