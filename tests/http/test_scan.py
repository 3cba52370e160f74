"""The scanner: every byte at every place, big heads, and the same answers as a plain reading."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.http.bytetext import TEXT, _kinds, find_char, lowest, target_end, text_end
from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.h1_write import encode_request
from lbproxy.http.known import NUMBERS, FieldName, field_name
from lbproxy.http.message import Invalid, Limits, RequestHead, ResponseHead
from lbproxy.http.scan import Lines, lines_of, scan

START = b"GET / HTTP/1.1\r\n"
TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
PLAIN = re.compile(rb"(?:" + TCHAR + rb"+:[ \t]*(?:[\t \x21-\x7e\x80-\xff]*)\r\n)*\r\n", re.DOTALL)
LINE = re.compile(rb"(" + TCHAR + rb"+):([\t \x21-\x7e\x80-\xff]*)\r\n")


def plain(fields: bytes) -> list[tuple[bytes, bytes]] | None:
    """The lines that ``fields`` begins with, read by a regular expression; None if they
    are none.
    """
    match = PLAIN.match(fields)
    if match is None:
        return None
    return [(name, value.strip(b" \t")) for name, value in LINE.findall(match[0])]


def pairs(lines: Lines | None) -> list[tuple[bytes, bytes]] | None:
    if lines is None:
        return None
    return [(lines.name_at(index), lines.value_at(index)) for index in range(lines.count)]


def check(fields: bytes) -> None:
    lines = scan(START + fields, 0, len(START), 1000)
    assert pairs(lines) == plain(fields), fields
    if lines is None:
        return
    for index, (name, _) in enumerate(pairs(lines) or []):
        number = FieldName(name).number
        assert lines.number_at(index) == number
        assert lines.find(field_name(name.swapcase()), index) == index
        assert not number or lines.present >> number & 1


SAMPLES = [
    b"Host: a\r\nContent-Length: 5\r\n\r\n",
    b"X: abcdefgh\r\nX_Forwarded_For:\t\r\nTE: trailers , x\t\r\n\r\n",
    b"Accept-Language-Of-Somebody: de-DE, de;q=0.5, and more\r\nX: y\r\n\r\nbehind it all",
    b"Transfer-Encoding:chunked\r\nCookie: a=b; c=d\r\n\r\nbody",
    b"X: aaaaaaaaaaaaaaaa\r\nY: @@@@@@@@@@@@@@@@\r\n\r\n",
]


def test_the_class_of_each_byte() -> None:
    for byte in range(256):
        char = bytes((byte,))
        token = bool(re.fullmatch(TCHAR, char))
        value = bool(re.fullmatch(rb"[\t \x21-\x7e\x80-\xff]", char))
        target = bool(re.fullmatch(rb"[\x21-\x7e]", char)) and char != b"#"
        assert _kinds()[byte] == TEXT[byte] == token + 2 * (char == b"_") + 4 * value + 8 * target


@pytest.mark.parametrize("fill", [b"a", b"@"])
@pytest.mark.parametrize(("end", "good"), [(target_end, 8), (text_end, 4)])
def test_every_byte_ends_a_text_or_does_not_wherever_it_stands(
    end: Callable[[bytes, int], int], good: int, fill: bytes
) -> None:
    for at in range(18):
        for byte in range(256):
            text = fill * at + bytes((byte,)) + fill * (17 - at)
            assert end(text, 0) == (18 if TEXT[byte] & good else at), (at, byte)


def test_a_name_that_is_not_there() -> None:
    lines = lines_of([(b"Host", b"a"), (b"X-A", b"1")])
    for name in (b"Referer", b"X-B", b"Y-A"):
        assert lines.find(field_name(name)) == -1
    assert lines.find(field_name(b"X-A"), 2) == -1
    assert lines.find_number(NUMBERS[b"referer"]) == -1


INSERTED = [
    bytes((byte,)) for byte in b"\0\x08\t\n\r\x1f !\"',-./09:;=?@AZ[_`az{|~\x7f\x80\xa0\xff"
]
"""Bytes of each kind, and those at the limits of a range."""


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_byte_at_every_place(sample: bytes) -> None:
    for at in range(len(sample)):
        for byte in range(256):
            char = bytes((byte,))
            check(sample[:at] + char + sample[at + 1 :])
        for char in INSERTED:
            check(sample[:at] + char + sample[at:])


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_end(sample: bytes) -> None:
    for end in range(len(sample)):
        check(sample[:end])


REQUEST = b"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: y\r\n\r\n"


def test_every_byte_at_every_place_of_a_request_leaves_the_parser_in_order() -> None:
    for at in range(len(REQUEST)):
        for byte in range(256):
            raw = REQUEST[:at] + bytes((byte,)) + REQUEST[at + 1 :]
            events = RequestParser(Limits()).receive(raw)
            assert all(
                type(one).__name__ in ("RequestHead", "End", "Invalid", "bytes") for one in events
            )


def test_every_byte_at_every_place_of_a_response_leaves_the_parser_in_order() -> None:
    for at in range(len(RESPONSE)):
        for byte in range(256):
            parser = ResponseParser(Limits())
            parser.begin(b"GET")
            parser.receive(RESPONSE[:at] + bytes((byte,)) + RESPONSE[at + 1 :])
            parser.eof()


ATOMS = [
    b"\r\n",
    b"\r",
    b"\n",
    b":",
    b": ",
    b"\t",
    b" ",
    b"A",
    b"Host",
    b"TE",
    b"via",
    b"x" * 9,
    b"_",
    b"\x80",
    b"\0",
]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(ATOMS), max_size=20).map(b"".join))
)
def test_anything(fields: bytes) -> None:
    check(fields)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=40))
def test_where_texts_end(text: bytes) -> None:
    target = re.match(rb"[\x21\x22\x24-\x7e]*", text)
    value = re.match(rb"[\t \x21-\x7e\x80-\xff]*", text)
    assert target is not None and value is not None
    assert (target_end(text, 0), text_end(text, 0)) == (target.end(), value.end())


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_known_names_are_recognised_in_any_case(name: bytes) -> None:
    for spelling in (name, name.upper(), name.title(), name.swapcase()):
        lines = scan(START + spelling + b": x\r\n\r\n", 0, len(START), 1)
        assert lines is not None and lines.number_at(0) == NUMBERS[name]
    for other in (name[:-1], name + b"x", b"x" + name, name.replace(b"-", b"+"), name[:-1] + b"~"):
        lines = scan(START + other + b": x\r\n\r\n", 0, len(START), 1)
        assert lines is None or lines.number_at(0) == NUMBERS.get(other, 0)


def test_names_spelled_with_underscores() -> None:
    for name, same in (
        (b"X_Forwarded-FOR", b"x-real_ip"),
        (b"Content_Length", b"transfer_encoding"),
    ):
        lines = scan(START + name + b":\r\n" + same + b":\r\n\r\n", 0, len(START), 9)
        assert lines is not None and lines.number_at(0) == lines.number_at(1) > 0
    lines = scan(START + b"User_Agent: x\r\n\r\n", 0, len(START), 9)
    assert lines is not None and lines.number_at(0) == 0


@pytest.mark.parametrize("fill", [b"a", b"Z", b"-"])
def test_every_byte_at_every_place_of_long_names(fill: bytes) -> None:
    for at in range(18):
        for byte in range(256):
            name = fill * at + bytes((byte,)) + fill * (17 - at)
            check(name + b": a value of some length\r\n\r\n")


@pytest.mark.parametrize("fill", [b"a", b"\t", b"\xff"])
def test_every_byte_at_every_place_of_long_values(fill: bytes) -> None:
    for at in range(18):
        for byte in range(256):
            check(b"X:v" + fill * at + bytes((byte,)) + fill * (17 - at) + b"\r\n\r\n")


def test_the_lowest_mark() -> None:
    for first in range(8):
        for others in range(256):
            marks = bytearray(8)
            for at in range(first + 1, 8):
                marks[at] = others >> at & 1 and 0x80
            marks[first] = 0x80
            assert lowest(int.from_bytes(marks, "little", signed=True)) == first


def test_a_head_of_64_kilobytes() -> None:
    limits = Limits(header_bytes=1 << 20, header_count=10)
    raw = START + b"Host: a\r\nX: " + b"y" * 65_536 + b"\r\nZ: end\r\n\r\n"
    head = RequestParser(limits).receive(raw)[0]
    assert isinstance(head, RequestHead)
    assert head.header(b"z") == b"end" and len(head.header(b"x") or b"") == 65_536
    head.remove_header(b"x")
    assert head.headers == [(b"Host", b"a"), (b"Z", b"end")]


def test_a_head_of_1000_fields() -> None:
    limits = Limits(header_bytes=1 << 20, header_count=1000)
    fields = [(b"X-%d" % number, b"%d" % number) for number in range(999)]
    raw = START + b"Host: a\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in fields) + b"\r\n"
    head = RequestParser(limits).receive(raw)[0]
    assert isinstance(head, RequestHead)
    assert head.header(b"x-998") == b"998"
    head.remove_header(b"X-3")
    head.remove_header(b"x-500")
    left = [pair for pair in fields if pair[0] not in (b"X-3", b"X-500")]
    assert head.headers == [(b"Host", b"a"), *left]


@pytest.mark.parametrize(
    "bad",
    [
        [(b"A:B", b"c")],
        [(b"", b"x")],
        [(b"A", b"x\r\nB: y")],
        [(b"A", b"x\r\n\r\nGET / HTTP/1.1")],
        [(b"A", b"x\r\n"), (b"", b"")],
        [(b"A\r\n", b"x")],
        [(b"A", b"\0")],
    ],
)
def test_what_cannot_be_lines(bad: list[tuple[bytes, bytes]]) -> None:
    for headers in (bad, [(b"Host", b"a"), *bad], [*bad, (b"Z", b"z")]):
        with pytest.raises(ValueError):
            lines_of(headers)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=8)), max_size=4))
def test_lines_of_pairs_are_those_pairs_or_refused(fields: list[tuple[bytes, bytes]]) -> None:
    try:
        lines = lines_of(fields)
    except ValueError:
        return
    assert pairs(lines) == [(name, value.strip(b" \t")) for name, value in fields]


def test_lines_of_text_that_is_not_bytes() -> None:
    with pytest.raises(TypeError):
        lines_of([(b"A", "x")])  # type: ignore[list-item]


COOKIES = st.lists(
    st.sampled_from([b"a", b"=", b";", b" ", b"\t", b'"', b"b", b"; a=1"]), max_size=12
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    COOKIES.map(b"".join), COOKIES.map(b"".join), st.sampled_from([b"a", b"b", b"", b"ab", b"a "])
)
def test_cookies_in_place_are_those_of_the_list(one: bytes, two: bytes, name: bytes) -> None:
    raw = START + b"Host: a\r\nCookie:" + one + b"\r\nX: y\r\ncookie: " + two + b"\r\n\r\n"
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead)
    listed = RequestHead(b"GET", b"/", head.pairs())
    assert head.cookies(name) == listed.cookies(name)
    assert head.cookie(name) == listed.cookie(name)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "add", "remove", "list"]),
        st.sampled_from([b"Host", b"x-a", b"X-B", b"Cookie", b"te", b"New", b"X_Real_IP"]),
    ),
    max_size=8,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(EDITS)
def test_edits_are_those_of_a_list(edits: list[tuple[str, bytes]]) -> None:
    raw = (
        START
        + b"Host: a\r\nX-A: 1\r\nCookie: k=v\r\nx-b: 2\r\nX-A: 3\r\nTE: x\r\nx_real_ip: y\r\n\r\n"
    )
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead)
    listed = RequestHead(b"GET", b"/", head.pairs())
    for number, (edit, name) in enumerate(edits):
        for one in (head, listed):
            if edit == "set":
                one.set_header(name, b"%d" % number)
            elif edit == "add":
                one.add_header(name, b"%d" % number)
            elif edit == "remove":
                one.remove_header(name)
        if edit == "list":
            assert head.headers == listed.headers
        assert head.pairs() == listed.pairs()
        assert head.header(name) == listed.header(name)
        assert head.header_values(name) == listed.header_values(name)
        assert head.cookie(b"k") == listed.cookie(b"k")


@pytest.mark.parametrize("place", range(68))
def test_a_line_is_removed_wherever_it_stands(place: int) -> None:
    others = [(b"A%d" % number, b"v") for number in range(67)]
    fields = [*others[:place], (b"X-Auth", b"forged"), *others[place:]]
    raw = START + b"Host: a\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in fields) + b"\r\n"
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead)
    head.set_header(b"X-Auth", b"ours")
    assert head.pairs() == [(b"Host", b"a"), *others, (b"X-Auth", b"ours")]
    assert head.header_values(b"X-Auth") == [b"ours"]
    assert encode_request(head).count(b"\r\n") == len(fields) + 3
    assert b"forged" not in encode_request(head)


def test_blanks_before_a_colon_may_be_removed_from_responses() -> None:
    from lbproxy.http.grammar import USUAL, Grammar

    raw = b"HTTP/1.1 200 OK\r\nContent-Length \t: 2\r\nX: a : b\r\n\r\nhi"
    for blanks in (False, True):
        parser = ResponseParser(Limits(), Grammar(USUAL.methods, USUAL.versions, blanks))
        parser.begin(b"GET")
        events = parser.receive(raw)
        if not blanks:
            assert isinstance(events[0], Invalid)
            continue
        head = events[0]
        assert isinstance(head, ResponseHead)
        assert head.headers == [(b"Content-Length", b"2"), (b"X", b"a : b")]
        assert events[1] == b"hi"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=40), st.integers(0, 40), st.sampled_from(b";=\x00\x3f"))
def test_where_a_character_is(text: bytes, at: int, char: int) -> None:
    at = min(at, len(text))
    found = text.find(bytes((char,)), at)
    assert find_char(text, at, len(text), char) == (len(text) if found < 0 else found)
