"""PURE. The state machine of both HTTP/1 parsers, which collects heads, delimits bodies and stops
for tunnels.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lbproxy.errors import Kind
from lbproxy.http.h1_body import BadMessage, ChunkedBody
from lbproxy.http.message import END, End, Event, Invalid, Limits
from lbproxy.http.syntax import FIELD_TEXT, is_token

__all__ = ["METHOD_MAX", "Parser"]

METHOD_MAX: Final = 32  # bytes; the longest registered method has 17 (UPDATEREDIRECTREF)
_CR: Final = 13
# maximum empty lines before a request line (RFC 9112 §2.2 requires at least one)
_BLANK_MAX: Final = 4
_KEPT_MAX: Final = 256 * 1024  # maximum bytes buffered for a tunnel that has not started

# States. READY exists only for responses: no request is outstanding.
HEAD: Final = 0
LENGTH: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3
STOPPED: Final = 4
READY: Final = 5
DEAD: Final = 6


class Parser:
    """Base of both parsers."""

    __slots__ = (
        "_blank",
        "_body_limit",
        "_buf",
        "_chunks",
        "_header_bytes",
        "_header_count",
        "_left",
        "_limits",
        "_line_feeds",
        "_line_max",
        "_rest",
        "_rest_at",
        "_state",
        "_stop_after",
        "_url_bytes",
        "refused",
    )

    _bad_start = "malformed request line"

    def __init__(self, limits: Limits, line_max: int, body_limit: int | None) -> None:
        self._set_limits(limits, line_max, body_limit)
        self._buf = bytearray()  # an incomplete head, or buffered bytes while stopped
        self._line_feeds = 0  # number of them in _buf
        self._blank = 0
        self._rest = b""  # the bytes after a complete request, from _rest_at on
        self._rest_at = 0
        self._left = 0
        self._chunks: ChunkedBody | None = None
        self._state = HEAD
        self._stop_after = False
        self.refused = b""  # the refused head, as far as it was read

    def _set_limits(self, limits: Limits, line_max: int, body_limit: int | None) -> None:
        self._limits = limits
        self._header_bytes: i64 = limits.header_bytes  # cached for speed
        self._header_count: i64 = limits.header_count
        self._url_bytes: i64 = limits.url_bytes
        self._line_max = min(line_max, limits.header_bytes)
        self._body_limit = body_limit

    # -- what callers use

    def receive(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes, of at most one request. An Invalid is the last
        event ever.

        Bytes after a complete request are kept unparsed, see :attr:`pending`.
        """
        if self._rest:
            data = self._rest[self._rest_at :] + data
            self._rest = b""
        return self._events(data, 0)

    @property
    def pending(self) -> bool:
        """True if bytes after a complete request wait for :meth:`proceed`."""
        return bool(self._rest)

    def proceed(self) -> list[Event]:
        """Return the events of the next request, as far as it has been received."""
        rest, self._rest = self._rest, b""
        return self._events(rest, self._rest_at)

    def _events(self, data: bytes, pos: int) -> list[Event]:
        events: list[Event] = []
        try:
            self._run(data, pos, events)
        except BadMessage as refusal:
            self._give_up(refusal.start or bytes(self._buf))
            events.append(self._refusal(refusal.invalid))
        return events

    @property
    def stopped(self) -> bool:
        """True if bytes are only buffered, for a tunnel or until ``resume``."""
        return self._state == STOPPED

    @property
    def unread(self) -> bytes:
        """Return the head that was refused or is incomplete, as far as it was read, up to
        ``header_bytes``.
        """
        return self.refused or bytes(self._buf[: self._limits.header_bytes])

    @property
    def mid_head(self) -> bool:
        """True if a head has started and is incomplete."""
        return self._state == HEAD and bool(self._buf)

    def detach(self) -> bytes:
        """Return the bytes after the message that stopped the parser. Nothing more is parsed."""
        kept = bytes(self._buf)
        self._die()
        return kept

    # -- what the two directions define

    def _take(self, data: bytes, pos: int, events: list[Event]) -> int:
        """Parse the head at ``pos``: append its events, set the state, and return its end.

        Return -1 without a complete and well-formed head. Raises BadMessage for one that must not
        be forwarded.
        """
        raise NotImplementedError

    def _judge(self, raw: bytes) -> BadMessage:
        """Return the error in a complete head that :meth:`_take` has not accepted."""
        raise NotImplementedError

    def _refusal(self, invalid: Invalid) -> Invalid:
        raise NotImplementedError

    def _message_done(self) -> None:
        """Set the state that follows an End."""
        raise NotImplementedError

    # -- the machine

    def _give_up(self, start: bytes) -> None:
        """Stop parsing. ``start`` is the beginning of the input that cannot be parsed."""
        self.refused = start[: self._limits.header_bytes]
        self._die()

    def _die(self) -> None:
        self._state = DEAD
        self._buf = bytearray()
        self._rest = b""
        self._chunks = None

    def _run(self, data: bytes, pos: int, events: list[Event]) -> None:
        size = len(data)
        while pos < size:
            state = self._state
            if state == HEAD:
                if events and type(events[-1]) is End:
                    self._rest = data
                    self._rest_at = pos
                    return
                end = -1
                if self._buf:
                    lone = self._buf == b"\r"  # possibly half of an empty line
                    self._buf += data
                    if not lone:
                        end = self._buf.find(b"\r\n\r\n", max(0, len(self._buf) - size - 3))
                        if end < 0:
                            self._check_partial(size)
                            return
                    data = bytes(self._buf)
                    size = len(data)
                    self._buf.clear()
                    self._line_feeds = 0
                if data[pos] == _CR:
                    pos = self._skip_blank(data, pos)
                    if pos == size:
                        return
                try:
                    taken = self._take(data, pos, events)
                except BadMessage as refusal:
                    refusal.start = data[pos:]
                    raise
                if taken >= 0:
                    self._blank = 0
                    pos = taken
                    continue
                if end < 0:
                    end = data.find(b"\r\n\r\n", pos)
                    if end < 0:
                        self._buf += data[pos:] if pos else data
                        self._check_partial(size - pos)
                        return
                raise self._fault(data[pos : end + 4])
            if state == LENGTH:
                stop = pos + self._left
                if stop > size:
                    events.append(data[pos:] if pos else data)
                    self._left = stop - size
                    return
                events.append(data[pos:stop])
                pos = stop
                events.append(END)
                self._message_done()
            elif state == CHUNKED:
                chunks = self._chunks
                assert chunks is not None
                pos = chunks.feed(data, pos, events)
                if chunks.done:
                    self._chunks = None
                    self._message_done()
            elif state == UNTIL_CLOSE:
                events.append(data[pos:] if pos else data)
                return
            elif state == STOPPED:
                self._buf += data[pos:]
                if len(self._buf) > _KEPT_MAX:
                    raise BadMessage(Kind.BAD_REQUEST, "too many bytes before the protocol switch")
                return
            elif state == READY:
                raise BadMessage(Kind.BAD_RESPONSE, "bytes that answer no request")
            else:
                return

    def _fault(self, raw: bytes) -> BadMessage:
        """Return the error in ``raw``, a complete head."""
        try:
            self._check_head(raw)
            refusal = self._judge(raw)
        except BadMessage as found:
            refusal = found
        refusal.start = raw
        return refusal

    def _skip_blank(self, data: bytes, pos: int) -> int:
        """Return the position after the empty lines that may precede a request line. A lone CR at
        the end of ``data`` is left, to be parsed with the next input.
        """
        while data.startswith(b"\r\n", pos):
            self._blank += 1
            if self._blank > _BLANK_MAX:
                raise BadMessage(Kind.BAD_REQUEST, "too many empty lines before a request")
            pos += 2
        return pos

    def _start_chunks(self, nominated: tuple[bytes, ...], blanks: bool = False) -> None:
        self._chunks = ChunkedBody(self._limits, self._body_limit, nominated, blanks)
        self._state = CHUNKED

    # -- limits of incomplete heads, and the order of errors

    def _check_partial(self, added: int) -> None:
        """Refuse an incomplete head as soon as it cannot become valid. O(added)."""
        buf = self._buf
        before = len(buf) - added
        line_feeds = buf.count(b"\n", before)
        self._line_feeds += line_feeds
        if (
            len(buf) > self._limits.header_bytes
            or self._line_feeds > self._limits.header_count + 1
            or before <= self._line_max < len(buf)
            or (line_feeds and line_feeds != buf.count(b"\r\n", max(0, before - 1)))
            or (before == 0 and not is_token(bytes(buf[:1])) and buf != b"\r")
        ):
            self._check_head(bytes(buf))

    def _check_head(self, raw: bytes) -> None:
        """Raise for an error in the shape of ``raw``, the head so far or all of it with its
        CRLFCRLF.

        Of several errors the one with the earliest bytes counts, so that the result is the same for
        any splitting of the input.
        """
        limits = self._limits
        faults: list[tuple[int, int, BadMessage]] = []

        def fault(seen_at: int, kind: Kind, detail: str, status: int = 400) -> None:
            faults.append((seen_at, len(faults), BadMessage(kind, detail, status)))

        if not is_token(raw[:1]):
            fault(1, Kind.BAD_REQUEST, self._bad_start)
        line_end = raw.find(b"\n", 0, self._line_max + 1)
        if line_end < 0 and len(raw) > self._line_max:
            if b" " in raw[: METHOD_MAX + 1]:
                fault(self._line_max + 1, Kind.URL_TOO_LONG, "start line is too long", 414)
            else:
                fault(self._line_max + 1, Kind.UNSUPPORTED, "method is too long", 501)
        if len(raw) > limits.header_bytes:
            fault(limits.header_bytes + 1, Kind.HEADERS_TOO_LARGE, "head is too large", 431)
        at = -1
        count = 0
        while (at := raw.find(b"\n", at + 1)) >= 0:
            count += 1
            if at < 1 or raw[at - 1] != _CR:
                fault(at + 1, Kind.BAD_REQUEST, "line does not end in CRLF")
                break
            last = at >= 3 and raw[at - 3 : at + 1] == b"\r\n\r\n"
            if count > limits.header_count + 1 and not last:
                fault(at + 1, Kind.HEADERS_TOO_LARGE, "too many header fields", 431)
                break
        if faults:
            raise min(faults)[2]

    def _bad_text(self, raw: bytes) -> bool:
        """Return whether a complete head contains a control character other than its CRLFs and
        HTAB.
        """
        return len(raw.translate(None, FIELD_TEXT)) != 2 * raw.count(b"\r\n")
