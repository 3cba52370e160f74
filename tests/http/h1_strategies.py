"""Hypothesis strategies: valid HTTP/1 messages with what a parser has to find in them."""

from __future__ import annotations

import string

from attrs import frozen
from hypothesis import strategies as st

from lbproxy.http.syntax import FIELD_NAMES, TRAILER_FORBIDDEN

Fields = list[tuple[bytes, bytes]]

_TCHARS = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters
_FRAMING = {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"upgrade",
    b"expect",
    b"te",
}

tokens = st.text(_TCHARS, min_size=1, max_size=12).map(str.encode)
methods = st.sampled_from(
    [b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"M-SEARCH", b"QUERY"]
)
targets = st.text(
    [chr(c) for c in range(33, 127) if chr(c) != "#"], max_size=30
).map(lambda text: b"/" + text.encode())  # fmt: skip
values = st.binary(max_size=30).map(
    lambda raw: bytes(c for c in raw if c == 9 or (c >= 32 and c != 127)).strip(b" \t")
)
names = st.one_of(
    st.sampled_from(sorted(name for name in FIELD_NAMES if name.lower() not in _FRAMING)), tokens
).filter(lambda name: name.lower() not in _FRAMING)
fields = st.lists(st.tuples(names, values), max_size=8)
trailers = st.lists(
    st.tuples(names.filter(lambda name: name.lower() not in TRAILER_FORBIDDEN), values), max_size=3
)
blanks = st.sampled_from([b"", b" ", b"\t", b"  "])
bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=4)


@frozen
class Sent:
    """A message as bytes, and what is in it."""

    raw: bytes
    method: bytes
    target: bytes
    headers: Fields
    length: int | None
    body: bytes
    trailers: tuple[tuple[bytes, bytes], ...]
    status: int = 0


@st.composite
def _framed(draw: st.DrawFn, headers: Fields) -> tuple[bytes, int | None, bytes, Fields]:
    """Fields, length, the bytes of fields and body, trailers."""
    parts = draw(bodies)
    body = b"".join(parts)
    coded = b""
    ending: Fields = []
    length: int | None = len(body)
    if draw(st.booleans()):
        length = None
        headers.append((b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"]))))
        ending = draw(trailers)
        for part in parts:
            size = draw(st.sampled_from([b"%x", b"%X", b"00%x", b"%x;a=b"]))
            coded += size % len(part) + b"\r\n" + part + b"\r\n"
        coded += b"0\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in ending) + b"\r\n"
    else:
        headers.append((b"Content-Length", b"%d" % len(body)))
        coded = body
    lines = b""
    for name, value in headers:
        behind = draw(blanks) if name != b"Transfer-Encoding" else b""
        lines += name + b":" + draw(blanks) + value + behind + b"\r\n"
    return lines + b"\r\n" + coded, length, body, ending


@st.composite
def _requests(draw: st.DrawFn) -> Sent:
    method, target = draw(methods), draw(targets)
    headers = draw(fields)
    headers.insert(draw(st.integers(0, len(headers))), (b"Host", b"a.example:80"))
    rest, length, body, ending = draw(_framed(headers))
    start = method + b" " + target + b" HTTP/1.1\r\n"
    return Sent(start + rest, method, target, headers, length, body, tuple(ending))


@st.composite
def _responses(draw: st.DrawFn) -> Sent:
    status = draw(st.sampled_from([200, 201, 206, 302, 404, 500, 503]))
    headers = draw(fields)
    rest, length, body, ending = draw(_framed(headers))
    start = b"HTTP/1.1 %d %b\r\n" % (status, draw(values))
    return Sent(start + rest, b"GET", b"/", headers, length, body, tuple(ending), status)


sent_requests = _requests()
sent_responses = _responses()
