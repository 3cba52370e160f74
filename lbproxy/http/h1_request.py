"""PURE. The HTTP/1 request parser: what a client may send.

A client repeats its field lines from request to request, and when it comes back.  Lines that are, byte for byte, those
of the plain request before on the same connection, or those that some connection of the frontend has begun with,
are not parsed again: what they meant then they mean now.  Only the request line is looked at, by a grammar
narrower than the one for all requests; what does not fit it takes the long way.
"""

from __future__ import annotations

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from lbproxy.errors import Kind
from lbproxy.http.h1_body import Refused
from lbproxy.http.h1_fields import (
    CONNECTIONS,
    check_coding,
    read_connection,
    read_fields,
    read_length,
    read_upgrade,
)
from lbproxy.http.h1_llhttp import KEPT_OPEN, NO_FIELDS, FoundRequest, knows_method
from lbproxy.http.h1_parser import DEAD, HEAD, LENGTH, METHOD_MAX, STOPPED, VERSIONS, Parser
from lbproxy.http.message import (
    END,
    Event,
    FieldBlock,
    Headers,
    Invalid,
    Limits,
    RequestHead,
)
from lbproxy.http.syntax import is_token, normal_host

__all__ = ["KnownHeads", "RequestParser"]

_BLOCK_MAX: Final = 4096  # field lines longer than this are not kept for the next request
_KNOWN_MAX: Final = 256  # field lines kept for the connections of one frontend; some 4 MB when full
_USUAL_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) (/[!\"$-~]*) HTTP/1\.1"
).fullmatch

_Meaning = tuple[bytes, int, bool, bool]  # host, body length, expect_continue, keep_alive


def _line_max(limits: Limits) -> int:
    return limits.url_bytes + METHOD_MAX + 11  # two spaces, the version and a CR


class KnownHeads:
    """The field lines that connections of one frontend began with, for those that begin with the same.

    For parsers with the same limits.  At most 256 of at most 4 KiB; the oldest goes first.
    """

    __slots__ = ("_heads",)

    def __init__(self) -> None:
        self._heads: dict[bytes, tuple[FieldBlock, _Meaning]] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def find(self, lines: bytes) -> tuple[FieldBlock, _Meaning] | None:
        """What :meth:`keep` was told of these lines."""
        return self._heads.get(lines)

    def keep(self, block: FieldBlock, meaning: _Meaning) -> None:
        """Remember the lines of ``block``."""
        heads = self._heads
        if len(heads) >= _KNOWN_MAX:
            del heads[next(iter(heads))]
        heads[block.raw] = (block, meaning)


class RequestParser(Parser):
    """Requests of one client connection, pipelined or not.

    Stops after a request for CONNECT or for an upgrade we would pass on, until ``resume`` or
    ``detach``.  Ignores what follows a request after which the client wants the connection closed.
    ``known``: of the frontend; only the first head of a connection is looked up there, and kept there.
    """

    __slots__ = ("_block", "_found", "_known", "_last", "_llhttp", "_meaning")

    def __init__(self, limits: Limits, known: KnownHeads | None = None) -> None:
        super().__init__(limits, _line_max(limits), limits.body_bytes)
        self._known = known  # None after the first head
        self._last = False
        self._found = FoundRequest()
        self._llhttp: HttpRequestParser | None = None  # one that waits for a head
        self._block: FieldBlock | None = None  # of the last request, if that was a plain one
        self._meaning: _Meaning = (b"", 0, False, True)  # of that block

    def limit(self, limits: Limits) -> None:
        """Hold the heads and bodies that begin from now on to ``limits``; nothing judged by the old ones is known."""
        self._block = self._known = None
        self._set_limits(limits, _line_max(limits), limits.body_bytes)

    @property
    def idle(self) -> bool:
        """Whether no byte of a next request has been seen (empty lines do not count)."""
        return self._state == HEAD and not self._buf

    def eof(self) -> list[Event]:
        """The client sent its last byte: nothing between messages or while stopped, else an
        Invalid."""
        if self._state in (DEAD, STOPPED) or self.idle:
            return []
        self._die()
        return [Invalid(Kind.BAD_REQUEST, "connection closed in mid request")]

    def resume(self) -> list[Event]:
        """Go on with HTTP after a stop: the server did not switch protocols."""
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

    def _take_known(self, data: bytes, pos: int, events: list[Event]) -> int:
        """A usual line and the fields of the request before, whose only empty line is their last."""
        block = self._block
        if block is None:
            return -1
        line_end = data.find(b"\r\n", pos)
        if line_end < 0 or not data.startswith(block.raw, line_end):
            return -1
        line = _USUAL_LINE(data, pos, line_end)
        if line is None:
            return -1
        end = line_end + len(block.raw)
        method, target = line.groups()
        host, length, expect_continue, keep_alive = self._meaning
        if (
            end - pos > self._limits.header_bytes
            or len(target) > self._limits.url_bytes
            or line_end - pos >= self._line_max
        ):
            return -1
        headers = block.headers.copy()
        events.append(
            RequestHead(
                method,
                target,
                headers,
                11,
                host,
                b"http",
                length,
                keep_alive,
                None,
                expect_continue,
                (),
                block,
            )
        )
        self._last = not keep_alive
        if length == 0:
            events.append(END)
            self._message_done()
        else:
            self._left = length
            self._state = LENGTH
        return end

    def _recall(self, raw: bytes) -> bool:
        """Whether this is a first head and other connections began with its field lines: then they are known."""
        known = self._known
        if known is None:
            return False
        found = known.find(raw[raw.find(b"\r\n") :])
        if found is None:
            return False
        self._known = None
        block, self._meaning = found
        self._block = FieldBlock(block.raw, block.headers, block.common)
        return True

    def _remember(self, raw: bytes, line_end: int, head: RequestHead, kept: bool) -> None:
        """Keep the field lines of a plain request: nothing switches, ends or is chunked after it."""
        known, self._known = self._known, None
        length = head.length
        size = len(raw) - line_end
        if not kept or length is None or head.nominated or size > _BLOCK_MAX:
            self._block = None
            return
        self._block = head.block = FieldBlock(raw[line_end:], head.headers.copy())
        self._meaning = (head.host, length, head.expect_continue, head.keep_alive)
        if known is not None:
            known.keep(head.block, self._meaning)

    def _take_head(self, raw: bytes, events: list[Event]) -> None:
        if self._recall(raw) and self._take_known(raw, 0, events) >= 0:
            return
        line_end, count = self._measure(raw)
        found = self._found
        headers: Headers = []
        found.headers = headers
        llhttp = self._llhttp
        if llhttp is None:
            llhttp = HttpRequestParser(found)
        else:
            self._llhttp = None  # until it is known to wait for another head
        trouble = ""
        try:
            llhttp.feed_data(raw)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            trouble = str(error) or "malformed request"
        method = llhttp.get_method()
        target = found.target
        version = VERSIONS.get(raw[line_end - 8 : line_end]) if line_end > 8 else None
        if (
            len(headers) != count  # it gave up before the end, or took several lines for one
            or version is None
            or len(method) + len(target) + 10 != line_end  # two single spaces and the version
        ):
            raise self._bad_line(raw[:line_end], trouble)
        found.headers = NO_FIELDS
        if len(target) > self._limits.url_bytes:
            raise Refused(Kind.URL_TOO_LONG, "target is too long", 414)
        if not target.isascii() or b"#" in target or b"\t" in target:
            raise Refused(Kind.BAD_REQUEST, "malformed target")
        special = read_fields(headers)

        sent_host = special.get(b"host")
        if sent_host is not None:
            try:
                host = normal_host(sent_host)
            except ValueError:
                raise Refused(Kind.BAD_REQUEST, "malformed host") from None
        elif version == 10:
            host = b""
            if method == b"PRI":  # llhttp waits for the rest of HTTP/2's preface if no field comes
                raise self._bad_line(raw[:line_end], trouble)
        else:
            raise Refused(Kind.BAD_REQUEST, "no host")
        scheme = b"http"
        if target[:1] != b"/" or method == b"CONNECT":
            scheme, host, target = self._other_form(method, target, host)
        if host != sent_host and host:
            self._replace_host(headers, host)

        keep_alive = version == 11
        upgrade: bytes | None = None
        nominated: tuple[bytes, ...] = ()
        connection = special.get(b"connection")
        if connection is not None:
            options, nominated = CONNECTIONS.get(connection) or read_connection(connection)
            if b"close" in options:
                keep_alive = False
            elif b"keep-alive" in options:
                keep_alive = True
            if b"upgrade" in options and version == 11 and b"upgrade" in special:
                upgrade = read_upgrade(special[b"upgrade"])

        length: int | None = 0
        coding = special.get(b"transfer-encoding")
        if coding is not None:
            check_coding(coding, special, version)
            length = None
        elif b"content-length" in special:
            length = read_length(special[b"content-length"])
        if trouble:
            raise Refused(Kind.BAD_REQUEST, trouble)
        expect = special.get(b"expect")
        head = RequestHead(
            method,
            target,
            headers,
            version,
            host,
            scheme,
            length,
            keep_alive,
            upgrade,
            expect is not None
            and length != 0
            and version == 11
            and expect.lower() == b"100-continue",
            nominated,
        )
        if method == b"CONNECT":
            if length != 0:
                raise Refused(Kind.BAD_REQUEST, "CONNECT with a body")
            self._stop_after = True
        elif upgrade is not None:
            self._stop_after = True
        elif (
            length == 0
            and version == 11
            and connection in KEPT_OPEN
            and b"proxy-connection" not in special
        ):
            self._llhttp = llhttp
        self._last = not keep_alive
        limit = self._body_limit
        too_large = limit is not None and length is not None and length > limit
        plain = version == 11 and target is found.target and host == sent_host
        self._remember(raw, line_end, head, plain and not self._stop_after and not too_large)
        events.append(head)
        if length == 0:
            events.append(END)
            self._message_done()
        elif length is None:
            self._start_chunks()
        else:
            if too_large:
                raise Refused(Kind.BODY_TOO_LARGE, "content-length is over the limit", 413)
            self._left = length
            self._state = LENGTH

    def _bad_line(self, line: bytes, trouble: str) -> Refused:
        """What to answer to a head that llhttp refused with ``trouble``, or read otherwise than
        its request line allows: 501 for a method it does not know (RFC 9110 §9.1)."""
        parts = line.split(b" ")
        if len(parts) != 3 or not is_token(parts[0]):
            return Refused(Kind.BAD_REQUEST, self._bad_start)
        method, target, version_text = parts
        if len(method) > METHOD_MAX:
            return Refused(Kind.UNSUPPORTED, "method is too long", 501)
        if version_text not in VERSIONS:
            return self._bad_version(version_text)
        if len(target) > self._limits.url_bytes:
            return Refused(Kind.URL_TOO_LONG, "target is too long", 414)
        if not knows_method(method):
            return Refused(Kind.UNSUPPORTED, "method is not known", 501)
        return Refused(Kind.BAD_REQUEST, trouble or "malformed field line")

    @staticmethod
    def _bad_version(text: bytes) -> Refused:
        """505 for a version above 1.1, 400 for anything else, HTTP/0.9 included
        (RFC 9110 §15.6.6)."""
        if len(text) == 8 and text.startswith(b"HTTP/") and text[6:7] == b".":
            major, minor = text[5:6], text[7:8]
            if minor.isdigit() and major.isdigit() and major + minor > b"11":
                return Refused(Kind.UNSUPPORTED, "HTTP version is not supported", 505)
        return Refused(Kind.BAD_REQUEST, "malformed HTTP version")

    @staticmethod
    def _other_form(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes, bytes]:
        """Scheme, host and target of what is not in origin form (RFC 9112 §3.2.2 to §3.2.4)."""
        if method == b"CONNECT":
            name, _, port = target.rpartition(b":")
            if not name or not port.isdigit():
                raise Refused(Kind.BAD_REQUEST, "CONNECT without host:port")
            try:
                authority = normal_host(target)
            except ValueError:
                raise Refused(Kind.BAD_REQUEST, "malformed host in the target") from None
            return b"http", authority, authority
        if target == b"*":
            if method != b"OPTIONS":
                raise Refused(Kind.BAD_REQUEST, "asterisk target without OPTIONS")
            return b"http", host, target
        scheme, separator, rest = target.partition(b"://")
        scheme = scheme.lower()
        if not separator or scheme not in (b"http", b"https"):
            raise Refused(Kind.BAD_REQUEST, "malformed target")
        cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        try:
            host = normal_host(rest[:cut])
        except ValueError:
            raise Refused(Kind.BAD_REQUEST, "malformed host in the target") from None
        path = rest[cut:]
        if not path and method == b"OPTIONS":
            path = b"*"
        elif path[:1] != b"/":
            path = b"/" + path
        return scheme, host, path

    @staticmethod
    def _replace_host(headers: Headers, host: bytes) -> None:
        """Make the Host line say ``host``, in its place."""
        for index, (name, _) in enumerate(headers):
            if name.lower() == b"host":
                headers[index] = (name, host)
                return
        headers.append((b"Host", host))
