"""PURE. The HTTP/1 request parser.

One scan parses and checks a complete head. If the scan refuses it, :meth:`RequestParser._judge`
finds the status of the response. A head that the scan has refused is never forwarded, whatever the
result.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_le, read_i64_le
from mypy_extensions import i64

from lbproxy.errors import Kind
from lbproxy.http.bytetext import target_end
from lbproxy.http.grammar import USUAL, Grammar
from lbproxy.http.h1_body import BadMessage
from lbproxy.http.h1_fields import (
    ConnectionOptions,
    check_coding,
    check_repeated,
    read_connection,
    read_length,
    read_upgrade,
)
from lbproxy.http.h1_parser import DEAD, HEAD, LENGTH, METHOD_MAX, STOPPED, Parser
from lbproxy.http.h1_refused import bad_version
from lbproxy.http.known import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
)
from lbproxy.http.message import END, Event, Invalid, Limits, RequestHead
from lbproxy.http.scan import Lines, scan
from lbproxy.http.syntax import is_token, normal_host

__all__ = ["RequestParser"]

_VERSION_BYTES: Final = 8
_NO_OPTIONS: Final = read_connection(b"")
_KEPT_MAX: Final = 64  # maximum length of a Connection field that is cached for the next request
_GET: Final = 0x20544547  # "GET " as a little-endian number
_HTTP_1_1: Final[bytes] = b"HTTP/1.1"


def _line_max(limits: Limits) -> int:
    return limits.url_bytes + METHOD_MAX + 11  # two spaces, the version and a CR


class RequestParser(Parser):
    """Parses the requests of one client connection, pipelined or not.

    It stops after a CONNECT request or an upgrade that may be forwarded, until ``resume`` or
    ``detach``. It ignores bytes after a request with which the client asks to close the connection.
    """

    __slots__ = ("_connection", "_ended", "_grammar", "_host", "_last", "_options", "_sent_host")

    def __init__(self, limits: Limits, grammar: Grammar = USUAL) -> None:
        super().__init__(limits, _line_max(limits), limits.body_bytes)
        self._grammar = grammar
        # values of the latest request: clients repeat both, and comparing costs less than hashing
        self._sent_host = self._host = b""
        self._connection = b""
        self._options = _NO_OPTIONS
        self._last = False
        self._ended = False

    def limit(self, limits: Limits) -> None:
        """Apply ``limits`` to the heads and bodies that begin from now on."""
        self._set_limits(limits, _line_max(limits), limits.body_bytes)

    @property
    def idle(self) -> bool:
        """True if no byte of a next request has been received (empty lines do not count)."""
        return self._state == HEAD and not self._buf and not self._rest

    def eof(self) -> list[Event]:
        """Handle the end of the client's input. Returns no events between messages or while
        stopped, else an Invalid. While requests are pending, :meth:`proceed` returns it after the
        last one.
        """
        if self._state in (DEAD, STOPPED) or self.idle:
            return []
        if self._rest:
            self._ended = True
            return []
        self._give_up(bytes(self._buf))
        return [Invalid(Kind.BAD_REQUEST, "connection closed in the middle of a request")]

    def proceed(self) -> list[Event]:
        """See :class:`Parser`."""
        events = super().proceed()
        if self._ended and not self._rest:
            events += self.eof()
        return events

    def resume(self) -> list[Event]:
        """Continue with HTTP after a stop, or cancel a stop after the present body, because the
        server has not switched or will not switch protocols.
        """
        self._stop_after = False
        if self._state != STOPPED:
            return []
        kept = bytes(self._buf)
        self._buf.clear()
        self._state = DEAD if self._last else HEAD
        return self.receive(kept)

    def _refusal(self, invalid: Invalid) -> Invalid:
        return invalid

    def _message_done(self) -> None:
        if self._stop_after:
            self._stop_after = False
            self._state = STOPPED
        else:
            self._state = DEAD if self._last else HEAD

    def _take(self, data: bytes, pos: int, events: list[Event]) -> int:
        size: i64 = len(data)
        base: i64 = pos
        if base + 4 > size:
            return -1
        # method
        at: i64 = base
        method = b"GET"
        if read_i32_le(data, at) == _GET:
            at += 3
        else:
            while at < size and data[at] != 32:
                if at - base >= METHOD_MAX:
                    return -1
                at += 1
            method = data[base:at]
            grammar = self._grammar
            if method not in grammar.methods and (
                method in grammar.refused or not is_token(method)
            ):
                return -1
        # target
        at += 1
        start: i64 = at
        if at >= size:
            return -1
        at = target_end(data, at)
        if at == start or at - start > self._url_bytes or at + 11 > size or data[at] != 32:
            return -1
        target = data[start:at]
        # version
        at += 1
        version = 11
        if read_i64_le(data, at) != read_i64_le(_HTTP_1_1, 0):
            version = self._grammar.versions.get(data[at : at + _VERSION_BYTES], 0)
            if not version:
                return -1
        at += _VERSION_BYTES
        if data[at] != 13 or data[at + 1] != 10 or at - base >= self._line_max:
            return -1
        lines = scan(data, base, at + 2, self._header_count)
        if lines is None or len(lines.raw) > self._header_bytes:
            return -1
        self._begin(self._head(method, target, version, lines), events)
        return pos + len(lines.raw)

    def _head(self, method: bytes, target: bytes, version: int, lines: Lines) -> RequestHead:
        """Return the head of a request whose lines are well-formed.

        Raises :class:`BadMessage` if the lines contradict each other or are not allowed.
        """
        present = lines.present
        check_repeated(lines)
        sent_host = b""
        host = b""
        if present >> HOST & 1:
            sent_host = lines.value(HOST)
            host = self._host
            if not host or sent_host != self._sent_host:
                host = self._other_host(sent_host)
        elif version != 10:
            raise BadMessage(Kind.BAD_REQUEST, "no host")
        scheme = b"http"
        checked = target
        if target[0] != 47 or method == b"CONNECT":
            scheme, host, target = _other_form(method, target, host)
        keep_alive = version == 11
        upgrade: bytes | None = None
        nominated: tuple[bytes, ...] = ()
        if present >> CONNECTION & 1:
            value = lines.joined(CONNECTION)
            options = self._options if value == self._connection else self._other_options(value)
            nominated = options.nominated
            if options.close:
                keep_alive = False
            elif options.keep_alive:
                keep_alive = True
            if options.upgrade and version == 11 and present >> UPGRADE & 1:
                upgrade = read_upgrade(lines.joined(UPGRADE))
        length: int | None = 0
        if present >> TRANSFER_ENCODING & 1:
            check_coding(lines, version)
            length = None
        elif present >> CONTENT_LENGTH & 1:
            length = read_length(lines.value(CONTENT_LENGTH))
        expects = (
            bool(present >> EXPECT & 1)
            and length != 0
            and version == 11
            and lines.joined(EXPECT).lower() == b"100-continue"
        )
        head = RequestHead(
            method,
            target,
            None,
            version,
            host,
            scheme,
            length,
            keep_alive,
            upgrade,
            expects,
            nominated,
            lines,
        )
        if target is checked:
            head.checked = target
        if host != sent_host and host:
            if present >> HOST & 1:
                head.host_line = host
            else:
                head.add_header(b"Host", host)
        return head

    def _other_host(self, sent: bytes) -> bytes:
        """Return the host of a request, and cache it for the next one of the connection."""
        try:
            host = normal_host(sent)
        except ValueError:
            raise BadMessage(Kind.BAD_REQUEST, "malformed host") from None
        self._sent_host = sent
        self._host = host
        return host

    def _other_options(self, value: bytes) -> ConnectionOptions:
        """Return the options of a Connection field, and cache them for the next request."""
        options = read_connection(value)
        if len(value) <= _KEPT_MAX:
            self._connection = value
            self._options = options
        return options

    def _begin(self, head: RequestHead, events: list[Event]) -> None:
        """Start the body of ``head``."""
        length = head.length
        if head.method == b"CONNECT":
            if length != 0:
                raise BadMessage(Kind.BAD_REQUEST, "CONNECT with a body")
            self._stop_after = True
        elif head.upgrade is not None:
            self._stop_after = True
        self._last = not head.keep_alive
        events.append(head)
        if length == 0:
            events.append(END)
            self._message_done()
        elif length is None:
            self._start_chunks(head.nominated)
        else:
            limit = self._body_limit
            if limit is not None and length > limit:
                raise BadMessage(Kind.BODY_TOO_LARGE, "content-length exceeds the limit", 413)
            self._left = length
            self._state = LENGTH

    def _judge(self, raw: bytes) -> BadMessage:
        """Return 501 for a refused method (RFC 9110 §9.1), 414 for a long target, else 400 or
        505.
        """
        if self._bad_text(raw):
            return BadMessage(Kind.BAD_REQUEST, "control character in the head")
        parts = raw[: raw.find(b"\r\n")].split(b" ")
        if len(parts) != 3 or not is_token(parts[0]):
            return BadMessage(Kind.BAD_REQUEST, self._bad_start)
        method, target, version = parts
        if len(method) > METHOD_MAX:
            return BadMessage(Kind.UNSUPPORTED, "method is too long", 501)
        if version not in self._grammar.versions:
            return bad_version(version)
        if len(target) > self._limits.url_bytes:
            return BadMessage(Kind.URL_TOO_LONG, "target is too long", 414)
        if method in self._grammar.refused:
            return BadMessage(Kind.UNSUPPORTED, "method is not supported", 501)
        if not target or target_end(target, 0) != len(target):
            return BadMessage(Kind.BAD_REQUEST, "malformed target")
        return BadMessage(Kind.BAD_REQUEST, "malformed field line")


def _other_form(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes, bytes]:
    """Return scheme, host and target for a target that is not in origin form (RFC 9112 §3.2.2 to
    §3.2.4).
    """
    if method == b"CONNECT":
        name, _, port = target.rpartition(b":")
        if not name or not port.isdigit():
            raise BadMessage(Kind.BAD_REQUEST, "CONNECT without host:port")
        try:
            authority = normal_host(target)
        except ValueError:
            raise BadMessage(Kind.BAD_REQUEST, "malformed host in the target") from None
        return b"http", authority, authority
    if target == b"*":
        if method != b"OPTIONS":
            raise BadMessage(Kind.BAD_REQUEST, "asterisk target without OPTIONS")
        return b"http", host, target
    scheme, separator, rest = target.partition(b"://")
    scheme = scheme.lower()
    if not separator or scheme not in (b"http", b"https"):
        raise BadMessage(Kind.BAD_REQUEST, "malformed target")
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    try:
        host = normal_host(rest[:cut])
    except ValueError:
        raise BadMessage(Kind.BAD_REQUEST, "malformed host in the target") from None
    path = rest[cut:]
    if not path and method == b"OPTIONS":
        path = b"*"
    elif path[:1] != b"/":
        path = b"/" + path
    return scheme, host, path
