"""PURE. The cookies of a request as a table of offsets in its raw bytes."""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_le, write_i64_le
from mypy_extensions import i64

from lbproxy.http.bytetext import find_char
from lbproxy.http.known import COOKIE
from lbproxy.http.scan import MASK, ROW, Lines

__all__ = ["COOKIE_ROW", "cookie_rows", "is_cookie", "line_without"]

COOKIE_ROW: Final = 16
_SEMICOLON: Final = 59
_EQUALS: Final = 61


def is_cookie(raw: bytes, word: i64, name: bytes) -> bool:
    """Return whether the name of a cookie is ``name``. ``word``: the first word of its row."""
    start = word & MASK
    size = (word >> 32) - start
    if size != len(name):
        return False
    at: i64 = 0
    while at < size:
        if raw[start + at] != name[at]:
            return False
        at += 1
    return True


def cookie_rows(lines: Lines) -> bytes:
    """Return the table of the cookies of a request.

    A row is two words: start (lower 32 bits) and end of the name, and of the value.
    """
    writer = BytesWriter()
    if lines.present >> COOKIE & 1:
        index: i64 = 0
        while index < lines.count:
            if lines.number_at(index) == COOKIE:
                word = read_i64_le(lines.table, index * ROW + 8)
                _add_cookies(writer, lines.raw, word & MASK, word >> 32)
            index += 1
    return writer.getvalue()


def line_without(lines: Lines, row: i64) -> bytes:
    """Return the value of the only Cookie line without one pair; empty if the line had no other.

    ``row``: the pair's place in the table. Other pairs stay byte for byte as they were.
    """
    raw = lines.raw
    word = read_i64_le(lines.table, lines.find_number(COOKIE) * ROW + 8)
    at: i64 = word & MASK
    end: i64 = word >> 32
    table = lines.cookies
    assert table is not None
    start: i64 = read_i64_le(table, row) & MASK
    stop: i64 = read_i64_le(table, row + 8) >> 32
    while start > at and raw[start - 1] != _SEMICOLON:
        start -= 1
    while stop < end and raw[stop] != _SEMICOLON:
        stop += 1
    at = _past_blanks(raw, at, start) if start > at else at
    if at == start:
        at = start = stop = _past_blanks(raw, stop, end)
    else:
        start -= 1  # the semicolon that precedes the pair
    while end > stop and _is_blank(raw[end - 1]):
        end -= 1
    if stop < end:
        return raw[at:start] + raw[stop:end] if at < start else raw[stop:end]
    while start > at and _is_blank(raw[start - 1]):
        start -= 1
    return raw[at:start]


def _is_blank(char: i64) -> bool:
    return char in (32, 9, _SEMICOLON)


def _past_blanks(raw: bytes, at: i64, end: i64) -> i64:
    while at < end and _is_blank(raw[at]):
        at += 1
    return at


def _add_cookies(writer: BytesWriter, raw: bytes, at: i64, end: i64) -> None:
    """Add the cookies of one line. Parts without ``=`` are ignored."""
    while at < end:
        start: i64 = at
        stop: i64 = find_char(raw, start, end, _SEMICOLON)
        equals: i64 = find_char(raw, start, stop, _EQUALS)
        at = stop + 1
        if equals == stop:
            continue
        while raw[start] == 32 or raw[start] == 9:
            start += 1
        while stop > equals + 1 and (raw[stop - 1] == 32 or raw[stop - 1] == 9):
            stop -= 1
        value: i64 = equals + 1
        while value < stop and raw[value] == 34:
            value += 1
        while stop > value and raw[stop - 1] == 34:
            stop -= 1
        write_i64_le(writer, start | (equals << 32))
        write_i64_le(writer, value | (stop << 32))
