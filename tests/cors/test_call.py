"""Calls in every form, and keys that never become part of a URL."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cors.call import Call, CallError, masked_target, parse_call

URL = "https://api.example.com/v1?x=1&y=a%20b"


def call(target: str, headers: dict[bytes, bytes] | None = None, **given: object) -> Call | None:
    """Parse a target; ``headers`` by lower-case name."""
    found = headers or {}
    return parse_call(
        target.encode("latin-1"),
        lambda name: found.get(name.lower()),
        **given,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("target", "url"),
    [
        (f"/?url={quote(URL, safe='')}", URL),
        (f"/?url={URL}", URL),
        (f"/?key=K&url={URL}", URL),
        (f"/?{quote(URL, safe='')}", URL),
        (f"/?{URL}", URL),
        (f"/{URL}", URL),
        (f"/{quote(URL, safe='')}", URL),
        ("/https:/a.example/x", "https://a.example/x"),
        ("/HTTPS://a.example/x", "HTTPS://a.example/x"),
        ("/a.example/x?y=http://z/", "http://a.example/x?y=http://z/"),
        ("/a.example", "http://a.example"),
        ("/a.example?q", "http://a.example?q"),
        ("/a.example:443/x", "https://a.example:443/x"),
        ("/a.example:8080", "http://a.example:8080"),
        ("//a.example/x", "http://a.example/x"),
        ("/[2001:db8::1]:80/", "http://[2001:db8::1]:80/"),
        ("/?url=ws://a.example/s", "ws://a.example/s"),
        ("/?url=wss%3A%2F%2Fa.example%2Fs", "wss://a.example/s"),
        ("/https://a.example/?key=theirs", "https://a.example/?key=theirs"),
        ("/?url=https://a.example/?q=%26key=x", "https://a.example/?q=%26key=x"),
        ("/?url=ftp%3A%2F%2Fa", "ftp://a"),
    ],
)
def test_forms(target: str, url: str) -> None:
    found = call(target)
    assert found is not None
    assert found.url == url


@pytest.mark.parametrize(
    "target",
    ["/", "/?", "/status", "/favicon.ico", "/robots.txt", "/nothing", "/?key=K", "/?&", "*", ""],
)
def test_no_call(target: str) -> None:
    assert call(target) is None


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/?url=", "empty"),
        ("/?url=%FF", "UTF-8"),
        ("/?url=http%3A%2F%2Fa&url=http%3A%2F%2Fb", "twice"),
        ("/?key=a&key=b&url=http://a.example/", "twice"),
        ("/?url=http%3A%2F%2Fa.example&page=2", "unknown parameter 'page'"),
        ("/?url=http://a.example/?x&key=K&page=2", "unknown parameter 'page'"),
        ("/?url=http://a.example/&ttl=-1", "seconds"),
        ("/?url=http://a.example/&ttl=999999999", "seconds"),
        ("/?url=http://a.example/&reqHeaders=nonsense", "NAME:VALUE"),
        ("/?url=http://a.example/&reqHeaders=a%0d%0ab:c", "NAME:VALUE"),
        ("/?url=http://a.example/&resHeaders=a:b%0d%0ac:d", "ASCII"),
        ("/?url=http://a.example/&extract=1", "needs a CSS selector"),
        ("/?url=http://a.example/&convert=pdf", "one of csv, xml, rss"),
        ("/?url=http://a.example/" + "&reqHeaders=a:b" * 33, "more than 32"),
    ],
)
def test_errors(target: str, words: str) -> None:
    with pytest.raises(CallError, match=words):
        call(target)


def test_parameters() -> None:
    found = call(
        "/?key=K&colo=fra&ttl=60&reqHeaders=accept:application%2Fjson&reqHeaders=cookie:"
        "&resHeaders=Cache-Control:+no-store&url=https://a.example/?q=1"
    )
    assert found == Call(
        "https://a.example/?q=1",
        "K",
        "fra",
        60,
        (("accept", "application/json"), ("cookie", "")),
        (("Cache-Control", "no-store"),),
    )
    assert "K" not in repr(found).replace("Key", "")


def test_a_plain_url_ends_where_a_parameter_begins() -> None:
    found = call("/?url=https://a.example/?x=1&keys=2&key=SECRET&colo=ams")
    assert found is not None
    assert (found.url, found.key) == ("https://a.example/?x=1&keys=2", "SECRET")
    found = call("/?https://a.example/&key")
    assert found is not None
    assert (found.url, found.key) == ("https://a.example/", "")


def test_headers() -> None:
    headers = {b"x-target-url": URL.encode(), b"x-api-key": b" K "}
    assert call("/anything", headers) == Call(URL, "K")
    assert call("/?url=http://b.example/&key=other", {b"x-api-key": b"K"}) == Call(
        "http://b.example/", "K"
    )
    assert call("/", headers, forms=("query",)) is None
    named = {b"x-t": b"http://b.example/"}
    assert call("/", named, target_header="X-T") == Call("http://b.example/")


@pytest.mark.parametrize("sent", ["é".encode(), "é".encode("latin-1")])
def test_a_url_in_a_header_beyond_ascii(sent: bytes) -> None:
    """Programs send UTF-8, ``fetch`` of browsers a byte for each character."""
    assert call("/", {b"x-target-url": URL.encode() + sent}) == Call(f"{URL}é")


def test_forms_are_switched() -> None:
    assert call(f"/{URL}", forms=("query",)) is None
    assert call(f"/?url={URL}", forms=("path",)) is None


def test_masked() -> None:
    assert masked_target(b"/?key=SECRET&url=x") == b"/?key=***&url=x"
    assert masked_target(b"/?url=https://a/?x&key=S") == b"/?url=https://a/?x&key=***"
    assert masked_target(b"/?monkey=S") == b"/?monkey=S"


text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)


@given(st.text(max_size=60), text.filter(bool))
def test_an_encoded_url_comes_back(tail: str, key: str) -> None:
    try:
        tail.encode("utf-8")
    except UnicodeEncodeError:
        return
    url = f"https://a.example/{tail}"
    found = call(f"/?url={quote(url, safe='')}&key={quote(key, safe='')}")
    assert found is not None
    assert (found.url, found.key) == (url, key)


@given(text)
def test_a_key_is_never_in_the_url_and_always_masked(tail: str) -> None:
    target = f"/?url=https://a.example/{tail}&key=S3CRET"
    try:
        found = call(target)
    except CallError:
        found = None
    if found is not None:
        assert "S3CRET" not in found.url
        assert found.key == "S3CRET"
    assert b"S3CRET" not in masked_target(target.encode())


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_any_target(target: str) -> None:
    try:
        call(target)
    except CallError as error:
        assert str(error)
