"""PURE. Field lines as raw bytes and a table of offsets, created by one scan that checks them.

:func:`scan` walks the lines of a head once. It refuses everything that RFC 9112 §5 does not allow,
and creates no object per field: a row of the table contains the positions of name and value.
:class:`Lines` reads the table; a name or a value becomes a Python object only on request.

A row is two little-endian ``i64``:

====  ==================================================================================
word  bits
====  ==================================================================================
0     0 to 31 offset of the name, 32 to 39 its number, 40 to 62 its length in bytes
1     0 to 31 offset of the value, 32 to 62 the offset behind it, without blanks
====  ==================================================================================

Eight bytes are checked at a time as one ``i64``. The same source runs compiled, where sums wrap (C
with ``-fwrapv``), and uncompiled, where they do not; only their lower 64 bits count.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_le, write_i64_le
from mypy_extensions import i64

from lbproxy.http.bytetext import TEXT, TOKEN, UNDERSCORE, VALUE, lowest
from lbproxy.http.known import FieldName, disguised, known_number, matches

__all__ = [
    "EMPTY",
    "ROW",
    "Lines",
    "lines_of",
    "scan",
]

ROW: Final = 16  # bytes
MASK: Final = 0xFFFFFFFF
_CR: Final = 13
_LF: Final = 10
_TAB: Final = 9
_SPACE: Final = 32
_COLON: Final = 58


class Lines:
    """The field lines of one head. They never change.

    ``raw``: the whole head, from its start line to its empty line. ``table``: ``count`` rows, see
    the module. ``present`` and ``repeated``: the sets of known names that occur, and that occur
    more than once. ``cookies``: a table of the cookies, created at first use by a head.
    """

    __slots__ = ("cookies", "count", "present", "raw", "repeated", "table")

    def __init__(self, raw: bytes, table: bytes, count: i64, present: i64, repeated: i64) -> None:
        self.raw = raw
        self.table = table
        self.cookies: bytes | None = None
        self.count: i64 = count
        self.present: i64 = present
        self.repeated: i64 = repeated

    def name_at(self, index: i64) -> bytes:
        """Return the name of a line in its received case."""
        word = read_i64_le(self.table, index * ROW)
        start = word & MASK
        return self.raw[start : start + (word >> 40)]

    def value_at(self, index: i64) -> bytes:
        """Return the value of a line."""
        word = read_i64_le(self.table, index * ROW + 8)
        return self.raw[word & MASK : word >> 32]

    def number_at(self, index: i64) -> i64:
        """Return the number of a line's name."""
        return (read_i64_le(self.table, index * ROW) >> 32) & 255

    def find(self, name: FieldName, index: i64 = 0) -> i64:
        """Return the first line of ``name`` from ``index`` on; -1 without one."""
        number: i64 = name.number
        if name.single and not self.present >> number & 1:
            return -1
        table = self.table
        key: i64 = name.size << 8 | number  # the upper half of a row's first word
        at: i64 = index * ROW
        end: i64 = self.count * ROW
        while at < end:
            word = read_i64_le(table, at)
            if word >> 32 == key and (name.single or matches(self.raw, word & MASK, name)):
                return at // ROW
            at += ROW
        return -1

    def find_number(self, number: i64) -> i64:
        """Return the first line whose name has ``number``; -1 without one."""
        table = self.table
        at: i64 = 0
        end: i64 = self.count * ROW
        while at < end:
            if (read_i64_le(table, at) >> 32) & 255 == number:
                return at // ROW
            at += ROW
        return -1

    def value(self, number: i64) -> bytes:
        """Return the first value of the name with ``number``; empty without one."""
        index = self.find_number(number)
        return b"" if index < 0 else self.value_at(index)

    def values(self, number: i64) -> list[bytes]:
        """Return all values of the name with ``number``, in order."""
        found: list[bytes] = []
        index: i64 = 0
        while index < self.count:
            if self.number_at(index) == number:
                found.append(self.value_at(index))
            index += 1
        return found

    def joined(self, number: i64) -> bytes:
        """Return the values of the name with ``number``, joined by commas (RFC 9110 §5.3)."""
        if self.repeated >> number & 1:
            return b",".join(self.values(number))
        return self.value(number)

    def tab_behind(self, number: i64) -> bool:
        """Return whether the blanks after the first value of the name with ``number`` contain a
        tab.
        """
        index = self.find_number(number)
        if index < 0:
            return False
        at = read_i64_le(self.table, index * ROW + 8) >> 32
        while self.raw[at] == _SPACE:
            at += 1
        return self.raw[at] == _TAB


EMPTY: Final[Lines] = Lines(b"", b"", 0, 0, 0)
"""No lines."""


