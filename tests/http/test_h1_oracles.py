"""The parsers against h11 and llhttp (httptools): the same verdict and the same reading, or a
reason.

For every row of the corpus the first message is read by all. Where the other refuses what we
accept, or reads it otherwise, or (h11) accepts what we refuse, the row stands in a table below with
the reason; a row that is there without need fails as well.
"""

from __future__ import annotations

from typing import Any

import h11
import httptools
import pytest
from hypothesis import given, settings

from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.message import End, Event, Invalid, Limits, RequestHead, ResponseHead
from tests.http.corpus import requests, responses
from tests.http.h1_strategies import Sent, sent_requests
from tests.http.h1_support import merged

LIMITS = Limits()
Reading = tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]], bytes] | str
"""Method and target, or status and reason; version; fields; body.

Or ``refused`` or ``partial``.
"""


def ours(events: list[Event]) -> Reading:
    head: Event | None = None
    body = b""
    for event in merged(events):
        if isinstance(event, Invalid):
            return "refused"
        if isinstance(event, bytes):
            body += event
        elif isinstance(event, End):
            break
        elif isinstance(event, RequestHead) or event.status >= 200 or event.status == 101:
            head = event
    else:
        if not isinstance(head, ResponseHead) or not (head.upgrade or head.length == 0):
            return "partial"
    assert head is not None
    version = b"%d.%d" % divmod(head.version, 10)
    if isinstance(head, RequestHead):
        start = head.method, head.target
    else:
        start = b"%d" % head.status, head.reason
    return *start, version, [(n.lower(), v) for n, v in head.headers], body


def our_request(raw: bytes) -> Reading:
    return ours(RequestParser(LIMITS).receive(raw))


def our_response(raw: bytes, method: bytes) -> Reading:
    parser = ResponseParser(LIMITS)
    parser.begin(method)
    return ours(parser.receive(raw) + parser.eof())


def by_h11(connection: Any, raw: bytes, *, eof: bool) -> Reading:
    """The first message as h11 reads it."""
    connection.receive_data(raw)
    if eof:
        connection.receive_data(b"")
    head: Any = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if event is h11.PAUSED or isinstance(event, h11.EndOfMessage):
                break
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return "partial"
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                head = event
    except h11.RemoteProtocolError:
        return "refused"
    if isinstance(head, h11.Request):
        start = head.method, head.target
    else:
        start = b"%d" % head.status_code, bytes(head.reason)
    return *start, head.http_version, [(bytes(n), bytes(v)) for n, v in head.headers], body


def h11_request(raw: bytes) -> Reading:
    return by_h11(h11.Connection(h11.SERVER), raw, eof=False)


def h11_response(raw: bytes, method: bytes) -> Reading:
    connection = h11.Connection(h11.CLIENT)
    fields = [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "x")]
    target = "a:1" if method == b"CONNECT" else "/"
    connection.send(h11.Request(method=method, target=target, headers=fields))
    connection.send(h11.EndOfMessage())
    return by_h11(connection, raw, eof=True)


