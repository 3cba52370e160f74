"""Bodies of targets as JSON."""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cors.convert import ConvertError, checked_selector, convert, extract


def read(kind: str, body: bytes, content_type: str = "") -> Any:
    return json.loads(convert(kind, body, content_type))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"a,b\n1,2\n", [{"a": "1", "b": "2"}]),
        (b"a;b\r\n\r\n1;2;3\r\nx\r\n", [{"a": "1", "b": "2", "3": "3"}, {"a": "x"}]),
        (b'a\tb\n"x\ty\nz"\t"q"', [{"a": "x\ty\nz", "b": "q"}]),
        (b"\xef\xbb\xbfa, ,b\n1,2,3", [{"a": "1", "2": "2", "b": "3"}]),
    ],
)
def test_csv(body: bytes, found: Any) -> None:
    assert read("csv", body) == found


def test_charsets() -> None:
    assert read("csv", b"a\n\xe9", "text/csv; charset=iso-8859-1") == [{"a": "é"}]
    assert read("csv", b"a\n\xe9", "text/csv; charset=none") == [{"a": "\ufffd"}]
    assert read("xml", b"<?xml version='1.0' encoding='iso-8859-1'?><a>\xe9</a>") == {"a": "é"}


def test_a_codec_of_python_is_no_charset() -> None:
    started = time.process_time()
    for charset in ("punycode", "idna", "undefined", "raw_unicode_escape", "zlib", "rot13"):
        kind = f"text/csv; charset={charset}"
        assert read("csv", b"a\n\\u0041", kind) == [{"a": "\\u0041"}]
        found = convert("csv", (b"a" * 200 + b"\n") * 500 + b"-" + b"a" * 100_000, kind)
        assert len(found) > 200_000
    assert time.process_time() - started < 2  # seconds; punycode alone takes as long


def test_xml() -> None:
    text = b"<r a='1'><b>x</b><b/><c y='2'>z</c><b>w</b> t </r>"
    assert read("xml", text) == {
        "r": {"@a": "1", "b": ["x", "", "w"], "c": {"@y": "2", "#text": "z"}, "#text": "t"}
    }


RSS = b"""<rss version="2.0"><channel><title>T</title><link>http://t/</link>
<description>D</description><item><title>I</title><link>http://i/</link><guid>7</guid>
<pubDate>now</pubDate><author>a</author><category>x</category><category>y</category></item>
</channel></rss>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><subtitle>D</subtitle>
<link rel="self" href="http://self/"/><link href="http://t/"/><entry><title>I</title>
<link rel="alternate" href="http://i/"/><id>7</id><updated>now</updated>
<author><name>a</name></author><category term="x"/><category term="y"/></entry></feed>"""


@pytest.mark.parametrize("body", [RSS, ATOM])
def test_feeds(body: bytes) -> None:
    item = {"title": "I", "link": "http://i/", "id": "7", "published": "now", "author": "a"}
    more = {"description": "", "content": "", "categories": ["x", "y"]}
    assert read("rss", body) == {
        "title": "T",
        "link": "http://t/",
        "description": "D",
        "items": [{**item, **more}],
    }


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("xml", b"<a", "not XML"),
        ("xml", b"", "not XML"),
        ("xml", b"<?xml version='1.0' encoding='none'?><a/>", "not XML"),
        ("xml", b"<a>" * 300, "elements deep"),
        ("xml", b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "declares entities"),
        ("xml", b"<!DOCTYPE a [<!ENTITY % x SYSTEM 'file:///etc/passwd'>%x;]><a/>", "entities"),
        ("xml", b"<!DOCTYPE a SYSTEM 'http://10.0.0.1/x'><a>&x;</a>", "not XML|"),
        ("rss", b"<html/>", "not RSS"),
        ("csv", b"a\n" + b"\x00" * 10 + b'"', "not CSV|"),
        ("csv", b"x" * 10_000 + b"\n" + b"1\n" * 20_000, "too large"),
    ],
)
def test_what_cannot_be_converted(kind: str, body: bytes, words: str) -> None:
    try:
        convert(kind, body)
    except ConvertError as error:
        assert any(one in str(error) for one in words.split("|"))
    else:
        assert words.endswith("|")


@given(kind=st.sampled_from(["csv", "xml", "rss"]), body=st.binary(max_size=300))
def test_any_body_is_json_or_an_error(kind: str, body: bytes) -> None:
    with suppress(ConvertError):
        json.loads(convert(kind, body))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("csv", b"h" * 50_000 + b"\n" + b"a\n" * 1000),
        ("csv", b"a" * 40_000 + b"," + b"b" * 40_000 + b"\n" + b",\n" * 1000),
        ("xml", b"<!DOCTYPE r [<!ATTLIST a b CDATA '%b'>]><r>" % (b"x" * 50_000) + b"<a/>" * 1000),
    ],
)
def test_a_body_that_would_grow_is_not_built_first(kind: str, body: bytes) -> None:
    tracemalloc.start()
    with suppress(ConvertError):
        convert(kind, body + b"</r>")
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 10 << 20  # bytes; what would be built has 50 to 100 MB


def test_defaults_of_a_dtd_are_left_out() -> None:
    assert read("xml", b"<!DOCTYPE r [<!ATTLIST r a CDATA 'x'>]><r b='y'/>") == {"r": {"@b": "y"}}


def test_a_selector() -> None:
    pytest.importorskip("selectolax")
    html = b"<ul class=l><li id=a>One <b>x</b></li><li>Two</li></ul>"
    assert json.loads(extract(".l > li:first-child, b", html))[0] == {
        "tag": "li",
        "text": "Onex",
        "html": '<li id="a">One <b>x</b></li>',
        "attributes": {"id": "a"},
    }
    assert json.loads(extract("table", html)) == []


def test_html_that_would_take_long() -> None:
    pytest.importorskip("selectolax")
    started = time.process_time()
    with pytest.raises(ConvertError, match="elements deep"):
        extract("i i i i", b"<i>" * 80_000)
    with pytest.raises(ConvertError, match="too large"):
        extract("div", b"<div>" * 150 + b"x" * 10_000)
    assert len(json.loads(extract("p", b"<p>" * 5000))) == 1000
    assert time.process_time() - started < 10  # seconds; without bounds it is minutes


@pytest.mark.parametrize("text", [".a > b", "#x", "a[href^='http']", "li:first-child", "a, b"])
def test_selectors(text: str) -> None:
    assert checked_selector(f" {text} ") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a" * 201,
        "a:has(b)",
        ":not(a)",
        "a:nth-child(2)",
        "a b c d e f g h i j",
        "a{}",
        "<",
    ],
)
def test_selectors_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        checked_selector(text)
