"""PURE. Field lines as raw bytes and a table of offsets, made by one scan that judges them.

:func:`scan` walks the lines of a head once. It refuses what RFC 9112 §5 does not allow, and makes
no object per field: a row of the table says where name and value are. :class:`Lines` answers from
the table; a name or a value becomes a Python object when somebody asks for it.

A row is two little-endian ``i64``:

====  ==================================================================================
word  bits
====  ==================================================================================
0     0 to 31 offset of the name, 32 to 39 its number, 40 to 62 its length in bytes
1     0 to 31 offset of the value, 32 to 62 the offset behind it, without blanks
====  ==================================================================================

The same source runs compiled and uncompiled. No expression depends on arithmetic that wraps.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_le, write_i64_le
from mypy_extensions import i64, u8

from lbproxy.http.known import FieldName, disguised, known_number, matches

__all__ = [
    "EMPTY",
    "ROW",
    "TEXT",
    "Lines",
    "add_number",
    "lines_of",
    "scan",
    "target_end",
    "text_end",
]

ROW: Final = 16  # bytes
MASK: Final = 0xFFFFFFFF
_CR: Final = 13
_LF: Final = 10
_TAB: Final = 9
_SPACE: Final = 32
_COLON: Final = 58

# one table, three questions: 1 part of a token, 2 an underscore, 4 part of a value, 8 of a target
_TOKEN: Final = 1
_UNDERSCORE: Final = 2
_VALUE: Final = 4
_TARGET: Final = 8


def _kinds() -> bytes:
    tokens = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    kinds = bytearray(256)
    for char in range(256):
        kinds[char] = (
            (_TOKEN if char in tokens else 0)
            | (_UNDERSCORE if char == 95 else 0)
            | (_VALUE if char == _TAB or (char >= _SPACE and char != 127) else 0)
            | (_TARGET if 0x21 <= char <= 0x7E and char != 35 else 0)
        )
    return bytes(kinds)


TEXT: Final[bytes] = _kinds()
"""The character classes of each byte."""


class Lines:
    """The field lines of one head; nobody changes them.

    ``raw``: the whole head, from its start line to its empty line. ``table``: ``count`` rows, see
    the module. ``present`` and ``repeated``: the sets of known names that occur, and that occur
    more than once. ``cookies``: a table of the cookies, made by the head that is asked for one
    first.
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
        """The name of a line, in the case it came in."""
        word = read_i64_le(self.table, index * ROW)
        start = word & MASK
        return self.raw[start : start + (word >> 40)]

    def value_at(self, index: i64) -> bytes:
        """The value of a line."""
        word = read_i64_le(self.table, index * ROW + 8)
        return self.raw[word & MASK : word >> 32]

    def number_at(self, index: i64) -> i64:
        """The number of a line's name."""
        return (read_i64_le(self.table, index * ROW) >> 32) & 255

    def find(self, name: FieldName, index: i64 = 0) -> i64:
        """The first line of ``name`` from ``index`` on; -1 if there is none."""
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
        """The first line whose name has ``number``; -1 if there is none."""
        table = self.table
        at: i64 = 0
        end: i64 = self.count * ROW
        while at < end:
            if (read_i64_le(table, at) >> 32) & 255 == number:
                return at // ROW
            at += ROW
        return -1

    def value(self, number: i64) -> bytes:
        """The first value of the name with ``number``; empty if there is none."""
        index = self.find_number(number)
        return b"" if index < 0 else self.value_at(index)

    def values(self, number: i64) -> list[bytes]:
        """Every value of the name with ``number``, in order."""
        found: list[bytes] = []
        index: i64 = 0
        while index < self.count:
            if self.number_at(index) == number:
                found.append(self.value_at(index))
            index += 1
        return found

    def joined(self, number: i64) -> bytes:
        """The values of the name with ``number``, with commas between them (RFC 9110 §5.3)."""
        if self.repeated >> number & 1:
            return b",".join(self.values(number))
        return self.value(number)

    def tab_behind(self, number: i64) -> bool:
        """Whether a tab is among the blanks behind the first value of the name with ``number``."""
        index = self.find_number(number)
        if index < 0:
            return False
        at = read_i64_le(self.table, index * ROW + 8) >> 32
        while self.raw[at] == _SPACE:
            at += 1
        return self.raw[at] == _TAB


