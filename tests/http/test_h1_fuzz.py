"""The parsers under generated input: any splitting gives the same events, and nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.http.h1 import ResponseParser
from lbproxy.http.h1_write import (
    encode_chunk,
    encode_end,
    encode_request,
    encode_response,
)
from lbproxy.http.message import END, End, Event, Invalid, Limits, RequestHead, ResponseHead
from tests.http.corpus import requests, responses
from tests.http.h1_strategies import (
    Fields,
    Sent,
    bodies,
    fields,
    methods,
    sent_requests,
    sent_responses,
    targets,
    trailers,
    values,
)
from tests.http.h1_support import facts, pieces, run_requests, run_responses

LIMITS = Limits()
many = settings(max_examples=100, deadline=None, derandomize=True)
most = settings(max_examples=5000, deadline=None, derandomize=True)


@st.composite
def cuts(draw: st.DrawFn, size: int) -> list[int]:
    return draw(st.lists(st.integers(0, size), max_size=8))


def invalid_only_last(events: list[Event]) -> bool:
    return not any(isinstance(event, Invalid) for event in events[:-1])


@many
@given(st.lists(sent_requests, min_size=1, max_size=4), st.data())
def test_pipelined_requests_in_pieces(sent: list[Sent], data: st.DataObject) -> None:
    raw = b"".join(message.raw for message in sent)
    events, _ = run_requests(pieces(raw, data.draw(cuts(len(raw)))), LIMITS)
    rest = iter(events)
    for message in sent:
        head = next(rest)
        assert isinstance(head, RequestHead)
        assert (head.method, head.target, head.headers, head.length, head.host) == (
            message.method, message.target, message.headers, message.length, b"a.example:80",
        )  # fmt: skip
        assert not message.body or next(rest) == message.body
        assert next(rest) == End(message.trailers)
    assert next(rest, None) is None


@many
@given(sent_responses, st.data())
def test_responses_in_pieces(sent: Sent, data: st.DataObject) -> None:
    parts = pieces(sent.raw, data.draw(cuts(len(sent.raw))))
    events, _, _ = run_responses(parts, b"GET", LIMITS)
    head = events[0]
    assert isinstance(head, ResponseHead)
    assert (head.status, head.headers, head.length) == (sent.status, sent.headers, sent.length)
    assert events[1:] == [*([sent.body] if sent.body else []), End(sent.trailers)]


ATOMS = [
    b"GET ", b"POST ", b"CONNECT a:1", b"/", b"*", b"http://a", b" HTTP/1.1", b" HTTP/1.0", b"\r\n",
    b"\r\n", b"\r\n\r\n", b"\r", b"\n", b" ", b"\t", b"\0", b":", b"Host: a", b"Content-Length: ",
    b"Transfer-Encoding: chunked", b"Connection: upgrade", b"Connection: close", b"Upgrade: x",
    b"0", b"5", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n", b";", b"=", b'"', b",", b"\x80", b"#",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 200 OK\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 101 x\r\n",
    b"HTTP/1.1 204 x\r\n", b"HTTP/1.1 100 x\r\n\r\n", b"x" * 60,
]  # fmt: skip
mixtures = st.one_of(
    st.binary(max_size=200), st.lists(st.sampled_from(ATOMS), max_size=30).map(b"".join)
)
SMALL = Limits(header_bytes=150, header_count=5, url_bytes=40, trailer_bytes=30, body_bytes=12)


@st.composite
def damaged(draw: st.DrawFn, raws: list[bytes]) -> bytes:
    """An input of the corpus with a few bytes replaced, removed, put in, or doubled."""
    raw = bytearray(draw(st.sampled_from(raws))[:600])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        stop = min(len(raw), at + draw(st.integers(0, 3)))
        raw[at:stop] = draw(
            st.one_of(
                st.binary(max_size=2), st.sampled_from(ATOMS), st.just(bytes(raw[at:stop]) * 2)
            )
        )
    return bytes(raw)


any_requests = given(
    st.one_of(mixtures, damaged([row[1] for row in requests.REQUESTS])),
    st.sampled_from([SMALL, requests.LIMITS]),
    st.data(),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@any_requests
def test_any_requests_in_pieces(raw: bytes, limits: Limits, data: st.DataObject) -> None:
    whole, kept = run_requests([raw], limits)
    assert invalid_only_last(whole)
    expected = list(map(facts, whole)), kept
    parts = data.draw(cuts(len(raw)))
    for cut in (parts, range(len(raw))):
        events, kept = run_requests(pieces(raw, cut), limits)
        assert (list(map(facts, events)), kept) == expected


any_responses = given(
    st.one_of(mixtures, damaged([row[2] for row in responses.RESPONSES])),
    st.sampled_from([b"GET", b"HEAD", b"CONNECT"]),
    st.data(),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@any_responses
def test_any_responses_in_pieces(raw: bytes, method: bytes, data: st.DataObject) -> None:
    whole, kept, stopped = run_responses([raw], method, SMALL)
    assert invalid_only_last(whole)
    assert stopped or whole[-1] == END or isinstance(whole[-1], End | Invalid)
    expected = list(map(facts, whole)), kept, stopped
    for cut in (data.draw(cuts(len(raw))), range(len(raw))):
        events, kept, stopped = run_responses(pieces(raw, cut), method, SMALL)
        assert (list(map(facts, events)), kept, stopped) == expected


@many
@given(mixtures)
def test_responses_never_asked_for(raw: bytes) -> None:
    events = ResponseParser(LIMITS).receive(raw)
    assert len(events) == bool(raw)


@many
@given(methods, targets, fields, bodies, trailers, st.booleans())
def test_request_round_trip(
    method: bytes, target: bytes, headers: Fields, parts: list[bytes], ending: Fields, known: bool
) -> None:
    body = b"".join(parts)
    head = RequestHead(method, target, headers, host=b"a", length=len(body) if known else None)
    raw = encode_request(head)
    end = END if known else End(tuple(ending))
    raw += body if known else b"".join(map(encode_chunk, parts)) + encode_end(end)
    events, _ = run_requests([raw], LIMITS)
    got = events[0]
    assert isinstance(got, RequestHead)
    assert (got.method, got.target, got.length) == (method, target, head.length)
    framing = {b"content-length", b"transfer-encoding", b"host"}
    assert [pair for pair in got.headers if pair[0].lower() not in framing] == headers
    assert events[1:] == [*([body] if body else []), end]


@many
@given(
    st.sampled_from([200, 204, 304, 404]), values, fields, bodies, trailers, st.booleans(),
    st.sampled_from([10, 11]), st.booleans(), st.sampled_from([b"GET", b"HEAD"]),
)  # fmt: skip
def test_response_round_trip(
    status: int, reason: bytes, headers: Fields, parts: list[bytes], ending: Fields, known: bool,
    version: int, keep_alive: bool, method: bytes,
) -> None:  # fmt: skip
    bodyless = method == b"HEAD" or status in {204, 304}
    body = b"" if bodyless else b"".join(parts)
    head = ResponseHead(status, headers, reason or b"x", length=len(body) if known else None)
    raw, chunked = encode_response(
        head, client_version=version, keep_alive=keep_alive, method=method
    )
    end: Event = END
    if chunked:
        end = End(tuple(ending))
        raw += b"".join(map(encode_chunk, parts)) + encode_end(end)
    else:
        raw += body
    events, _, _ = run_responses([raw], method, LIMITS)
    got = events[0]
    assert isinstance(got, ResponseHead)
    assert (got.status, got.reason, got.chunked) == (status, reason or b"x", chunked)
    unframed = head.length is None and version == 10 and not bodyless
    assert got.keep_alive is (keep_alive and not unframed)
    assert got.until_close is unframed
    framing = {b"content-length", b"transfer-encoding", b"connection"}
    assert [pair for pair in got.headers if pair[0].lower() not in framing] == headers
    assert events[1:] == [*([body] if body else []), end]


@pytest.mark.long
@most
@any_requests
def test_many_requests_in_pieces(raw: bytes, limits: Limits, data: st.DataObject) -> None:
    test_any_requests_in_pieces.hypothesis.inner_test(raw, limits, data)


@pytest.mark.long
@most
@any_responses
def test_many_responses_in_pieces(raw: bytes, method: bytes, data: st.DataObject) -> None:
    test_any_responses_in_pieces.hypothesis.inner_test(raw, method, data)
