"""PURE. Access records as lines of text: ``common``, ``combined`` and custom formats.

:mod:`lbproxy.observe.accesslog` compiles a format to parts: constants as bytes, and one
:class:`LinePart` for each field. A line is written into one buffer, part by part. Common fields are
written without an intermediate object if their text needs no escape. All others use their getter in
:data:`lbproxy.observe.fields.FIELDS`, which defines the text of every field. Caches whose keys a
client controls are bounded in number and in size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from lbproxy.errors import Kind
from lbproxy.http.message import FieldName, Head, RequestHead, add_number, field_name
from lbproxy.observe.fields import (
    FIELD_LIMIT,
    FIELDS,
    TARGET_LIMIT,
    VERSIONS,
    milliseconds,
    render,
)
from lbproxy.observe.jsonvalues import KEPT, THOUSANDTHS, add_ms, plain_end
from lbproxy.observe.timestamps import clf, rfc3339

__all__ = ["LinePart", "TextLines", "constant", "field_part", "header_part"]

_FIELD_LIMIT: Final[int] = FIELD_LIMIT  # mypyc does not inline constants of other modules
_TARGET_LIMIT: Final[int] = TARGET_LIMIT

_BUFFER_MAX: Final = 64 * 1024  # a buffer larger than this is not reused
_KEPT_SIZE: Final = 64  # maximum length of a name that is cached encoded
_MOST: Final = 10**18  # a larger number is written by the general code
_LONG: Final = 1e9  # seconds; longer times are written by the general code

_CLOSES: Final = {kind: kind.value.encode() for kind in Kind}
_OK: Final = Kind.OK
_CLOSE_OK: Final[bytes] = _CLOSES[_OK]  # the hash of an enum member is computed in Python
_VERSIONS: Final = {version: f" {text}".encode() for version, text in VERSIONS.items()}
_HTTP_1_1: Final[bytes] = _VERSIONS[11]
_LINE_LIMIT: Final = _TARGET_LIMIT + _FIELD_LIMIT

_ESCAPES: Final[list[bytes]] = [b"\\x%02x" % char for char in range(256)]

# rendered names of clients, servers and other values that occur repeatedly
_names: Final[dict[str, bytes]] = {}


# -- values --------------------------------------------------------------------------------------


def _add_name(writer: BytesWriter, text: str) -> None:
    """Write a text that is likely to occur again in later lines, and cache it."""
    known = _names.get(text)
    if known is None:
        known = render(text, _FIELD_LIMIT).encode()
        if len(known) <= _KEPT_SIZE:
            if len(_names) >= KEPT:
                _names.clear()
            _names[text] = known
    writer.write(known)


def _add_int(writer: BytesWriter, value: Any) -> None:
    """Write the value of an int field; a filter may have set another type."""
    if type(value) is int:
        number: int = value
        if 0 <= number < _MOST:
            add_number(writer, number)
            return
    writer.write(render(value, _FIELD_LIMIT).encode())


def _add_time(writer: BytesWriter, seconds: float) -> None:
    """Write seconds as milliseconds in whole microseconds; "-" for a negative value."""
    if 0.0 <= seconds < _LONG:
        add_ms(writer, seconds)
    else:
        writer.write(render(milliseconds(seconds), _FIELD_LIMIT).encode())


def _add_raw(writer: BytesWriter, raw: bytes, at: i64, end: i64, limit: i64) -> None:
    """Write bytes ``at`` to ``end`` of ``raw``, with escapes where necessary; "-" if empty."""
    if at >= end:
        writer.write(b"-")
        return
    if end - at > limit:
        writer.write(render(raw[at:end].decode("latin-1"), limit).encode())
        return
    while at < end:
        stop: i64 = plain_end(raw, at, end)
        if stop > at:
            writer.write(raw if stop - at == len(raw) else raw[at:stop])
        if stop < end:
            writer.write(_ESCAPES[i64(raw[stop])])
            stop += 1
        at = stop


def _add_header(writer: BytesWriter, head: Head, name: FieldName) -> None:
    """Write a header, straight from the raw head if it has one line and is unchanged."""
    if name.single and not head.lines.repeated >> name.number & 1:
        word = head.place(name)
        if word >= 0:
            _add_raw(writer, head.lines.raw, word & 0xFFFFFFFF, word >> 32, _FIELD_LIMIT)
            return
        if word == -1:
            writer.write(b"-")
            return
    value = b", ".join(head.every(name))
    _add_raw(writer, value, 0, len(value), _FIELD_LIMIT)


# -- parts ---------------------------------------------------------------------------------------


class LinePart:
    """A part of the lines of one format, for use in one thread."""

    __slots__ = ()

    def add(self, writer: BytesWriter, record: Any) -> None:
        """Write this part of the line of ``record``."""
        raise NotImplementedError


class _Constant(LinePart):
    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        self._text = text

    def add(self, writer: BytesWriter, record: Any) -> None:
        writer.write(self._text)


class _Rendered(LinePart):
    """Any field, written by its getter."""

    __slots__ = ("_get", "_limit")

    def __init__(self, get: Callable[[Any], Any], limit: int) -> None:
        self._get = get
        self._limit = limit

    def add(self, writer: BytesWriter, record: Any) -> None:
        writer.write(render(self._get(record), self._limit).encode())


class _Attribute(LinePart):
    """Base of the fields that are the attribute ``name`` of the record."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name


