"""Forms of texts, and bodies as arguments."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.waf.body import BrokenBody, body_parts, inflated
from lbproxy.waf.decode import decoded, one_line, view_of
from lbproxy.waf.rule import View

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
MULTI = b"multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (b"%3CScript%3E", b"<script>"),
        (b"%253cscript%253e", b"<script>"),
        (b"%25253cb", b"<b"),
        (b"&lt;b&#62;&#x41;", b"<b>a"),
        (b"\\u003cb\\x3e", b"<b>"),
        (b"%u003cb", b"<b"),
        ("\uff1cb\uff1e".encode(), b"<b>"),
        (b"a\t\r  b\0c", b"a bc"),
        (b"..\xc0\xafx", b"../x"),
        (b"%zz%", b"%zz%"),
        (b"%25" * 3000, b"%" * 3000),
        (b"%41%0a" * 3000, (b"a " * 3000)),
    ],
)
def test_encodings_are_undone(text: bytes, form: bytes) -> None:
    assert decoded(text) == form


@pytest.mark.parametrize(
    ("view", "text", "form"),
    [
        (View.SQL, b"1/**/union/*x*/select", b"1 union select"),
        (View.SQL, b"/*!50000union*/", b" union "),
        (View.SHELL, b"c'a't${ifs}/x", b"cat /x"),
        (View.FILE, b"..\\..\\a//b/./c", b"../../a/b/c"),
        (View.TEXT, b"a/*b*/", b"a/*b*/"),
    ],
)
def test_views(view: View, text: bytes, form: bytes) -> None:
    assert view_of(view, text) == form


PIECES = st.sampled_from(
    (
        *(b"%0a", b"%250a", b"&#10;", b"\\u000a", b"\\x0a", b"\n", b"%", b"25", b"&newline;", b"a"),
        *(b"/*", b"*/", b"//", b"\\", b"\xe2\x80\xa8", b"\xff", b"%u000a", b"&#x", b"0a;"),
        "\uff0f".encode(),
    )
)


@given(st.lists(PIECES, max_size=40))
def test_no_form_adds_or_removes_a_line(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    plain = decoded(text)
    assert plain.count(b"\n") == text.count(b"\n")
    for view in View:
        assert view_of(view, plain).count(b"\n") == text.count(b"\n")
    assert b"\n" not in one_line(text)


def test_a_form_gives_names_and_values() -> None:
    found = body_parts(b"a=1&b=x+y%21&c%5b%5d=2&d", FORM, whole=True)
    assert ("ARGS:b", b"x y!") in found
    assert ("ARGS_NAMES:c[]", b"c[]") in found
    assert ("ARGS_NAMES", b"d") in found


def test_all_members_of_json_are_seen() -> None:
    found = body_parts(b'{"a": "1", "a": "2", "l": [{"$x": "3"}, 4]}', JSON, whole=True)
    values = sorted(value for _, value in found)
    assert values == [b"$x", b"1", b"2", b"3"]
    assert ("ARGS:l.$x", b"3") in found


@pytest.mark.parametrize("text", [b"{", b"[" * 100_000, b"{'a': 1}", b"\xff\xfe{"])
def test_broken_json_is_an_error(text: bytes) -> None:
    with pytest.raises(BrokenBody) as caught:
        body_parts(text, JSON, whole=True)
    assert caught.value.status == 400


def test_cut_json_is_judged_as_text() -> None:
    assert body_parts(b'{"a": "x', JSON, whole=False) == [("BODY", b'{"a": "x')]


def test_multipart_gives_fields_and_files() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\n'
        b'--B\r\nContent-Disposition: form-data; name="f"; filename="x.php"\r\n\r\n<?php\r\n--B--'
    )
    found = body_parts(body, MULTI, whole=True)
    assert ("ARGS:a", b"one") in found
    assert ("FILES_NAMES:f", b"filename=x.php") in found
    assert ("FILES:f", b"<?php") in found


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"--B\r\n\r\nx\r\n", MULTI),
        (b"hello", MULTI),
        (b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--", MULTI),
        (b"--B--", b"multipart/form-data"),
    ],
)
def test_broken_multipart_is_an_error(body: bytes, kind: bytes) -> None:
    with pytest.raises(BrokenBody):
        body_parts(body, kind, whole=True)


def test_charsets_are_decoded_or_refused() -> None:
    text = "<script>".encode("utf-16")
    assert body_parts(text, b"text/plain; charset=utf-16", whole=True) == [("BODY", b"<script>")]
    assert body_parts(text, b"text/plain", whole=True) == [("BODY", b"<script>")]
    for name in (b"nonsense", b"hex", b"rot13"):
        with pytest.raises(BrokenBody) as caught:
            body_parts(b"x", b"text/plain; charset=" + name, whole=True)
        assert caught.value.status == 415


def test_codings_are_undone_within_the_limit() -> None:
    packed = gzip.compress(b"a" * 1_000_000, mtime=0)
    assert inflated(packed, b"gzip", 1000, whole=True) == (b"a" * 1000, False)
    assert inflated(gzip.compress(b"x", mtime=0), b"gzip", 1000, whole=True) == (b"x", True)
    two = gzip.compress(b"x", mtime=0) + gzip.compress(b"y", mtime=0)
    assert inflated(two, b"x-gzip", 1000, whole=True) == (b"xy", True)
    assert inflated(zlib.compress(b"x"), b"deflate", 9, whole=True) == (b"x", True)
    raw = zlib.compress(b"x")[2:-4]
    assert inflated(raw, b"deflate", 9, whole=True) == (b"x", True)
    assert (
        inflated(
            gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), b"gzip, gzip", 99, whole=True
        )[0]
        == b"x"
    )


@pytest.mark.parametrize(
    ("data", "coding", "status"),
    [
        (b"x", b"br", 415),
        (b"no gzip", b"gzip", 400),
        (gzip.compress(b"hello", mtime=0)[:-3], b"gzip", 400),
    ],
)
def test_what_cannot_be_decoded_is_refused(data: bytes, coding: bytes, status: int) -> None:
    with pytest.raises(BrokenBody) as caught:
        inflated(data, coding, 1000, whole=True)
    assert caught.value.status == status
