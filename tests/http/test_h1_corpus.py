"""Every row of the corpus, whole, byte by byte, and in two parts cut everywhere."""

from __future__ import annotations

import pytest

from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.message import RequestHead
from tests.http.corpus import requests, responses
from tests.http.h1_support import facts, receive_all, run_requests, run_responses, shorthand


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(requests.REQUESTS) >= 150
    assert len(responses.RESPONSES) >= 60
    for rows in (requests.REQUESTS, responses.RESPONSES):
        assert len({row[0] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("raw", "expected"), [pytest.param(*row[1:], id=row[0]) for row in requests.REQUESTS]
)
def test_request(raw: bytes, expected: list[str]) -> None:
    parser = RequestParser(requests.LIMITS)
    seen = [shorthand(event) for event in receive_all(parser, raw)]
    merged: list[str] = []
    for word in seen:
        if word[0] == "+" and merged and merged[-1][0] == "+":
            merged[-1] += word[1:]
        else:
            merged.append(word)
    if parser.stopped:
        merged.append("stopped")
    assert merged == expected
    if expected and expected[-1][0] in "45":
        assert parser.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []
        assert parser.eof() == []
        assert not parser.idle


@pytest.mark.parametrize(
    "raw", [pytest.param(row[1], id=row[0]) for row in requests.REQUESTS if row[2][-1:] == ["end"]]
)
def test_another_request_behind(raw: bytes) -> None:
    """What llhttp still held of one head would change its reading of the next."""
    parser = RequestParser(requests.LIMITS)
    last = [event for event in receive_all(parser, raw) if isinstance(event, RequestHead)][-1]
    seen = [shorthand(event) for event in receive_all(parser, requests.field(b"X-Y: z"))]
    assert seen == (["GET / 11 a 0", "end"] if last.keep_alive else [])


@pytest.mark.parametrize(
    ("method", "raw"),
    [pytest.param(*row[1:3], id=row[0]) for row in responses.RESPONSES if row[3][-1:] == ["end"]],
)
def test_another_response_behind(method: bytes, raw: bytes) -> None:
    parser = ResponseParser(responses.LIMITS)
    parser.begin(method)
    parser.receive(raw)
    if not parser.idle:
        return  # it runs until the connection's end
    for _ in range(2):
        parser.begin(b"GET")
        answer = responses.ok(b"Content-Length: 2", body=b"ab")
        assert [shorthand(event) for event in parser.receive(answer)] == ["200 11 2", "+ab", "end"]


@pytest.mark.parametrize(("raw",), [pytest.param(row[1], id=row[0]) for row in requests.REQUESTS])
def test_request_in_pieces(raw: bytes) -> None:
    events, kept = run_requests([raw], requests.LIMITS)
    expected = list(map(facts, events)), kept
    cut_everywhere = [raw[i : i + 1] for i in range(len(raw))]
    for parts in [cut_everywhere, *([raw[:i], raw[i:]] for i in range(1, len(raw)))]:
        events, kept = run_requests(parts, requests.LIMITS)
        assert (list(map(facts, events)), kept) == expected, parts


@pytest.mark.parametrize(
    ("method", "raw", "expected"),
    [pytest.param(*row[1:], id=row[0]) for row in responses.RESPONSES],
)
def test_response(method: bytes, raw: bytes, expected: list[str]) -> None:
    events, _, stopped = run_responses([raw], method, responses.LIMITS)
    words = [shorthand(event) for event in events] + ["stopped"] * stopped
    assert words == expected


@pytest.mark.parametrize(
    ("method", "raw"), [pytest.param(*row[1:3], id=row[0]) for row in responses.RESPONSES]
)
def test_response_in_pieces(method: bytes, raw: bytes) -> None:
    events, kept, stopped = run_responses([raw], method, responses.LIMITS)
    expected = list(map(facts, events)), kept, stopped
    cut_everywhere = [raw[i : i + 1] for i in range(len(raw))]
    step = 1 if len(raw) < 1000 else 7  # heads that repeat are cut everywhere also by sevenths
    for parts in [cut_everywhere, *([raw[:i], raw[i:]] for i in range(1, len(raw), step))]:
        events, kept, stopped = run_responses(parts, method, responses.LIMITS)
        assert (list(map(facts, events)), kept, stopped) == expected, parts
