"""Forms of texts, and bodies as arguments."""

from __future__ import annotations

import gzip
import json
import zlib
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.http.message import RequestHead
from lbproxy.waf.body import BrokenBody, body_parts, inflated
from lbproxy.waf.decode import decoded, one_line, view_of
from lbproxy.waf.rule import View, Zone
from lbproxy.waf.target import head_parts, pairs_of

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
        (b"\xc0\xbcb\xe0\x80\xbe\xf0\x80\x81\x81\xc1\xa1\xe0\x81\xa1", b"<b>aaa"),
        (b"&#x0000000000003c;b&#00000000000062;\\u{000000003c}", b"<b><"),
        (b"&ltb&gt &quot?a=1&lt=2&gt_x=3", b'<b> "?a=1&lt=2&gt_x=3'),
        (b"&lbrace;&num;&dollar;&semi;", b"{#$;"),
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
        (View.FILE, b" /a b \n /c \n/d\n", b"/a b\n/c\n/d\n"),
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


@pytest.mark.parametrize("value", [b"1 union#x\nselect 1", b"1 union--\nselect 1"])
def test_comments_of_sql_that_end_with_a_line_are_undone(value: bytes) -> None:
    found = body_parts(json.dumps({"q": value.decode()}).encode(), JSON, whole=True)
    assert found == [("ARGS:q", value.replace(b"\n", b" ")), ("ARGS:q", b"1 union select 1")]
    name, last = pairs_of(b"q=" + quote_from_bytes(value).encode())[-1]
    assert (name, last) == ("ARGS:q", b"1 union select 1")


def test_a_name_of_a_file_ends_with_nul() -> None:
    assert pairs_of(b"f=/a%00+b") == [("ARGS:f", b"/a\0 b"), ("ARGS:f", b"/a")]
    found = body_parts(b'{"f": "/a\\u0000 b"}', JSON, whole=True)
    assert found == [("ARGS:f", b"/a\0 b"), ("ARGS:f", b"/a")]


@pytest.mark.parametrize(
    ("value", "more"),
    [
        (b"%0aid", [b";id"]),
        (b"www.example.com%0d%0auname%0a", [b"www.example.com;uname"]),
        (b"192.0.2.1%0aid%0aid", []),
        (b"title%0adate", []),
    ],
)
def test_a_line_behind_a_host_may_be_a_command(value: bytes, more: list[bytes]) -> None:
    assert [text for _, text in pairs_of(b"q=" + value)][1:] == more


def test_a_plus_in_a_cookie_may_be_a_blank() -> None:
    head = RequestHead(b"GET", b"/", [(b"Cookie", b"a=1+or+1=1; b=2")])
    found = [value for _, value in head_parts(head)[Zone.COOKIES]]
    assert found == [b"1+or+1=1", b"1 or 1=1", b"2"]


def test_behind_many_arguments_each_has_a_line() -> None:
    found = pairs_of(b"a=1&" * 1000 + b"b+=x%0ay&c&d=%26&&e=f=g")
    assert len(found) == 1001
    assert found[-1] == ("ARGS", b"b \nx y\nc\nd\n&\n\ne\nf=g")
    cookies = b"a=1;" * 1000 + b" b=%0a; c=d"
    parts = head_parts(RequestHead(b"GET", b"/", [(b"Cookie", cookies), (b"Cookie", b"e=f")]))
    assert parts[Zone.COOKIES][-2:] == [("COOKIES", b"b\n \nc\nd"), ("COOKIES:e", b"f")]


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


FIELD = b'--B\r\nContent-Disposition: form-data; name="q"\r\n\r\n'
HIDDEN = FIELD + b"value\r\n--B--\r\n--A--"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"--B\r\n\r\nx\r\n", MULTI),
        (b"hello", MULTI),
        (b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--", MULTI),
        (b"--B--", b"multipart/form-data"),
        (HIDDEN, b"multipart/form-data; xboundary=A; boundary=B"),
        (HIDDEN, b"multipart/form-data; boundary=A; boundary=B"),
        (HIDDEN, b"multipart/form-data; boundary-x=B; boundary=A"),
        (FIELD + b"a\n--B\n" + FIELD[5:] + b"b\r\n--B--", MULTI),
        (FIELD.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"), MULTI),
    ],
)
def test_broken_multipart_is_an_error(body: bytes, kind: bytes) -> None:
    with pytest.raises(BrokenBody):
        body_parts(body, kind, whole=True)


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="a; filename=x"',
        b'Content-Disposition: form-data; name="a"\r\nX-Y: filename=x',
        b'Content-Disposition: form-data; name="a"; filename=""',
    ],
)
def test_a_field_that_names_a_file_elsewhere_is_no_file(head: bytes) -> None:
    found = body_parts(b"--B\r\n" + head + b"\r\n\r\n\0one\r\n--B--", MULTI, whole=True)
    assert b"\0one" in [value for _, value in found]