def scan(data: bytes, base: i64, at: i64, most: i64) -> Lines | None:
    """Return the field lines of ``data`` from ``at`` to their empty line; None if they are invalid
    or incomplete.

    ``base``: start of the head. At least eight bytes of ``data`` precede ``at``. ``most``: maximum
    number of lines. White space before a colon, folded lines, bare CR and LF, and control
    characters except HTAB are refused (RFC 9112 §2.2, §5.1, §5.2; RFC 9110 §5.5).
    """
    kinds: bytes = TEXT
    size: i64 = len(data)
    wide: i64 = size - 8
    # constants above 2**62 are Python objects in compiled code, so they are computed
    blanks: i64 = 0x2020202020202020
    ones: i64 = 0x0101010101010101
    halves: i64 = 0x3F3F3F3F3F3F3F3F
    deletes: i64 = halves * 2 + ones  # 0x7f in each byte
    high: i64 = ~deletes
    # added to a letter and the characters above, sets the highest bit
    to_a: i64 = 0x1F1F1F1F1F1F1F1F
    to_z: i64 = 0x0505050505050505  # added to the characters above the letters
    hyphens: i64 = 0x2D2D2D2D2D2D2D2D
    writer: BytesWriter = BytesWriter()
    count: i64 = 0
    present: i64 = 0
    repeated: i64 = 0
    i: i64 = at
    while True:
        # name
        start: i64 = i
        seen: i64 = 0
        kind: i64 = 0
        while i <= wide:
            head: i64 = read_i64_le(data, i)
            low: i64 = head | blanks
            letters: i64 = (low + to_a) & ~(low + to_z)
            # bytes that are neither a letter nor a hyphen; exact up to the lowest of them
            other: i64 = (((letters | (high - (head ^ hyphens))) & high) ^ high) | (head & high)
            if other:
                i += lowest(other)
                break
            i += 8
        while i < size:
            kind = i64(kinds[i64(data[i])])
            if not kind & TOKEN:
                break
            seen |= kind
            i += 1
        if i + 1 >= size:
            return None
        length: i64 = i - start
        if length == 0:
            if data[i] == _CR and data[i + 1] == _LF:
                i += 2
                break
            return None
        if data[i] != _COLON or count >= most:
            return None
        tail: i64 = read_i64_le(data, i - 8) | blanks
        if length < 8:
            tail >>= (8 - length) * 8
        number: i64 = known_number(data, start, length, tail)
        if seen & UNDERSCORE:
            number = disguised(data[start:i])
        if number:
            bit: i64 = 1
            bit <<= number
            repeated |= present & bit
            present |= bit
        # value, without the blanks around it
        i += 1
        while i < size and (data[i] == _SPACE or data[i] == _TAB):
            i += 1
        value: i64 = i
        while i <= wide:
            word: i64 = read_i64_le(data, i)
            flip: i64 = word ^ deletes
            # bytes below 0x20, and 0x7f; exact up to the lowest of them
            marks: i64 = (((word - blanks) & ~word) | ((flip - ones) & ~flip)) & high
            if not marks:
                i += 8
                continue
            i += lowest(marks)
            if data[i] != _TAB:
                break
            i += 1
        while i < size and i64(kinds[i64(data[i])]) & VALUE:
            i += 1
        if i + 1 >= size or data[i] != _CR or data[i + 1] != _LF:
            return None
        end: i64 = i
        while end > value and (data[end - 1] == _SPACE or data[end - 1] == _TAB):
            end -= 1
        write_i64_le(writer, (start - base) | (number << 32) | (length << 40))
        write_i64_le(writer, (value - base) | ((end - base) << 32))
        count += 1
        i += 2
    raw = data if base == 0 and i == size else data[base:i]
    return Lines(raw, writer.getvalue(), count, present, repeated)


_START: Final = b"fields\r\n"  # replaces a start line: rows need eight bytes before the first name


def lines_of(pairs: list[tuple[bytes, bytes]]) -> Lines:
    """Return lines created from ``pairs``, such as those of a filter or those that HTTP/2 decodes.

    Raises ValueError if they cannot be written: a name that is not a token, or a control character.
    Raises TypeError for anything other than bytes.
    """
    if not pairs:
        return EMPTY
    writer = BytesWriter()
    writer.write(_START)
    for name, value in pairs:
        writer.write(name)
        writer.write(b": ")
        writer.write(value)
        writer.write(b"\r\n")
    writer.write(b"\r\n")
    raw = writer.getvalue()
    found = scan(raw, 0, len(_START), len(pairs))
    # an empty line in a value would end the lines early and hide the rest
    if found is None or found.count != len(pairs) or len(found.raw) != len(raw):
        raise ValueError("malformed field name, or a control character in a field")
    for index, (name, _) in enumerate(pairs):
        if read_i64_le(found.table, index * ROW) >> 40 != len(name):  # a name that contains a colon
            raise ValueError("malformed field name")
    return found