EMPTY: Final[Lines] = Lines(b"", b"", 0, 0, 0)
"""No line at all."""


def _plain_name(word: i64) -> bool:
    """Whether the lower seven bytes of ``word``, whose eighth is 0, are letters and hyphens.

    Sums of seven bytes fit, so nothing wraps.
    """
    if word & 0x80808080808080:
        return False
    low: i64 = word | 0x20202020202020
    letters: i64 = (low + 0x1F1F1F1F1F1F1F) & ~(low + 0x05050505050505)
    hyphens: i64 = 0x80808080808080 - (word ^ 0x2D2D2D2D2D2D2D)
    return (letters | hyphens) & 0x80808080808080 == 0x80808080808080


def scan(data: bytes, base: i64, at: i64, most: i64) -> Lines | None:
    """The field lines of ``data`` from ``at`` to their empty line; None if they are no lines, or do
    not end.

    ``base``: where the head begins. At least eight bytes of ``data`` come before ``at``. ``most``:
    of how many lines. White space before a colon, folded lines, bare CR and LF, and control
    characters but HTAB are refused (RFC 9112 §2.2, §5.1, §5.2; RFC 9110 §5.5).
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
    writer: BytesWriter = BytesWriter()
    count: i64 = 0
    present: i64 = 0
    repeated: i64 = 0
    i: i64 = at
    while True:
        # the name
        start: i64 = i
        seen: i64 = 0
        kind: i64 = 0
        while i <= wide and _plain_name(read_i64_le(data, i) & 0xFFFFFFFFFFFFFF):
            i += 7
        while i < size:
            kind = i64(kinds[i64(data[i])])
            if not kind & _TOKEN:
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
        if seen & _UNDERSCORE:
            number = disguised(data[start:i])
        if number:
            bit: i64 = 1
            bit <<= number
            repeated |= present & bit
            present |= bit
        # the value, without the blanks around it
        i += 1
        while i < size and (data[i] == _SPACE or data[i] == _TAB):
            i += 1
        value: i64 = i
        while i <= wide:
            word: i64 = read_i64_le(data, i)
            flip: i64 = word ^ deletes
            # some byte below 0x20, or 0x7f
            if (((word - blanks) & ~word) | ((flip - ones) & ~flip)) & high:
                break
            i += 8
        while i < size and i64(kinds[i64(data[i])]) & _VALUE:
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


def target_end(data: bytes, at: i64) -> i64:
    """Where the bytes from ``at`` on end that may stand in a request target: VCHAR but ``#``."""
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
        # some byte below 0x21, above 0x7e, or "#"
        if (
            ((word - least) & ~word) | ((flip - ones) & ~flip) | ((mark - ones) & ~mark) | word
        ) & high:
            break
        i += 8
    while i < size and i64(kinds[i64(data[i])]) & _TARGET:
        i += 1
    return i


def text_end(value: bytes, at: i64) -> i64:
    """Where the bytes from ``at`` on end that may stand in a field value:

    HTAB, SP, VCHAR, obs-text.
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
    while i < size and i64(kinds[i64(value[i])]) & _VALUE:
        i += 1
    return i


def add_number(writer: BytesWriter, number: i64) -> None:
    """Write a number in decimal digits.  ValueError for a negative one."""
    if number < 0:
        raise ValueError("negative number")
    power: i64 = 1
    while number // power >= 10:
        power *= 10
    while power > 0:
        digit: i64 = number // power
        writer.append(u8(48 + digit))
        number -= digit * power
        power //= 10


_START: Final = (
    b"fields\r\n"  # in place of a start line: rows need eight bytes before the first name
)


def lines_of(pairs: list[tuple[bytes, bytes]]) -> Lines:
    """Lines made of ``pairs``, such as a filter's or those that HTTP/2 decodes.

    ValueError if they cannot be written: a name that is no token, a control character. TypeError
    for what is not bytes.
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
    # an empty line in a value would end the lines early, and hide what follows
    if found is None or found.count != len(pairs) or len(found.raw) != len(raw):
        raise ValueError("malformed field name, or a control character in a field")
    for index, (name, _) in enumerate(pairs):
        if read_i64_le(found.table, index * ROW) >> 40 != len(name):  # a colon in it
            raise ValueError("malformed field name")
    return found
