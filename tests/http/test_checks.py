"""Conditions about a head as it was received, and about one that a filter has changed."""

from __future__ import annotations

import pytest

from lbproxy.http.condition import compile_condition
from lbproxy.http.h1 import RequestParser
from lbproxy.http.message import Limits, RequestHead

from .traffic import Traffic


def received(*lines: str) -> RequestHead:
    raw = "\r\n".join(("GET /a?q=1&r= HTTP/1.1", "Host: a", *lines, "", "")).encode()
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead)
    return head


def holds(words: str, request: RequestHead | None) -> bool:
    verb, *args = words.split()
    return compile_condition(verb, args, False).holds(Traffic(request), b"/a")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("header x-kind", True),
        ("header X-Kind red", True),
        ("header X-Kind blue", True),
        ("header X-Kind re", False),
        ("header X-Kind green b*", True),
        ("header Accept text/html", True),
        ("header Accept text/plain", False),
        ("header Date", False),
        ("header X-None *", False),
    ],
)
@pytest.mark.parametrize("changed", [False, True])
def test_headers(words: str, wanted: bool, changed: bool) -> None:
    head = received("X-Kind: red", "Accept: text/html", "x-kind: blue")
    assert head.untouched_lines
    if changed:
        head.add_header(b"X-Other", b"red")
        assert not head.untouched_lines
    assert holds(words, head) is wanted
    assert holds(f"header X-Other {'red' if changed else '*'}", head) is changed


def test_a_header_that_a_filter_has_removed_or_replaced() -> None:
    head = received("X-Kind: red", "Accept: a", "X-Kind: blue")
    head.remove_header(b"X-Kind")
    assert not holds("header X-Kind red", head) and not holds("header X-Kind blue", head)
    assert not holds("header X-Kind", head) and holds("header Accept a", head)
    head.set_header(b"X-Kind", b"green")
    assert holds("header X-Kind green", head) and not holds("header X-Kind red", head)


def test_a_removed_line_is_not_compared() -> None:
    head = received("X-A: 1", "X-B: 2", "X-A: 3")
    head.remove_header(b"X-B")
    assert head.untouched_lines
    assert holds("header X-A 3", head) and not holds("header X-B 2", head)


@pytest.mark.parametrize(
    "words",
    ["header X-Kind", "header X-Kind red", "cookie a", "query q", "method GET", "host a"],
)
def test_a_connection_without_a_request_has_none_of_them(words: str) -> None:
    assert not holds(words, None)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("method GET", "'GET'"),
        ("header X-Kind", "'red', 'blue'"),
        ("header X-None", "absent"),
        ("cookie a", "'b'"),
        ("query q", "'1'"),
        ("path /", "'/a'"),
        ("client 192.0.2.1", "192.0.2.1"),
    ],
)
def test_what_explain_shows(words: str, wanted: str) -> None:
    verb, *args = words.split()
    condition = compile_condition(verb, args, False)
    traffic = Traffic(received("X-Kind: red", "X-Kind: blue", "Cookie: a=b"))
    assert condition.shown(traffic, b"/a") == wanted
