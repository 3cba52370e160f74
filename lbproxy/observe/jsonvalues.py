"""PURE. Values of access records as JSON, as text or into the buffer of a line."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final

from librt.strings import BytesWriter, read_i64_le
from mypy_extensions import i64

from lbproxy.http.message import FieldName, RequestHead, add_number, lowest, text_of
from lbproxy.observe.fields import FIELD_LIMIT, clip

__all__ = [
    "KEPT",
    "THOUSANDTHS",
    "add_header",
    "add_int",
    "add_ms",
    "add_raw",
    "add_text",
    "json_address",
    "json_field",
    "json_number",
    "json_quoted",
    "json_text",
    "plain_end",
]

_FIELD_LIMIT: Final[int] = FIELD_LIMIT  # mypyc does not inline constants of other modules

KEPT: Final = 1024
"""Maximum number of cached encoded texts of one kind."""

_encode: Final = json.JSONEncoder().encode
_addresses: Final[dict[str, bytes]] = {}  # quoted; hosts that occur repeatedly
_ADDRESS_SIZE: Final = 64
_FOREVER: Final = 1e12  # an impossible number of seconds
_MOST: Final = 10**18  # a larger number is written by the general code
THOUSANDTHS: Final[list[bytes]] = [b".%03d" % n for n in range(1000)]
"""The digits after the decimal point."""

# characters that need no escape in a JSON string: printable ASCII except quote and backslash
_PLAIN: Final[bytes] = bytes([0x20 <= c <= 0x7E and c not in (34, 92) for c in range(256)])


def json_text(text: str, limit: int) -> str:
    """Return a JSON string in printable ASCII, cut to ``limit``.

    Most texts only need the quotes.
    """
    plain = text.isascii() and '"' not in text and "\\" not in text and text.isprintable()
    if plain and len(text) <= limit:
        return f'"{text}"'
    return _encode(clip(text, limit))


def json_quoted(value: Any, limit: int) -> str:
    """Return a JSON value in printable ASCII, with text cut to ``limit``.

    A value of an unexpected type, set by a filter, is converted to something similar.
    """
    if type(value) is str:
        return json_text(value, limit)
    if isinstance(value, str):
        return _encode(clip(value, limit))
    plain = (
        value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value))
    )
    return _encode(value) if plain else json_quoted(str(value), limit)


def json_address(value: Any) -> bytes:
    """Return an IP address, a host or the name of a listener as JSON. Most are cached."""
    if type(value) is not str:
        return json_quoted(value, _FIELD_LIMIT).encode("ascii")
    known = _addresses.get(value)
    if known is None:
        known = json_text(value, _FIELD_LIMIT).encode("ascii")
        if len(known) <= _ADDRESS_SIZE:
            if len(_addresses) >= KEPT:
                _addresses.clear()
            _addresses[value] = known
    return known


def json_number(value: Any) -> str:
    """Return the JSON value of an int field; a filter may have set another type."""
    return str(value) if type(value) is int else json_quoted(value, _FIELD_LIMIT)


def json_field(name: str, value: Any) -> str:
    """Return ``"name":value``."""
    return f'"{name}":{json_quoted(value, _FIELD_LIMIT)}'


def plain_end(raw: bytes, at: i64, end: i64) -> i64:
    """Return the end of the bytes of ``raw`` from ``at`` that need no JSON escape, at most
    ``end``.
    """
    plain: bytes = _PLAIN
    wide: i64 = end - 8
    ones: i64 = 0x0101010101010101
    twos: i64 = 0x0202020202020202
    least: i64 = 0x2121212121212121
    halves: i64 = 0x3F3F3F3F3F3F3F3F
    slashes: i64 = 0x5C5C5C5C5C5C5C5C
    high: i64 = ~(halves * 2 + ones)  # 0x80 in each byte
    i: i64 = at
    while i <= wide:
        word: i64 = read_i64_le(raw, i)
        # Find bytes above 0x7e, bytes below 0x20 together with quotes (which "^ 2" moves next to
        # them), and backslashes. The result is exact up to the lowest match.
        marks: i64 = (
            word | (word + ones) | ((word ^ twos) - least) | ((word ^ slashes) - ones)
        ) & high
        if marks:
            return i + lowest(marks)
        if i == wide:
            return end
        # the last word may overlap bytes that are checked already
        i = i + 8 if i + 8 < wide else wide
    while i < end and plain[i64(raw[i])]:
        i += 1
    return i


def add_raw(writer: BytesWriter, raw: bytes, at: i64, end: i64, limit: i64) -> None:
    """Write bytes ``at`` to ``end`` of ``raw``, decoded, as the inside of a JSON string."""
    if at >= end:
        return
    if end - at <= limit and plain_end(raw, at, end) == end:
        writer.write(raw if end - at == len(raw) else raw[at:end])
        return
    writer.write(_encode(clip(text_of(raw[at:end]), limit))[1:-1].encode("ascii"))


def add_text(writer: BytesWriter, text: Any) -> None:
    """Write a str, which is empty in most lines, as the inside of a JSON string."""
    if text:
        quoted = json_quoted(text if isinstance(text, str) else str(text), _FIELD_LIMIT)
        writer.write(quoted[1:-1].encode("ascii"))


def add_int(writer: BytesWriter, value: Any) -> None:
    """Write the value of an int field; a filter may have set another type."""
    if type(value) is int:
        number: int = value
        if 0 <= number < _MOST:
            add_number(writer, number)
            return
    writer.write(json_number(value).encode("ascii"))


def add_ms(writer: BytesWriter, seconds: float) -> None:
    """Write seconds as milliseconds in whole microseconds; null for a negative value."""
    if seconds == 0.0:
        writer.write(b"0.000")
    elif not 0.0 <= seconds < _FOREVER:
        writer.write(b"null")
    else:
        micros: i64 = int(seconds * 1e6)
        millis: i64 = micros // 1000
        add_number(writer, millis)
        writer.write(THOUSANDTHS[micros - millis * 1000])


def add_header(writer: BytesWriter, head: RequestHead, name: FieldName) -> None:
    """Write the first value of a header, straight from the raw head if it is unchanged."""
    word = head.place(name)
    if word >= 0:
        add_raw(writer, head.lines.raw, word & 0xFFFFFFFF, word >> 32, _FIELD_LIMIT)
    elif word == -2:
        value = head.first(name)
        if value is not None:
            add_raw(writer, value, 0, len(value), _FIELD_LIMIT)