def test_text_before_the_first_boundary_is_judged() -> None:
    found = body_parts(b"one\r\n" + FIELD + b"two\r\n--B--", MULTI, whole=True)
    assert found == [("BODY", b" one\r"), ("ARGS:q", b"two")]


def test_a_part_ends_its_head_at_the_first_empty_line() -> None:
    body = b"--B\r\nContent-Disposition: form-data; name=q\n\none\r\n\r\ntwo\r\n--B--"
    assert body_parts(body, MULTI, whole=True) == [("ARGS:q", b"one\r \r two")]


def test_every_name_of_a_file_is_seen() -> None:
    head = b"Content-Disposition: form-data; name=f; filename=a.jpg; filename*=utf-8''b.php"
    found = body_parts(b"--B\r\n" + head + b"\r\n\r\nx\r\n--B--", MULTI, whole=True)
    names = [value for name, value in found if name == "FILES_NAMES:f"]
    assert names == [b"filename=a.jpg", b"filename=utf-8''b.php"]


def test_a_part_has_a_charset() -> None:
    head = FIELD.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=utf-16le\r\n\r\n")
    body = head + "<b>".encode("utf-16-le") + b"\r\n--B--"
    assert body_parts(body, MULTI, whole=True) == [("ARGS:q", b"<b>")]


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        ("UTF-16", "utf-16-le"),
        ("UTF-16", "utf-16-be"),
        ("UTF-32", "utf-32-be"),
        ("iso-8859-1", "latin-1"),
        ("IBM037", "cp037"),
        ("", "utf-16-le"),
    ],
)
def test_xml_tells_its_encoding(encoding: str, codec: str) -> None:
    first = f'<?xml version="1.0" encoding="{encoding}"?>' if encoding else "<?xml version='1.0'?>"
    data = f"{first}<a>\u00e9&x;</a>".encode(codec)
    ((name, value),) = body_parts(data, b"text/xml; charset=utf-8", whole=True)
    assert name == "BODY" and "<a>\u00e9&x;</a>".encode() in value and b"encoding" not in value


def test_xml_in_utf7_is_decoded() -> None:
    data = b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-ENTITY x>'
    ((_, value),) = body_parts(data, b"application/xml", whole=True)
    assert b"<!ENTITY x>" in value


@pytest.mark.parametrize("name", [b"ibm037", b"utf-16", b"utf-7"])
def test_forms_in_charsets_that_hide_separators_are_refused(name: bytes) -> None:
    with pytest.raises(BrokenBody) as caught:
        body_parts(b"q=%7d%40", FORM + b"; charset=" + name, whole=True)
    assert caught.value.status == 415
    assert body_parts(b"q=1", FORM + b"; charset=iso-8859-1", whole=True) == [("ARGS:q", b"1")]


def test_a_body_without_a_type_may_be_a_form() -> None:
    found = body_parts(b"q=a+b&c=%27", b"", whole=True)
    assert ("ARGS:q", b"a b") in found and ("BODY", b"q=a+b&c=%27") in found


def test_many_values_of_json_are_lines_of_their_own() -> None:
    data = json.dumps(["a"] * 10_001 + ["odd"]).encode()
    name, value = body_parts(data, JSON, whole=True)[-1]
    assert name == "BODY" and b"a" in value.split(b"\n")


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
        (b"x", b"gzip,gzip, gzip,gzip", 415),
        (b"\x03\x00" * 60_000, b"deflate", 400),
        (gzip.compress(b"", mtime=0) * 6000, b"gzip", 400),
        (b"no gzip", b"gzip", 400),
        (gzip.compress(b"hello", mtime=0)[:-3], b"gzip", 400),
    ],
)
def test_what_cannot_be_decoded_is_refused(data: bytes, coding: bytes, status: int) -> None:
    with pytest.raises(BrokenBody) as caught:
        inflated(data, coding, 1000, whole=True)
    assert caught.value.status == status