class _Name(_Attribute):
    __slots__ = ()

    def add(self, writer: BytesWriter, record: Any) -> None:
        _add_name(writer, getattr(record, self._name))


class _Number(_Attribute):
    __slots__ = ()

    def add(self, writer: BytesWriter, record: Any) -> None:
        _add_int(writer, getattr(record, self._name))


class _Time(_Attribute):
    __slots__ = ()

    def add(self, writer: BytesWriter, record: Any) -> None:
        _add_time(writer, getattr(record, self._name))


class _Close(LinePart):
    __slots__ = ()

    def add(self, writer: BytesWriter, record: Any) -> None:
        close = record.close
        writer.write(_CLOSE_OK if close is _OK else _CLOSES[close])


class _RequestPart(_Attribute):
    """A part of the request's start line, or its host."""

    __slots__ = ("_limit",)

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(name)
        self._limit = limit

    def add(self, writer: BytesWriter, record: Any) -> None:
        raw: bytes = getattr(record.request, self._name)
        _add_raw(writer, raw, 0, len(raw), self._limit)


class _RequestLine(LinePart):
    __slots__ = ()

    def add(self, writer: BytesWriter, record: Any) -> None:
        request: RequestHead = record.request
        method, target = request.method, request.target
        size: i64 = len(method)
        length: i64 = len(target)
        if (
            0 < size <= _FIELD_LIMIT // 2
            and length <= _TARGET_LIMIT
            and plain_end(method, 0, size) == size
            and plain_end(target, 0, length) == length
        ):
            writer.write(method)
            writer.write(b" ")
            writer.write(target)
            version = request.version
            writer.write(_HTTP_1_1 if version == 11 else _VERSIONS.get(version, b" "))
        else:
            writer.write(render(FIELDS["request_line"].get(record), _LINE_LIMIT).encode())


class _Header(LinePart):
    """All lines of a header of the request or the response."""

    __slots__ = ("_answer", "_header")

    def __init__(self, side: str, name: str) -> None:
        self._answer = side == "response"
        self._header: FieldName = field_name(name.lower().encode("ascii"))

    def add(self, writer: BytesWriter, record: Any) -> None:
        head: Head | None = record.response if self._answer else record.request
        if head is None:
            writer.write(b"-")
        else:
            _add_header(writer, head, self._header)


class _Stamp(LinePart):
    """The time of the record. Its text is created once a second."""

    __slots__ = ("_millis", "_second", "_text")

    def __init__(self, millis: bool) -> None:
        self._millis = millis
        self._second = -1
        self._text = b""

    def add(self, writer: BytesWriter, record: Any) -> None:
        moment: float = record.started
        now = int(moment)
        if now != self._second:
            self._text = (rfc3339(now) if self._millis else clf(now)).encode("ascii")
            self._second = now
        writer.write(self._text)
        if self._millis:
            writer.write(THOUSANDTHS[int((moment - now) * 1000)])
            writer.write(b"Z")


# -- formats -------------------------------------------------------------------------------------


_TEXTS: Final = {
    "client_ip": "client_ip",
    "frontend": "frontend_name",
    "route": "route",
    "backend": "backend_name",
    "server": "server_name",
}
_NUMBERS: Final = frozenset(
    ("client_port", "status", "bytes_in", "bytes_out", "attempts", "reused")
)
_TIMES: Final = {
    "header_ms": "t_header",
    "queue_ms": "t_queue",
    "connect_ms": "t_connect",
    "response_ms": "t_response",
    "total_ms": "t_total",
}
_RAW: Final = frozenset(("method", "host", "target"))
_HEADERS: Final = {"user_agent": "user-agent", "referer": "referer"}


def _direct(name: str) -> LinePart | None:
    """Return a part that writes a field without its getter, or None if no such part exists."""
    attribute = _TEXTS.get(name)
    if attribute is not None:
        return _Name(attribute)
    if name in _NUMBERS:
        return _Number(name)
    if name in _TIMES:
        return _Time(_TIMES[name])
    if name in _RAW:
        return _RequestPart(name, FIELDS[name].limit)
    if name in _HEADERS:
        return _Header("request", _HEADERS[name])
    if name in ("time", "time_clf"):
        return _Stamp(name == "time")
    if name == "request_line":
        return _RequestLine()
    return _Close() if name == "close" else None


def constant(text: str) -> LinePart:
    """Return a part that is the same in every line."""
    return _Constant(text.encode())


def field_part(name: str) -> LinePart:
    """Return the part of a field of :data:`lbproxy.observe.fields.FIELDS`."""
    found = _direct(name)
    return _Rendered(FIELDS[name].get, FIELDS[name].limit) if found is None else found


def header_part(side: str, name: str) -> LinePart:
    """Return the part of a header; ``side``: "request" or "response"."""
    return _Header(side, name)


class TextLines:
    """A writer for the lines of one format, for use in one thread."""

    __slots__ = ("_parts", "_writer")

    def __init__(self, parts: list[LinePart]) -> None:
        self._parts = parts
        self._writer = BytesWriter()

    def line(self, record: Any) -> bytes:
        """Return the line of one exchange or session."""
        writer = self._writer
        writer.truncate(0)
        for part in self._parts:
            part.add(writer, record)
        line = writer.getvalue()
        if len(line) > _BUFFER_MAX:
            self._writer = BytesWriter()
        return line
