"""PURE. The HTTP/1 response parser."""

from __future__ import annotations

import re
from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

from lbproxy.errors import Kind
from lbproxy.http.bytetext import text_end
from lbproxy.http.grammar import USUAL, Grammar
from lbproxy.http.h1_body import BadMessage
from lbproxy.http.h1_fields import (
    check_coding,
    check_repeated,
    read_connection,
    read_length,
)
from lbproxy.http.h1_parser import (
    CHUNKED,
    DEAD,
    HEAD,
    LENGTH,
    READY,
    STOPPED,
    UNTIL_CLOSE,
    Parser,
)
from lbproxy.http.known import CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE
from lbproxy.http.message import END, Event, Invalid, Limits, ResponseHead
from lbproxy.http.scan import Lines, scan

__all__ = ["ResponseParser"]

_INTERIM_MAX: Final = 100  # maximum 1xx heads before a final response
_HTTP_1_1: Final[bytes] = b"HTTP/1.1"
_FRAMING: Final = 1 << CONTENT_LENGTH | 1 << TRANSFER_ENCODING
_STATUS_AT: Final = 9  # number of bytes before the status in a status line
_BLANKS: Final = re.compile(rb"(?<=\r\n)([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]+:")


class ResponseParser(Parser):
    """Parses the responses of one server connection, each announced by ``begin``.

    Every violation is an Invalid of kind BAD_RESPONSE, status 502. ``limits.url_bytes`` bounds the
    status line; ``limits.body_bytes`` applies only to requests.
    """

    __slots__ = ("_doubtful", "_grammar", "_interim", "_method")

    _bad_start = "malformed status line"

    def __init__(self, limits: Limits, grammar: Grammar = USUAL) -> None:
        super().__init__(limits, limits.url_bytes, None)
        self._grammar = grammar
        self._method = b""
        self._interim = 0
        self._doubtful = False  # a response that must not have a body claimed to have one
        self._state = READY

    def begin(self, method: bytes) -> None:
        """Expect one final response to a request with ``method``, which has been sent.

        Call it only between messages. Raises ValueError otherwise, and after an Invalid or
        ``detach``.
        """
        if self._state != READY:
            raise ValueError("a response is outstanding, or the connection cannot be used any more")
        self._method = method
        self._interim = 0
        self._doubtful = False
        self._state = HEAD

    @property
    def idle(self) -> bool:
        """True if no byte of the outstanding response has been received, or none is outstanding."""
        return self._state == READY or (self._state == HEAD and not self._buf and not self._interim)

    def eof(self) -> list[Event]:
        """Handle the end of the server's input. It ends a body that runs until then. Returns no
        events between messages or while stopped, else an Invalid.
        """
        state = self._state
        self._die()
        if state == UNTIL_CLOSE:
            return [END]
        if state in (DEAD, STOPPED, READY):
            return []
        return [Invalid(Kind.BAD_RESPONSE, "connection closed in the middle of a response", 502)]

    def _refusal(self, invalid: Invalid) -> Invalid:
        return Invalid(Kind.BAD_RESPONSE, invalid.detail, 502)

    def _message_done(self) -> None:
        self._state = READY

    def _skip_blank(self, data: bytes, pos: int) -> int:
        raise BadMessage(Kind.BAD_RESPONSE, self._bad_start)

    def _take(self, data: bytes, pos: int, events: list[Event]) -> int:
        size: i64 = len(data)
        base: i64 = pos
        if base + 16 > size:  # length of the shortest head: version, status and two line ends
            return -1
        version = 11
        if read_i64_le(data, base) != read_i64_le(_HTTP_1_1, 0):
            version = self._grammar.versions.get(data[base : base + 8], 0)
            if not version:
                return -1
        at: i64 = base + _STATUS_AT
        # the space before an empty reason may be missing
        status = _digits(data, at)
        if status < 100 or data[at - 1] != 32:
            return -1
        at += 3
        reason = b""
        if data[at] == 32:
            start: i64 = at + 1
            at = text_end(data, start)
            reason = data[start:at]
        if at + 1 >= size or data[at] != 13 or data[at + 1] != 10 or at - base >= self._line_max:
            return -1
        lines = scan(data, base, at + 2, self._header_count)
        if lines is None:
            return self._take_repaired(data, pos, events) if self._grammar.blanks else -1
        if len(lines.raw) > self._header_bytes:
            return -1
        self._begin(status, reason, version, lines, events)
        return pos + len(lines.raw)

    def _take_repaired(self, data: bytes, pos: int, events: list[Event]) -> int:
        """Parse a head after removing white space before colons (RFC 9112 §5.1)."""
        end = data.find(b"\r\n\r\n", pos) + 4
        if end < 4:
            return -1
        raw = data[pos:end]
        repaired = _BLANKS.sub(rb"\1:", raw)
        if repaired == raw or len(raw) > self._limits.header_bytes:
            return -1
        taken = self._take(repaired, 0, events)
        return end if taken >= 0 else -1

    def _begin(
        self, status: int, reason: bytes, version: int, lines: Lines, events: list[Event]
    ) -> None:
        """Append the head and start its body. Raises BadMessage for invalid framing."""
        present = lines.present
        method = self._method
        bodiless = (
            status < 200
            or status in (204, 304)
            or method == b"HEAD"
            or (method == b"CONNECT" and status < 300)
        )
        if not bodiless:
            check_repeated(lines)
        elif lines.repeated >> HOST & 1:
            raise BadMessage(Kind.BAD_RESPONSE, "repeated host")
        keep_alive = version == 11
        nominated: tuple[bytes, ...] = ()
        if present >> CONNECTION & 1:
            options = read_connection(lines.joined(CONNECTION))
            nominated = options.nominated
            if options.close:
                keep_alive = False
            elif options.keep_alive:
                keep_alive = True
        length: int | None = 0
        chunked = until_close = False
        upgrade: bytes | None = None
        state = READY
        doubtful = False
        if bodiless:
            if (present >> TRANSFER_ENCODING | present >> CONTENT_LENGTH) & 1:
                doubtful = _is_doubtful(status, method, version, lines)
                self._doubtful = self._doubtful or doubtful
            if status < 200:
                state = self._interim_state(status, lines)
                if state == STOPPED:
                    upgrade = lines.joined(UPGRADE).lower()
            elif method == b"CONNECT" and status < 300:
                state = STOPPED
        elif present >> TRANSFER_ENCODING & 1:
            check_coding(lines, version)
            state, length, chunked = CHUNKED, None, True
        elif present >> CONTENT_LENGTH & 1:
            length = read_length(lines.value(CONTENT_LENGTH))
            if length:
                state = LENGTH
                self._left = length
        else:
            state, length, until_close, keep_alive = UNTIL_CLOSE, None, True, False
        if self._doubtful:
            keep_alive = False
        head = ResponseHead(
            status,
            None,
            reason,
            version,
            length,
            keep_alive,
            chunked,
            until_close,
            upgrade,
            nominated,
            lines,
        )
        if doubtful:
            head.drop(_FRAMING)
        events.append(head)
        self._state = state
        if state == CHUNKED:
            self._start_chunks(nominated, self._grammar.blanks)
        elif state == READY:
            events.append(END)

    def _interim_state(self, status: int, lines: Lines) -> int:
        """Return the state after a 1xx head (RFC 9110 §15.2)."""
        if status == 101:
            if not lines.present >> UPGRADE & 1:
                raise BadMessage(Kind.BAD_RESPONSE, "101 without upgrade")
            return STOPPED
        self._interim += 1
        if self._interim > _INTERIM_MAX:
            raise BadMessage(Kind.BAD_RESPONSE, "too many interim responses")
        return HEAD

    def _judge(self, raw: bytes) -> BadMessage:
        """Return the error in a head, by the part in which it occurs."""
        if self._bad_text(raw):
            return BadMessage(Kind.BAD_RESPONSE, "control character in the head")
        line = raw[: raw.find(b"\r\n")]
        digits = line[_STATUS_AT : _STATUS_AT + 3]
        if (
            line[:8] not in self._grammar.versions
            or line[8:9] != b" "
            or len(digits) != 3
            or not digits.isdigit()
            or digits < b"100"
            or line[12:13] not in (b"", b" ")
        ):
            return BadMessage(Kind.BAD_RESPONSE, self._bad_start)
        return BadMessage(Kind.BAD_RESPONSE, "malformed field line")


def _is_doubtful(status: int, method: bytes, version: int, lines: Lines) -> bool:
    """Return whether a response without a body has invalid framing fields.

    By RFC 9112 §6.3 rules 1 and 2, the framing of 1xx, 204, 304, of responses to HEAD and of 2xx to
    CONNECT is ignored. Responses to HEAD and 304 may describe the absent body with valid fields. A
    server that sends other fields may send a body, so its connection is not reused.
    """
    coded = lines.present >> TRANSFER_ENCODING & 1
    declared = lines.present >> CONTENT_LENGTH & 1
    if status < 200 or status == 204 or method == b"CONNECT":
        return bool(coded) or lines.joined(CONTENT_LENGTH) != b"0"
    try:
        check_repeated(lines)
        if coded:
            check_coding(lines, version)
        if declared:
            read_length(lines.value(CONTENT_LENGTH))
    except BadMessage:
        return True
    return False


def _digits(data: bytes, at: i64) -> i64:
    """Return the number in the three digits at ``at``, -1 if they are not digits."""
    found: i64 = 0
    end: i64 = at + 3
    while at < end:
        digit: i64 = i64(data[at]) - 48
        if digit < 0 or digit > 9:
            return -1
        found = found * 10 + digit
        at += 1
    return found
