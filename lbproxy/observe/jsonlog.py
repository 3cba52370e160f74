"""PURE. Access records as lines of JSON. This code runs once per request.

A line is written into one buffer. Constants are bytes, and so are values that repeat from line to
line: the connection, method and host, the status, the names of frontend, route, backend and server.
Numbers and times are written digit by digit. Text from clients is copied straight from the raw head
if it needs no escape, and escaped otherwise. Caches whose keys a client or a filter controls are
bounded in number and in size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from librt.strings import BytesWriter

from lbproxy.http.message import RequestHead, field_name, text_of
from lbproxy.observe.fields import FIELD_LIMIT, TARGET_LIMIT, VERSIONS
from lbproxy.observe.jsonconnection import add_client, add_connection, cache_of, client_of
from lbproxy.observe.jsoncourse import add_close, add_course
from lbproxy.observe.jsonvalues import (
    KEPT,
    THOUSANDTHS,
    add_header,
    add_int,
    add_ms,
    add_raw,
    add_text,
    json_address,
    json_field,
    json_text,
    plain_end,
)
from lbproxy.observe.record import Connection, HTTPRecord, Record
from lbproxy.observe.timestamps import rfc3339

__all__ = ["HTTPLines", "TCPLines", "http_line", "plain_end", "tcp_line"]

_FIELD_LIMIT: Final[int] = FIELD_LIMIT  # mypyc does not inline constants of other modules
_TARGET_LIMIT: Final[int] = TARGET_LIMIT

_KEPT_SIZE: Final = 1024  # maximum length of a text that is cached encoded
_BUFFER_MAX: Final = 64 * 1024  # a buffer larger than this is not reused

_USER_AGENT: Final = field_name(b"user-agent")
_REFERER: Final = field_name(b"referer")
_VERSIONS: Final = {
    version: f'","version":"{text}","status":'.encode() for version, text in VERSIONS.items()
}
_STATUSES: Final[list[bytes]] = [
    f'","version":"{VERSIONS[11]}","status":{status},"user_agent":"'.encode()
    for status in range(600)
]
"""Start of the part with the status for HTTP/1.1, by status."""
_NO_VERSION: Final[bytes] = b'","version":"","status":'
_USUAL_SIZES: Final[bytes] = b'","bytes_in":0,"bytes_out":'
# -- the lines -----------------------------------------------------------------------------------


class _Lines:
    """Base of both writers: values kept from line to line."""

    __slots__ = (
        "_backend",
        "_frontend",
        "_route",
        "_second",
        "_server",
        "_servers",
        "_stamp",
        "_way",
        "_ways",
        "_writer",
    )

    _mode = b'Z","mode":"tcp",'

    def __init__(self) -> None:
        self._second = -1
        self._stamp = b""
        self._ways: dict[tuple[str, str, str, str], bytes] = {}
        self._frontend = self._route = self._backend = self._server = "\0"
        self._way = b""  # the part for these four names
        self._servers: dict[str, bytes] = {}  # by server, for the other three names
        self._writer = BytesWriter()

    def _begin(self, record: Record) -> BytesWriter:
        """Return the buffer with the start of a line, up to the client."""
        writer = self._writer
        writer.truncate(0)
        moment: float = record.started
        now = int(moment)
        if now != self._second:
            self._stamp = f'{{"time":"{rfc3339(now)}'.encode("ascii")
            self._second = now
        writer.write(self._stamp)
        writer.write(THOUSANDTHS[int((moment - now) * 1000)])
        if (
            record.route != self._route
            or record.backend_name != self._backend
            or record.frontend_name != self._frontend
        ):
            self._servers = {}
            self._follow(record)
        elif record.server_name != self._server:
            way = self._servers.get(record.server_name)
            if way is None:
                self._follow(record)
            else:
                self._server = record.server_name
                self._way = way
        writer.write(self._way)
        return writer

    def _follow(self, record: Record) -> None:
        """Look up frontend, route, backend and server if they differ from those of the
        last line.
        """
        key = (record.frontend_name, record.route, record.backend_name, record.server_name)
        way = self._ways.get(key)
        if way is None:
            names = ("frontend", "route", "backend", "server")
            pairs = [json_field(name, value) for name, value in zip(names, key, strict=True)]
            way = self._mode + (",".join(pairs) + ",").encode("ascii")
            if len(way) <= _KEPT_SIZE:
                if len(self._ways) >= KEPT:
                    self._ways.clear()
                self._ways[key] = way
        if len(way) > _KEPT_SIZE:
            key = ("\0", "\0", "\0", "\0")  # long names are not cached
        elif len(self._servers) < KEPT:
            self._servers[record.server_name] = way
        self._frontend, self._route, self._backend, self._server = key
        self._way = way

    def _end(self, writer: BytesWriter) -> bytes:
        """Return the line in the buffer."""
        line = writer.getvalue()
        if len(line) > _BUFFER_MAX:
            self._writer = BytesWriter()
        return line


def _asks(request: RequestHead) -> bytes:
    """Return the part of the line with method and host, up to the target."""
    host = request.host
    writer = BytesWriter()
    writer.write(b'","method":')
    writer.write(json_text(text_of(request.method), _FIELD_LIMIT).encode("ascii"))
    writer.write(b',"host":"')
    add_raw(writer, host, 0, len(host), _FIELD_LIMIT)
    writer.write(b'","target":"')
    return writer.getvalue()


class HTTPLines(_Lines):
    """A writer for exchanges, for use in one thread."""

    __slots__ = ("_host", "_lead", "_method")

    _mode = b'Z","mode":"http",'

    def __init__(self) -> None:
        super().__init__()
        self._method = self._host = b"\0"  # values of the last line
        self._lead = b""  # part for these two values

    def line(self, record: HTTPRecord) -> bytes:
        """Return the line of one exchange."""
        writer = self._begin(record)
        info: Connection = record.info
        cache = info.log_cache
        if cache is None:
            cache = cache_of(info)
        writer.write(client_of(record, cache))
        add_text(writer, record.known_request_id)
        request = record.request
        if request.host == self._host and request.method == self._method:
            writer.write(self._lead)
        else:
            writer.write(self._follow_request(request))
        target = request.target
        add_raw(writer, target, 0, len(target), _TARGET_LIMIT)
        status: Any = record.status
        if request.version == 11 and type(status) is int and 0 <= status < 600:
            writer.write(_STATUSES[status])
        else:
            writer.write(_VERSIONS.get(request.version, _NO_VERSION))
            add_int(writer, status)
            writer.write(b',"user_agent":"')
        add_header(writer, request, _USER_AGENT)
        writer.write(b'","referer":"')
        add_header(writer, request, _REFERER)
        if record.bytes_in == 0:
            writer.write(_USUAL_SIZES)
        else:
            writer.write(b'","bytes_in":')
            add_int(writer, record.bytes_in)
            writer.write(b',"bytes_out":')
        add_int(writer, record.bytes_out)
        add_course(writer, record)
        add_ms(writer, record.t_response)
        writer.write(b',"total_ms":')
        add_ms(writer, record.t_total)
        writer.write(cache.tail)
        return self._end(writer)

    def _follow_request(self, request: RequestHead) -> bytes:
        """Return the part with method and host, and cache it for the next line."""
        lead = _asks(request)
        if len(lead) <= _KEPT_SIZE:  # long names are not cached
            self._method = request.method
            self._host = request.host
            self._lead = lead
        return lead


class TCPLines(_Lines):
    """A writer for sessions, for use in one thread. It omits the fields that only HTTP has."""

    __slots__ = ("_after", "_before", "_listener", "_local_ip", "_local_port")

    def __init__(self) -> None:
        super().__init__()
        # end of a line before and after the peer, for this listener and this address
        self._before = self._after = b""
        self._listener = self._local_ip = ""
        self._local_port = -1

    def line(self, record: Record) -> bytes:
        """Return the line of one session."""
        writer = self._begin(record)
        add_client(writer, record)  # a connection has only one line, so nothing is cached
        add_text(writer, record.known_request_id)
        writer.write(b'","bytes_in":')
        add_int(writer, record.bytes_in)
        writer.write(b',"bytes_out":')
        add_int(writer, record.bytes_out)
        writer.write(b',"attempts":')
        add_int(writer, record.attempts)
        writer.write(b",")
        add_close(writer, record.close)
        add_text(writer, record.detail)
        writer.write(b'","queue_ms":')
        add_ms(writer, record.t_queue)
        writer.write(b',"connect_ms":')
        add_ms(writer, record.t_connect)
        writer.write(b',"total_ms":')
        add_ms(writer, record.t_total)
        info: Connection = record.info
        if info.tls is not None or info.sni:
            add_connection(writer, info)
        else:
            self._add_plain(writer, info)
        return self._end(writer)

    def _add_plain(self, writer: BytesWriter, info: Connection) -> None:
        """Write what :func:`add_connection` writes for a connection without TLS."""
        if (
            info.local_port != self._local_port
            or info.local_ip != self._local_ip
            or info.listener != self._listener
        ):
            self._keep(info)
        writer.write(self._before)
        writer.write(json_address(info.peer_ip))
        writer.write(b',"peer_port":')
        add_int(writer, info.peer_port)
        writer.write(self._after)

    def _keep(self, info: Connection) -> None:
        """Cache the parts that are the same for the next connection to the same address."""
        whole = BytesWriter()
        add_connection(whole, info)
        line = whole.getvalue()
        peer = line.index(b'"peer_ip":') + len(b'"peer_ip":')
        self._before = line[:peer]
        self._after = line[line.index(b',"local_ip":', peer) :]
        self._listener = info.listener
        self._local_ip = info.local_ip
        self._local_port = info.local_port


def http_line() -> Callable[[Any], bytes]:
    """Return :meth:`HTTPLines.line` of a new writer."""
    return HTTPLines().line


def tcp_line() -> Callable[[Any], bytes]:
    """Return :meth:`TCPLines.line` of a new writer."""
    return TCPLines().line
