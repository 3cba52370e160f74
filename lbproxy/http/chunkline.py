"""PURE. The line that begins a chunk (RFC 9112 §7.1). Returns its size and skips extensions."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lbproxy.http.syntax import is_token

__all__ = ["HEX_DIGITS", "HEX_VALUES", "NO_HEX", "SMALL", "small_chunk", "without_extensions"]

HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
SMALL: Final = 256  # bytes; smaller chunks are copied together, without an object for each
NO_HEX: Final = 255
HEX_VALUES: Final[bytes] = bytes(
    int(chr(byte), 16) if byte in HEX_DIGITS else NO_HEX for byte in range(256)
)
_TOKEN_BYTES: Final[bytes] = bytes(is_token(bytes((byte,))) for byte in range(256))


def small_chunk(data: bytes, at: i64) -> i64:
    """Return the size of the small chunk at ``at``, plus 256 times the start of its data. Return 0
    unless a complete chunk without extensions is there.
    """
    end: i64 = len(data)
    size: i64 = 0
    stop: i64 = at + 4 if at + 4 < end else end
    while at < stop:
        digit: i64 = HEX_VALUES[data[at]]
        if digit == NO_HEX:
            break
        size = size * 16 + digit
        at += 1
    if size == 0 or size >= SMALL or at + 4 + size > end:
        return 0
    if data[at] != 13 or data[at + 1] != 10:
        return 0
    start: i64 = at + 2
    if data[start + size] != 13 or data[start + size + 1] != 10:
        return 0
    return start * 256 + size


def without_extensions(line: bytes) -> i64:
    """Return the number of digits at the start of a chunk-size line with extensions (RFC 9112
    §7.1.1), 0 if it violates the grammar.
    """
    end: i64 = len(line)
    bare: i64 = 0
    while bare < end and HEX_VALUES[line[bare]] != NO_HEX:
        bare += 1
    at: i64 = bare
    while at < end:
        at = _blanks(line, at)
        if at == end or line[at] != 59:  # ;
            return 0
        name = _blanks(line, at + 1)
        at = _token(line, name)
        if at == name:
            return 0
        value = _blanks(line, at)
        if value < end and line[value] == 61:  # =
            value = _blanks(line, value + 1)
            at = _token(line, value)
            if at == value:
                at = _quoted(line, value)
                if at < 0:
                    return 0
    return bare


def _blanks(line: bytes, at: i64) -> i64:
    """Return the position after blanks."""
    while at < len(line) and (line[at] == 32 or line[at] == 9):
        at += 1
    return at


def _token(line: bytes, at: i64) -> i64:
    """Return the position after a token."""
    while at < len(line) and _TOKEN_BYTES[line[at]]:
        at += 1
    return at


def _quoted(line: bytes, at: i64) -> i64:
    """Return the position after a quoted string (RFC 9110 §5.6.4), -1 if none is there."""
    end: i64 = len(line)
    if at == end or line[at] != 34:
        return -1
    at += 1
    while at < end:
        byte: i64 = line[at]
        if byte == 34:
            return at + 1
        if byte == 92:
            at += 1
            if at == end:
                return -1
            byte = line[at]
        if byte == 127 or (byte < 32 and byte != 9):
            return -1
        at += 1
    return -1
