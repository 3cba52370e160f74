"""PURE. A strict decoder of the chunked transfer coding (RFC 9112 §7.1), for the parsers in ``h1``.

Any leniency here could make two parsers disagree about the end of a message. Sizes are therefore
plain hexadecimal digits, lines end only in CRLF, extensions must follow their grammar and are
dropped, and chunk data is followed by exactly CRLF.
"""

from __future__ import annotations

import re
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from lbproxy.errors import Kind
from lbproxy.http.chunkline import HEX_DIGITS, SMALL, small_chunk, without_extensions
from lbproxy.http.message import END, End, Event, Headers, Invalid, Limits
from lbproxy.http.syntax import (
    FIELD_NAMES,
    FIELD_TEXT,
    TRAILER_FORBIDDEN,
    checked_name,
)

__all__ = ["BadMessage", "ChunkedBody"]

# maximum length of a chunk-size line in bytes; Node and Go have similar limits
_LINE_MAX: Final = 256
# maximum bytes of all extensions of a message, which carry no data
_EXTENSIONS_MAX: Final = 16 * 1024
_SIZE_DIGITS_MAX: Final = 15  # fits in 60 bits

_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILERS: Final = 3


class BadMessage(Exception):
    """Ends parsing. It carries the final event.

    ``start``: the refused head, as far as it was read; empty for an error outside a head.
    """

    def __init__(self, kind: Kind, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.start = b""
        self.invalid = Invalid(kind, detail, status)


class ChunkedBody:
    """Decoder of the chunked body of one message.

    ``nominated``: lower-cased names of trailer fields that are dropped, because Connection names
    them (RFC 9110 §7.6.1).

    ``feed`` appends to the caller's list; ``done`` is true when the End has been appended.
    ``blanks``: white space after a chunk size is removed rather than refused, because some servers
    pad sizes with it. Buffers at most one incomplete line (256 bytes) or trailer section
    (``limits.trailer_bytes``).
    """

    __slots__ = (
        "_blanks",
        "_end",
        "_extensions",
        "_held",
        "_left",
        "_limits",
        "_nominated",
        "_room",
        "_state",
        "done",
    )

    def __init__(
        self,
        limits: Limits,
        body_limit: int | None,
        nominated: tuple[bytes, ...] = (),
        blanks: bool = False,
    ) -> None:
        self._blanks = blanks
        self._limits = limits
        self._room = body_limit
        self._nominated = nominated
        self._state = _SIZE
        self._left = 0
        self._extensions = 0
        self._held = bytearray()
        self._end = END
        self.done = False

    def feed(self, data: bytes, pos: int, events: list[Event]) -> int:
        """Decode ``data`` from ``pos``. Return the position after the consumed bytes, which is the
        end of ``data`` unless ``done``. The data of all chunks in it becomes one event, so that
        tiny chunks do not cause many events. Raises BadMessage, after the event for the preceding
        data.
        """
        parts: list[bytes] = []
        try:
            return self._decode(data, pos, parts)
        finally:
            if parts:
                events.append(parts[0] if len(parts) == 1 else b"".join(parts))
            if self.done:
                events.append(self._end)

    def _decode(self, data: bytes, pos: int, parts: list[bytes]) -> int:
        size = len(data)
        while pos < size:
            state = self._state
            if state == _DATA:
                stop = pos + self._left
                if stop > size:
                    parts.append(data[pos:] if pos else data)
                    self._left -= size - pos
                    return size
                parts.append(data[pos:stop])
                pos = stop
                self._state = state = _DATA_END
                self._left = 2
                if pos == size:
                    return size
            if state == _DATA_END:
                if self._left == 2 and data.startswith(b"\r\n", pos):
                    pos += 2
                    self._state = _SIZE
                else:
                    pos = self._data_end(data, pos)
            elif state == _SIZE:
                if not self._held:
                    pos = self._small_chunks(data, pos, parts)
                    if pos == size:
                        return size
                pos = self._size_line(data, pos)
            else:
                pos = self._trailers(data, pos)
                if self.done:
                    return pos
        return pos

    def _small_chunks(self, data: bytes, pos: int, parts: list[bytes]) -> int:
        """Decode the complete small chunks without extensions in ``data`` from ``pos`` on. Return
        the position after them. The other methods handle other input.
        """
        found = small_chunk(data, pos)
        if not found:
            return pos
        room: i64 = -1 if self._room is None else self._room
        limited = room >= 0
        writer = BytesWriter()
        at: i64 = pos
        while found:
            size: i64 = found & (SMALL - 1)
            start: i64 = found >> 8
            if limited:
                if size > room:
                    break
                room -= size
            stop: i64 = start + size
            if size > 16:
                writer.write(data[start:stop])
            else:
                while start < stop:
                    writer.append(data[start])
                    start += 1
            at = stop + 2
            found = small_chunk(data, at)
        if limited:
            self._room = room
        if len(writer):
            parts.append(writer.getvalue())
        return at

    def _data_end(self, data: bytes, pos: int) -> int:
        """Check one byte of the CRLF after chunk data."""
        if data[pos] != (13 if self._left == 2 else 10):
            raise BadMessage(Kind.BAD_REQUEST, "chunk data is longer than its size")
        self._left -= 1
        if not self._left:
            self._state = _SIZE
        return pos + 1

    def _size_line(self, data: bytes, pos: int) -> int:
        """Read the part of a chunk-size line in ``data``, which may continue earlier input."""
        line_feed = data.find(b"\n", pos)
        end = line_feed + 1 or len(data)
        line = data[pos:end]
        if self._held:
            line = bytes(self._held) + line
            self._held.clear()
        if len(line) > _LINE_MAX + 2:
            raise BadMessage(Kind.BAD_REQUEST, "chunk-size line is too long")
        if line_feed < 0:
            self._held += line
        else:
            self._begin_chunk(line)
        return end

    def _begin_chunk(self, line: bytes) -> None:
        if line[-2:] != b"\r\n":
            raise BadMessage(Kind.BAD_REQUEST, "chunk-size line does not end in CRLF")
        digits = line[:-2]
        if self._blanks:
            digits = digits.rstrip(b" \t")
        if not digits or digits.translate(None, HEX_DIGITS):
            bare = without_extensions(digits)
            if not bare:
                raise BadMessage(Kind.BAD_REQUEST, "malformed chunk size")
            self._extensions += len(digits) - bare
            if self._extensions > _EXTENSIONS_MAX:
                raise BadMessage(Kind.BAD_REQUEST, "chunk extensions are too long")
            digits = digits[:bare]
        if len(digits) > _SIZE_DIGITS_MAX and len(digits.lstrip(b"0")) > _SIZE_DIGITS_MAX:
            raise BadMessage(Kind.BAD_REQUEST, "chunk size is too large")
        size = int(digits, 16)
        if not size:
            self._state = _TRAILERS
            self._held += b"\r\n"  # so that CRLFCRLF also ends an empty section
            return
        if self._room is not None:
            self._room -= size
            if self._room < 0:
                raise BadMessage(Kind.BODY_TOO_LARGE, "chunked body exceeds the limit", 413)
        self._left = size
        self._state = _DATA

    def _trailers(self, data: bytes, pos: int) -> int:
        held = self._held
        before = len(held)
        held += data[pos:] if pos else data
        end = held.find(b"\r\n\r\n", max(0, before - 3))
        limit = self._limits.trailer_bytes
        if (end if end >= 0 else len(held) - 4) > limit or (
            end < 0 and held.count(b"\n", before) > held.count(b"\r\n", before - 1)
        ):
            raise self._bad_section(bytes(held), limit)
        if end < 0:
            return len(data)
        section = bytes(held[2 : end + 2])
        self._held = bytearray()
        if section:
            self._end = End(self._fields(section))
        self.done = True
        return pos + end + 4 - before

    @staticmethod
    def _bad_section(held: bytes, limit: int) -> BadMessage:
        """Return the error that occurs first: the bare LF or the byte above the limit."""
        bare = re.search(rb"(?<!\r)\n", held)
        if bare and bare.start() < limit + 4:
            return BadMessage(Kind.BAD_REQUEST, "malformed trailer section")
        return BadMessage(Kind.HEADERS_TOO_LARGE, "trailer section is too large", 431)

    def _fields(self, section: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """Return the trailer fields of ``section``, without forbidden ones."""
        lines = section.split(b"\r\n")
        lines.pop()
        if len(section.translate(None, FIELD_TEXT)) != 2 * len(lines):
            raise BadMessage(Kind.BAD_REQUEST, "malformed trailer section")
        if len(lines) > self._limits.header_count:
            raise BadMessage(Kind.HEADERS_TOO_LARGE, "too many trailer fields", 431)
        fields: Headers = []
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise BadMessage(Kind.BAD_REQUEST, "trailer line without a colon")
            if name not in FIELD_NAMES:
                try:
                    checked_name(name)
                except ValueError:
                    raise BadMessage(Kind.BAD_REQUEST, "malformed trailer name") from None
            low = name.lower()
            if low not in TRAILER_FORBIDDEN and low not in self._nominated:
                fields.append((name, value.strip()))
        return tuple(fields)
