"""What is known of a request that was refused, for the access log."""

from __future__ import annotations

import pytest

from lbproxy.http.h1 import RequestParser, refused_head
from lbproxy.http.message import Invalid, Limits

LIMITS = Limits(header_bytes=100, url_bytes=40)
CONNECT = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\n"
CONTROL = b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"
LONG = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200


def refused(*parts: bytes) -> RequestParser:
    """A parser that has refused the last of ``parts``."""
    parser = RequestParser(LIMITS)
    for part in parts[:-1]:
        assert not any(isinstance(event, Invalid) for event in parser.receive(part))
    assert isinstance(parser.receive(parts[-1])[-1], Invalid)
    return parser


@pytest.mark.parametrize("raw", [CONNECT, CONTROL])
def test_a_refused_head_can_be_read(raw: bytes) -> None:
    assert refused(raw).unread == raw
    assert refused(raw[:20], raw[20:]).unread == raw
    assert refused(b"\r\n" + raw).unread.lstrip() == raw


def test_a_head_that_is_too_large_can_be_read_up_to_the_limit() -> None:
    assert refused(LONG).unread == LONG[:100]
    assert refused(LONG[:60], LONG[60:]).unread == LONG[:100]


def test_an_incomplete_head_can_be_read() -> None:
    parser = RequestParser(LIMITS)
    assert parser.receive(CONTROL[:20]) == []
    assert parser.unread == CONTROL[:20]


def test_a_fault_in_a_body_shows_no_head() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert refused(head, b"zz\r\n").unread == b""


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        (b"GET /a HTTP/1.1\r\nHost: B.example\r\nX: \x01", (b"GET", b"/a", b"b.example")),
        (b"\r\nGET /a HTTP/1.1\r\nX: y\r\nhost:\tb \t\r\n", (b"GET", b"/a", b"b")),
        (b"GET /a HTTP/1.1\r\nHost: b~\r\n", (b"GET", b"/a", b"b~")),
        (b"GET /a HTTP/1.1\r\nHost: b c\r\n", (b"GET", b"/a", b"")),
        (b"GET /cut", (b"GET", b"/cut", b"")),
        (b"GET", (b"", b"", b"")),
        (b"G(T / HTTP/1.1\r\nHost: b\r\n", (b"", b"", b"")),
        (b"M" * 32 + b" /a HTTP/1.1\r\n", (b"M" * 32, b"/a", b"")),
        (b"M" * 33 + b" /a HTTP/1.1\r\n", (b"", b"", b"")),
        (b"", (b"", b"", b"")),
    ],
)
def test_method_target_and_host_as_far_as_they_are_known(
    start: bytes, shown: tuple[bytes, bytes, bytes]
) -> None:
    head = refused_head(start)
    assert (head.method, head.target, head.host) == shown
