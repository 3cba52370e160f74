"""URLs, prefixes and hosts as operators write them."""

from __future__ import annotations

import pytest

from lbproxy.cache.givenurl import given_host, given_prefix, given_url, parts_of, target_of


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("M\u00fcller.example:8443", "xn--mller-kva.example:8443"),
        ("m\u00fcller:84", "xn--mller-kva:84"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("\u03bb\u03cc\u03b3\u03bf\u03c2.example", "xn--oxapnm1c.example"),
        ("\u65e5\u672c\u8a9e\u3002\uff2a\uff30:8443", "xn--wgv71a119e.jp:8443"),
        ("a_b.m\u00fcller", "a_b.xn--mller-kva"),
        ("[::1]:80", "[::1]:80"),
        ("a_b.example.", "a_b.example."),
    ],
)
def test_hosts(text: str, host: str) -> None:
    assert given_host(text) == host
    assert given_url(f"HTTP://{text}/a#b") == f"http://{host}/a"
    assert given_prefix(f"http://{text}/a") == f"http://{host}/a"


@pytest.mark.parametrize(
    "text",
    [
        *("*.example.com", "a\\b", "a%2eb", "a..b", "h:0", "h:65536", "[::1", "[1.2.3.4]", "a,b"),
        # IDNA 2008 does not allow them, or they would name a path
        *("a\u200db", "\u2100.b", "\u2603.net", "-\u00e4", "\u00e4" * 64),
    ],
)
def test_hosts_that_no_request_has_are_refused(text: str) -> None:
    for read, given in ((given_host, text), (given_url, f"http://{text}/a")):
        with pytest.raises(ValueError):
            read(given)
    with pytest.raises(ValueError):
        given_prefix(f"http://{text}/a")


def test_a_prefix_may_end_within_the_host() -> None:
    assert given_prefix("https://EX") == "https://ex"
    assert given_prefix("https://m\u00fcller.ex") == "https://xn--mller-kva.ex"
    assert given_prefix("https://h:84") == "https://h:84"
    assert given_prefix("https://[::1") == "https://[::1"


@pytest.mark.parametrize(
    "text",
    [
        "https://h/a#b",  # without the fragment it would name more
        "https://h#",
        "https://h:8443#/a",
        "https://m\u00fcl",  # the IDNA form of the whole host begins otherwise
        "https://h:443",  # stored without the default port
        "http://h:80",
        "http://h:08",  # stored without the zero
        "https://*.example",
    ],
)
def test_prefixes_that_would_name_more_or_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        given_prefix(text)


def test_a_question_mark_without_a_query_is_part_of_the_target() -> None:
    assert parts_of("http://h/a?") == ("http", "h", "/a?")
    assert parts_of("http://h?b") == ("http", "h", "/?b")
    assert parts_of("http://h") == ("http", "h", "/")
    assert target_of("http://h/a?#b?") == "/a?"
