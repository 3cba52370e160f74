"""PURE. The HTTP/1 response parser: what a server may answer.

A head that is, byte for byte, the plain one before on the same connection is not parsed again.
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from lbproxy.errors import Kind
from lbproxy.http.h1_body import Refused
from lbproxy.http.h1_fields import (
    CONNECTIONS,
    check_coding,
    read_connection,
    read_fields,
    read_length,
)
from lbproxy.http.h1_llhttp import KEPT_OPEN, NO_FIELDS, FoundResponse
from lbproxy.http.h1_parser import (
    CHUNKED,
    DEAD,
    HEAD,
    LENGTH,
    READY,
    STOPPED,
    UNTIL_CLOSE,
    VERSIONS,
    Parser,
)
from lbproxy.http.message import (
    END,
    Event,
    FieldBlock,
    Headers,
    Invalid,
    Limits,
    ResponseHead,
)

__all__ = ["ResponseParser"]

_BLOCK_MAX: Final = 4096  # a longer head is not kept for the next response
_INTERIM_MAX: Final = 100  # 1xx heads before one final response
_STATUS_LINES_MAX: Final = 512
_NEVER_A_BODY: Final = frozenset((100, 102, 103, 204, 304))

_status_lines: dict[bytes, tuple[int, int, bytes]] = {}


class ResponseParser(Parser):
    """Responses on one server connection, each announced by ``begin``.

    Every breach is an Invalid of kind BAD_RESPONSE, status 502.  ``limits.url_bytes`` bounds the
    status line; ``limits.body_bytes`` is about requests and not used.
    """

    __slots__ = ("_found", "_interim", "_llhttp", "_method", "_plain")

    _bad_start = "malformed status line"

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, limits.url_bytes, None)
        self._method = b""
        self._interim = 0
        self._found = FoundResponse()
        self._llhttp: HttpResponseParser | None = None  # one that waits for a head
        self._plain: ResponseHead | None = None  # the last head, if it was a plain one
        self._state = READY

    def begin(self, method: bytes) -> None:
        """A request with ``method`` is sent: expect one final response to it.

        Only between messages; ValueError otherwise, and after an Invalid or ``detach``."""
        if self._state != READY:
            raise ValueError("a response is outstanding, or the connection is spent")
        self._method = method
        self._interim = 0
        self._state = HEAD

    @property
    def idle(self) -> bool:
        """Whether no byte of the outstanding response has been seen, or none is outstanding."""
        return self._state == READY or (self._state == HEAD and not self._buf and not self._interim)

    def eof(self) -> list[Event]:
        """The server sent its last byte: the end of a body that runs until then; nothing between
        messages or while stopped; else an Invalid."""
        state = self._state
        self._die()
        if state == UNTIL_CLOSE:
            return [END]
        if state in (DEAD, STOPPED, READY):
            return []
        return [Invalid(Kind.BAD_RESPONSE, "connection closed in mid response", 502)]

    def _refusal(self, invalid: Invalid) -> Invalid:
        return Invalid(Kind.BAD_RESPONSE, invalid.detail, 502)

    def _message_done(self) -> None:
        self._state = READY

    def _skip_blank(self, data: bytes, pos: int) -> int:
        raise Refused(Kind.BAD_RESPONSE, self._bad_start)

    def _take_known(self, data: bytes, pos: int, events: list[Event]) -> int:
        """The head before once more, perhaps with a body after it."""
        plain = self._plain
        if plain is None or plain.block is None:
            return -1
        raw = plain.block.raw
        if (
            not data.startswith(raw, pos)
            or len(raw) > self._limits.header_bytes
            or self._method in (b"HEAD", b"CONNECT")
        ):
            return -1
        events.append(plain)
        length = plain.length
        if length is None:
            self._start_chunks()
        elif length:
            self._left = length
            self._state = LENGTH
        else:
            self._state = READY
            events.append(END)
        return pos + len(raw)

    def _remember(self, raw: bytes, head: ResponseHead) -> None:
        """Keep a head that says the same to every method but HEAD and CONNECT, and ends nothing."""
        if (
            head.keep_alive
            and 200 <= head.status != 304
            and self._method not in (b"HEAD", b"CONNECT")
            and not head.nominated
            and len(raw) <= _BLOCK_MAX
        ):
            head.block = FieldBlock(raw, head.headers)
            self._plain = head
        else:
            self._plain = None

    def _take_head(self, raw: bytes, events: list[Event]) -> None:
        line_end, count = self._measure(raw)
        found = self._found
        headers: Headers = []
        found.headers = headers
        found.reason = b""
        llhttp = self._llhttp
        if llhttp is None:
            llhttp = HttpResponseParser(found)
        else:
            self._llhttp = None  # until it is known to wait for another head
        trouble = ""
        try:
            llhttp.feed_data(raw)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            trouble = str(error) or "malformed response"
        if len(headers) != count:  # it gave up before the end, or took several lines for one
            self._check_head(raw)
            raise Refused(Kind.BAD_RESPONSE, trouble or "malformed field line")
        line = raw[:line_end]
        version, status, reason = _status_lines.get(line) or _read_status_line(
            line, llhttp.get_status_code(), found.reason
        )
        found.headers = NO_FIELDS
        special = read_fields(headers)
        if trouble and status != 101:  # which it calls an error when it stops for the switch
            raise Refused(Kind.BAD_RESPONSE, trouble)

        keep_alive = version == 11
        nominated: tuple[bytes, ...] = ()
        connection = special.get(b"connection")
        if connection is not None:
            options, nominated = CONNECTIONS.get(connection) or read_connection(connection)
            if b"close" in options:
                keep_alive = False
            elif b"keep-alive" in options:
                keep_alive = True
        method = self._method
        length: int | None = 0
        chunked = until_close = False
        upgrade: bytes | None = None
        state = READY
        coding = special.get(b"transfer-encoding")
        if coding is not None:
            check_coding(coding, special, version)
        declared = special.get(b"content-length")
        if declared is not None:
            length = read_length(declared)
        if (
            version == 11
            and connection in KEPT_OPEN
            and b"proxy-connection" not in special
            and (status in _NEVER_A_BODY or (length == 0 and declared and coding is None))
        ):
            self._llhttp = llhttp

        if status < 200:
            state = self._interim_state(status, special)
            if state == STOPPED:
                upgrade = special[b"upgrade"].lower()
            length = 0
        elif method == b"CONNECT" and status < 300:
            state, length = STOPPED, 0
        elif method == b"HEAD" or status == 304:
            length = 0
        elif status == 204:
            if coding is not None:
                raise Refused(Kind.BAD_RESPONSE, "transfer-encoding in a 204")
            if length:
                keep_alive = False  # whatever follows is no answer
            length = 0
        elif coding is not None:
            state, length, chunked = CHUNKED, None, True
        elif declared is None:
            state, length, until_close, keep_alive = UNTIL_CLOSE, None, True, False
        elif length:
            state = LENGTH
            self._left = length
        head = ResponseHead(
            status,
            headers,
            reason,
            version,
            length,
            keep_alive,
            chunked,
            until_close,
            upgrade,
            nominated,
        )
        self._remember(raw, head)
        events.append(head)
        self._state = state
        if state == CHUNKED:
            self._start_chunks()
        elif state == READY:
            events.append(END)

    def _interim_state(self, status: int, special: dict[bytes, bytes]) -> int:
        """What follows a 1xx head (RFC 9110 §15.2)."""
        if b"transfer-encoding" in special or special.get(b"content-length", b"0") != b"0":
            raise Refused(Kind.BAD_RESPONSE, "interim response with a body")
        if status == 101:
            if b"upgrade" not in special:
                raise Refused(Kind.BAD_RESPONSE, "101 without upgrade")
            return STOPPED
        self._interim += 1
        if self._interim > _INTERIM_MAX:
            raise Refused(Kind.BAD_RESPONSE, "too many interim responses")
        return HEAD


def _read_status_line(line: bytes, status: int, reason: bytes) -> tuple[int, int, bytes]:
    """Version, status and reason, which llhttp has found in ``line``; remembered, as servers
    repeat a few.  The space before an empty reason may be missing."""
    version = VERSIONS.get(line[:8])
    expected = b" %d " % status + reason
    if version is None or status < 100 or line[8:] not in (expected, expected[:4]):
        raise Refused(Kind.BAD_RESPONSE, "malformed status line")
    parsed = (version, status, reason)
    if len(_status_lines) >= _STATUS_LINES_MAX:
        _status_lines.clear()
    if len(line) <= 64:
        _status_lines[line] = parsed
    return parsed
