"""PURE. The cookies of a request as a table of offsets in its raw bytes."""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_le, write_i64_le
from mypy_extensions import i64

from lbproxy.http.known import COOKIE
from lbproxy.http.scan import MASK, ROW, Lines

__all__ = ["COOKIE_ROW", "cookie_rows", "is_cookie"]

COOKIE_ROW: Final = 16


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


def _add_cookies(writer: BytesWriter, raw: bytes, at: i64, end: i64) -> None:
    """Add the cookies of one line. Parts without ``=`` are ignored."""
    while at < end:
        start: i64 = at
        equals: i64 = -1
        while at < end and raw[at] != 59:
            if equals < 0 and raw[at] == 61:
                equals = at
            at += 1
        stop: i64 = at
        at += 1
        if equals < 0:
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
