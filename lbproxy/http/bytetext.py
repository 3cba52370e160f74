"""PURE. The bytes of HTTP/1 text: character classes, ends of texts, digits.

The scan of field lines (:mod:`lbproxy.http.scan`), the parsers, the writers and the log use it.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_le
from mypy_extensions import i64, u8

__all__ = [
    "TEXT",
    "TOKEN",
    "UNDERSCORE",
    "VALUE",
    "WHOLE",
    "add_number",
    "find_char",
    "lowest",
    "target_end",
    "text_end",
]

# one table of flags: 1 in a token, 2 an underscore, 4 in a value, 8 in a target
TOKEN: Final = 1
UNDERSCORE: Final = 2
VALUE: Final = 4
_TARGET: Final = 8


def _kinds() -> bytes:
    tokens = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    kinds = bytearray(256)
    for char in range(256):
        kinds[char] = (
            (TOKEN if char in tokens else 0)
            | (UNDERSCORE if char == 95 else 0)
            | (VALUE if char == 9 or (char >= 32 and char != 127) else 0)
            | (_TARGET if 0x21 <= char <= 0x7E and char != 35 else 0)
        )
    return bytes(kinds)


TEXT: Final[bytes] = _kinds()
"""The character classes of each byte."""


def lowest(marks: i64) -> i64:
    """Return the index of the lowest marked byte in a word. At least one byte must be marked."""
    at: i64 = 0
    if marks & 0xFFFFFFFF == 0:
        at = 4
        marks >>= 32
    if marks & 0xFFFF == 0:
        at += 2
        marks >>= 16
    return at if marks & 0xFF else at + 1


def find_char(raw: bytes, at: i64, end: i64, char: i64) -> i64:
    """Return the position of the first ``char`` (below 64) in ``raw`` from ``at`` on, or
    ``end``.
    """
    wide: i64 = end - 8
    ones: i64 = 0x0101010101010101
    halves: i64 = 0x3F3F3F3F3F3F3F3F
    high: i64 = ~(halves * 2 + ones)
    pattern: i64 = ones * char
    i: i64 = at
    while i <= wide:
        flip: i64 = read_i64_le(raw, i) ^ pattern
        marks: i64 = (flip - ones) & ~flip & high
        if marks:
            return i + lowest(marks)
        i += 8
    while i < end and raw[i] != char:
        i += 1
    return i


def target_end(data: bytes, at: i64) -> i64:
    """Return the end of the bytes from ``at`` on that are valid in a target: VCHAR except ``#``."""
    kinds: bytes = TEXT
    size: i64 = len(data)
    wide: i64 = size - 8
    least: i64 = 0x2121212121212121
    ones: i64 = 0x0101010101010101
    halves: i64 = 0x3F3F3F3F3F3F3F3F
    deletes: i64 = halves * 2 + ones  # 0x7f in each byte
    hashes: i64 = 0x2323232323232323
    high: i64 = ~deletes
    i: i64 = at
    while i <= wide:
        word: i64 = read_i64_le(data, i)
        flip: i64 = word ^ deletes
        mark: i64 = word ^ hashes
        # bytes below 0x21, above 0x7e, and "#"; exact up to the lowest of them
        marks: i64 = (
            ((word - least) & ~word) | ((flip - ones) & ~flip) | ((mark - ones) & ~mark) | word
        ) & high
        if marks:
            return i + lowest(marks)
        i += 8
    while i < size and i64(kinds[i64(data[i])]) & _TARGET:
        i += 1
    return i


def text_end(value: bytes, at: i64) -> i64:
    """Return the end of the bytes from ``at`` on that are valid in a field value.

    These are HTAB, SP, VCHAR and obs-text.
    """
    kinds: bytes = TEXT
    size: i64 = len(value)
    wide: i64 = size - 8
    blanks: i64 = 0x2020202020202020
    ones: i64 = 0x0101010101010101
    halves: i64 = 0x3F3F3F3F3F3F3F3F
    deletes: i64 = halves * 2 + ones  # 0x7f in each byte
    high: i64 = ~deletes
    i: i64 = at
    while i <= wide:
        word: i64 = read_i64_le(value, i)
        flip: i64 = word ^ deletes
        if (((word - blanks) & ~word) | ((flip - ones) & ~flip)) & high:
            break
        i += 8
    while i < size and i64(kinds[i64(value[i])]) & VALUE:
        i += 1
    return i


WHOLE: Final[list[bytes]] = [b"%d" % number for number in range(1000)]
"""The digits of small numbers."""


def add_number(writer: BytesWriter, number: i64) -> None:
    """Write a number in decimal digits. Raises ValueError for a negative one."""
    if number < 1000:
        if number < 0:
            raise ValueError("negative number")
        writer.write(WHOLE[number])
        return
    power: i64 = 1
    while number // power >= 10:
        power *= 10
    while power > 0:
        digit: i64 = number // power
        writer.append(u8(48 + digit))
        number -= digit * power
        power //= 10