class Collected:
    """The first message that llhttp calls back about, trailers left out."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.url = self.body = self.method = self.version = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.done = False

    def on_url(self, url: bytes) -> None:
        if not self.done:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.method:  # llhttp leaves white space at a value's end
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        if not self.done:
            self.method = self.parser.get_method()
            self.version = self.parser.get_http_version().encode()

    def on_body(self, body: bytes) -> None:
        if not self.done:
            self.body += body

    def on_message_complete(self) -> None:
        self.done = True


def llhttp_request(raw: bytes) -> Reading:
    """The first message as llhttp reads it."""
    seen = Collected()
    try:
        seen.parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        if not seen.done:
            return "refused"
    if not seen.done:
        return "partial"
    return seen.method, seen.url, seen.version, seen.headers, seen.body


def normal(reading: Reading) -> Reading:
    """Without what one side normalises: Host, the case of a coding, a minor version above 1."""
    if isinstance(reading, str):
        return reading
    first, second, version, fields, body = reading
    version = b"1.1" if version[:2] == b"1." and version > b"1.1" else version
    kept = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in fields if n != b"host"]
    return first, second, version, kept, body


def differs(mine: Reading, other: Reading) -> str:
    """'' if both agree, else in which way they do not."""
    if mine == "refused" or other == "refused":
        return "" if mine == other else ("stricter" if mine == "refused" else "laxer")
    return "" if normal(mine) == normal(other) else "different"


def table(*groups: tuple[str, str, list[str]]) -> dict[str, str]:
    """Row -> way, of groups of way, reason, rows."""
    return {row: way for way, _, rows in groups for row in rows}


TARGETS = (
    "different",
    "we bring absolute and CONNECT targets into the form the head promises",
    [
        "target: absolute",
        "target: absolute wins over Host",
        "target: absolute, https",
        "target: absolute, upper-case scheme",
        "target: absolute, empty path",
        "target: absolute, query only",
        "target: absolute, IPv6",
        "target: absolute OPTIONS is asterisk",
        "target: absolute OPTIONS with path",
        "target: absolute in 1.0 without Host",
        "target: CONNECT",
    ],
)

H11_REQUESTS = table(
    ("laxer", "h11 reads 20 digits at most", ["chunk: a size of many digits"]),
    (
        "stricter",
        "we bound the length of methods, and refuse that of the preface",
        [
            "line: unknown method, malformed host",
            "line: unknown method, HTTP/2.0",
            "line: preface's method",
            "line: preface's method in 1.0",
            "line: method of 33",
            "line: endless method, complete",
        ],
    ),
    (
        "stricter",
        "h11 leaves the form of targets to its user",
        [
            "line: fragment",
            "line: target without slash",
            "line: target is a query",
            "target: absolute with malformed Host",
            "target: absolute with user information",
            "target: absolute with empty host",
            "target: absolute with empty host and port",
            "target: absolute with backslash",
            "target: absolute with fragment",
            "target: absolute, other scheme",
            "target: absolute, no slashes",
            "target: absolute, one slash",
            "target: absolute, bad port",
            "target: javascript",
            "target: asterisk with GET",
            "target: asterisk and more",
            "target: authority with GET",
            "target: CONNECT without port",
            "target: CONNECT with empty port",
            "target: CONNECT with path",
            "target: CONNECT with path after authority",
            "target: CONNECT with a URL",
            "target: CONNECT with user",
            "target: CONNECT without host",
            "target: CONNECT with bare IPv6",
            "target: connect in lower case is no CONNECT",
        ],
    ),
    (
        "stricter",
        "h11 leaves versions to its user",
        [
            "version: 0.9 by name",
            "version: 2.0",
            "version: 2 preface",
            "version: 3.0",
            "version: 9.9",
        ],
    ),
    (
        "laxer",
        "RFC 9112 §2.2 asks servers to ignore empty lines before a request",
        [
            "line end: empty line first",
            "line end: four empty lines first",
            "line end: only empty lines",
            "line end: four empty lines before each of two",
        ],
    ),
    (
        "stricter",
        "h11 takes a bare LF for a line end",
        [
            "line end: LF ends the request line",
            "line end: LF ends a field",
            "line end: LF everywhere",
            "line end: LF ends the head",
            "line end: CR LF LF",
            "line end: bare LF before too many fields",
            "line end: bare LF before a head too large",
            "line end: bare LF after a head too large",
            "chunk: LF ends the body",
            "chunk: trailer with bare LF",
            "chunk: trailer with bare LF, no end",
            "smuggling: TE after a bare LF",
        ],
    ),
    (
        "stricter",
        "h11 joins folded lines",
        [
            "field: space before name",
            "field: folded value",
            "field: folded with tab",
            "field: blank line of spaces",
            "coding: folded",
            "coding: space before name",
            "chunk: trailer folded",
            "smuggling: Host hidden by a fold",
        ],
    ),
    (
        "stricter",
        "h11 lets control characters in values pass, and counts no fields",
        [
            "field: control character in value",
            "field: backspace in value",
            "field: escape in value",
            "field: DEL in value",
            "field: far too many fields",
        ],
    ),
    (
        "stricter",
        "h11 leaves the syntax of Host to its user",
        [
            "host: empty",
            "host: blank",
            "host: empty in 1.0",
            "host: list",
            "host: space inside",
            "host: user information",
            "host: slash",
            "host: scheme",
            "host: question mark",
            "host: hash",
            "host: percent",
            "host: quote",
            "host: backslash",
            "host: angle brackets",
            "host: high byte",
            "host: two dots",
            "host: leading dot",
            "host: only a dot",
            "host: only a port",
            "host: word for port",
            "host: port 0",
            "host: port 65536",
            "host: port of six digits",
            "host: negative port",
            "host: two ports",
            "host: bare IPv6",
            "host: malformed IPv6",
            "host: IPv6 not closed",
            "host: IPv6 with zone",
            "host: IPv6 with tail",
            "host: future IP literal",
            "host: too long",
        ],
    ),
    TARGETS,
    (
        "stricter",
        "h11 leaves CONNECT bodies to its user",
        ["target: CONNECT with a body", "target: CONNECT, chunked"],
    ),
    (
        "stricter",
        "h11 merges equal lengths, and knows no largest one",
        ["length: list of equals", "length: twice the same", "length: over 2**64"],
    ),
    (
        "stricter",
        "h11 lets chunked override a length, and takes it in HTTP/1.0",
        [
            "coding: in HTTP/1.0",
            "coding: with a length",
            "coding: before a length",
            "coding: with length 0",
            "smuggling: CL.TE",
            "smuggling: TE.CL",
            "smuggling: TE in 1.0 with a length",
        ],
    ),
    (
        "laxer",
        "h11 takes white space around the semicolon for an error; RFC 9112 §7.1.1 allows it",
        ["chunk: extensions in blanks"],
    ),
    (
        "stricter",
        "h11 drops chunk extensions unread",
        [
            "chunk: extension without name",
            "chunk: extension without value",
            "chunk: extension with bare CR",
            "chunk: extension with NUL",
            "chunk: extension, quote not closed",
            "chunk: extension with high byte",
            "chunk: extension too long",
            "chunk: endless extension",
            "chunk: line of 257",
            "smuggling: EXT.TERM",
        ],
    ),
    (
        "stricter",
        "h11 drops white space behind a chunk size",
        ["chunk: trailing space", "chunk: trailing tab"],
    ),
    ("stricter", "llhttp takes no tab behind a coding", ["coding: tab behind"]),
    (
        "stricter",
        "h11 takes chunk sizes of 20 digits",
        ["chunk: over 64 bits", "chunk: exactly 64 bits"],
    ),
)

H11_RESPONSES = table(
    (
        "stricter",
        "h11 takes a bare LF for a line end",
        ["field: bare LF", "field: bare LF in a value"],
    ),
    (
        "stricter",
        "h11 joins folded lines",
        ["field: folded", "field: space before a name"],
    ),
    (
        "laxer",
        "RFC 9112 §5.1 asks a proxy to remove it from responses",
        ["field: space before colon"],
    ),
    (
        "stricter",
        "h11 leaves versions to its user",
        ["status line: 2.0"],
    ),
    ("stricter", "h11 lets control characters pass", ["status line: control character in reason"]),
    (
        "stricter",
        "h11 lets chunked override a length, and takes it in HTTP/1.0",
        ["body: chunked and length", "body: chunked in 1.0"],
    ),
    ("stricter", "h11 merges equal lengths", ["body: length twice", "body: length list"]),
    (
        "laxer",
        "RFC 9112 §6.3 lets no framing count in a response without a body",
        [
            "bodyless: HEAD, malformed length",
            "bodyless: HEAD, two lengths",
            "bodyless: HEAD, unknown coding",
            "bodyless: 304, unknown coding",
            "bodyless: CONNECT, unknown coding",
        ],
    ),
    (
        "different",
        "we remove the framing that must not be there",
        [
            "bodyless: HEAD, length and chunked",
            "bodyless: 204 with length",
            "bodyless: 204, chunked",
            "bodyless: 204 with chunks",
            "bodyless: 204 in 1.0, chunked",
            "bodyless: CONNECT with length",
            "interim: 101, chunked",
        ],
    ),
    ("stricter", "h11 counts no Host in responses", ["bodyless: HEAD, two hosts"]),
    ("stricter", "RFC 9110 §15.2.2 asks for it; h11 does not", ["interim: 101 without upgrade"]),
)

LLHTTP_REQUESTS = table(
    TARGETS,
    (
        "laxer",
        "llhttp knows a fixed list of methods; RFC 9110 §9.1 lets any token be one",
        [
            "line: lower-case method is another method",
            "line: unknown method",
            "line: method of token characters",
            "line: method of 32",
            "line: longest line",
            "line: method of RTSP",
            "line: known method and more",
            "line: part of a known method",
        ],
    ),
    (
        "laxer",
        "RFC 9110 §2.5 asks to process a higher minor version as the highest one known",
        ["version: 1.2", "version: 1.9"],
    ),
    ("laxer", "ours looks at more bytes before it refuses", ["line: endless method"]),
    ("laxer", "RFC 9112 §7.1.1 allows blanks there", ["chunk: extensions in blanks"]),
    ("laxer", "we drop such trailers", ["chunk: trailers that frame are dropped"]),
    (
        "different",
        "llhttp hands a body over to the new protocol; RFC 9110 §7.8 reads it first",
        ["connection: upgrade with a body", "connection: upgrade with a chunked body"],
    ),
)


def check(name: str, way: str, expected: dict[str, str]) -> None:
    assert way == expected.get(name, ""), (name, way)


@pytest.mark.parametrize(
    ("name", "raw"), [pytest.param(row[0], row[1], id=row[0]) for row in requests.REQUESTS]
)
def test_requests_as_h11(name: str, raw: bytes) -> None:
    check(name, differs(our_request(raw), h11_request(raw)), H11_REQUESTS)


@pytest.mark.parametrize(
    ("name", "method", "raw"),
    [pytest.param(row[0], row[1], row[2], id=row[0]) for row in responses.RESPONSES],
)
def test_responses_as_h11(name: str, method: bytes, raw: bytes) -> None:
    check(name, differs(our_response(raw, method), h11_response(raw, method)), H11_RESPONSES)


@pytest.mark.parametrize(
    ("name", "raw"), [pytest.param(row[0], row[1], id=row[0]) for row in requests.REQUESTS]
)
def test_requests_as_llhttp(name: str, raw: bytes) -> None:
    """What llhttp accepts and we refuse is what our own checks are for, and not listed."""
    way = differs(our_request(raw), llhttp_request(raw))
    check(name, "" if way == "stricter" else way, LLHTTP_REQUESTS)


@given(sent_requests)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_valid_requests_as_both(sent: Sent) -> None:
    mine = our_request(sent.raw)
    assert mine[:2] == (sent.method, sent.target)
    assert not differs(mine, h11_request(sent.raw))
    if not sent.trailers:  # it calls back about them like about fields
        assert not differs(mine, llhttp_request(sent.raw))
