"""A raw origin server that misbehaves on request: run as a script, ``python origin.py PORT``, or by
:class:`RawOrigin`.

The path of a request says what happens to it; one thread per connection, nothing but the standard
library.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.process import Child

__all__ = ["BEHAVIOURS", "RawOrigin"]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


class _Over(Exception):
    """Close the connection."""


def ok(sock: socket.socket, head: bytes, body: bytes) -> None:
    """A short good answer."""
    sock.sendall(OK)


def echo(sock: socket.socket, head: bytes, body: bytes) -> None:
    """The request's body comes back."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def large(sock: socket.socket, head: bytes, body: bytes) -> None:
    """Six megabytes."""
    piece = b"x" * 60_000
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6000000\r\n\r\n")
    for _ in range(100):
        sock.sendall(piece)


def dump(sock: socket.socket, head: bytes, body: bytes) -> None:
    """The request's head comes back as the body."""
    echo(sock, head, head)


def hang(sock: socket.socket, head: bytes, body: bytes) -> None:
    """No answer, until the peer leaves."""
    while sock.recv(65536):
        pass
    raise _Over


def hang_mid_body(sock: socket.socket, head: bytes, body: bytes) -> None:
    """Half an answer, and then nothing."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    hang(sock, head, body)


def close(sock: socket.socket, head: bytes, body: bytes) -> None:
    """The connection is closed in place of an answer."""
    raise _Over


def reset(sock: socket.socket, head: bytes, body: bytes) -> None:
    """The connection is reset in place of an answer."""
    _reset(sock)


def reset_mid_header(sock: socket.socket, head: bytes, body: bytes) -> None:
    """The connection is reset inside the answer's head."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    _reset(sock)


def reset_mid_body(sock: socket.socket, head: bytes, body: bytes) -> None:
    """The connection is reset inside the answer's body."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    _reset(sock)


def close_mid_body(sock: socket.socket, head: bytes, body: bytes) -> None:
    """The connection is closed inside the answer's body."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    raise _Over


def close_mid_chunk(sock: socket.socket, head: bytes, body: bytes) -> None:
    """A chunked answer is cut off."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n40\r\nxx")
    raise _Over


def garbage(sock: socket.socket, head: bytes, body: bytes) -> None:
    """Not HTTP at all."""
    sock.sendall(b"\x00\xff\xfeSSH-2.0-nonsense\r\n\r\n" + bytes(range(256)))
    raise _Over


def two_lengths(sock: socket.socket, head: bytes, body: bytes) -> None:
    """An ambiguous answer: two different Content-Length lines."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!")


def huge_header(sock: socket.socket, head: bytes, body: bytes) -> None:
    """A header of half a megabyte."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + b"x" * 500_000 + b"\r\n\r\nok")


def slow(sock: socket.socket, head: bytes, body: bytes) -> None:
    """A good answer, byte by byte, half a second in all."""
    for byte in OK:
        sock.sendall(bytes([byte]))
        time.sleep(0.5 / len(OK))


def until_close(sock: socket.socket, head: bytes, body: bytes) -> None:
    """A body that ends with the connection."""
    sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nuntil close")
    raise _Over


def chunked(sock: socket.socket, head: bytes, body: bytes) -> None:
    """A chunked body."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    sock.sendall(b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n")


def trailers(sock: socket.socket, head: bytes, body: bytes) -> None:
    """A chunked body with a trailer."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
    sock.sendall(b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n")


def interim(sock: socket.socket, head: bytes, body: bytes) -> None:
    """103 Early Hints first."""
    sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK)


def early(sock: socket.socket, head: bytes, body: bytes) -> None:
    """413 without reading the body (the server does not wait for it), then close."""
    sock.sendall(b"HTTP/1.1 413 Too much\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    raise _Over


def upgrade(sock: socket.socket, head: bytes, body: bytes) -> None:
    """A switch of protocols; then whatever comes goes back."""
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
    accept = base64.b64encode(hashlib.sha1((key[1] if key else b"") + WEBSOCKET).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while data := sock.recv(65536):
        sock.sendall(data)
    raise _Over


BEHAVIOURS = {
    f"/{behaviour.__name__.replace('_', '-')}".encode(): behaviour
    for behaviour in (
        ok,
        echo,
        large,
        dump,
        hang,
        hang_mid_body,
        close,
        reset,
        reset_mid_header,
        reset_mid_body,
        close_mid_body,
        close_mid_chunk,
        garbage,
        two_lengths,
        huge_header,
        slow,
        until_close,
        chunked,
        trailers,
        interim,
        early,
        upgrade,
    )
}
"""Path -> what happens; any other path is ``/ok``."""

EARLY = {b"/early", b"/reset", b"/close"}
"""These do not read the request's body."""


def _reset(sock: socket.socket) -> None:
    time.sleep(0.02)  # so that what was sent before is read and not lost to the reset
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise _Over


class _Reader:
    """Requests from a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def _more(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise _Over
        self._buffer += data

    def _to(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        part, _, self._buffer = self._buffer.partition(mark)
        return part

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        part, self._buffer = self._buffer[:size], self._buffer[size:]
        return part

    def head(self) -> bytes:
        """The next request's head."""
        return self._to(b"\r\n\r\n") + b"\r\n\r\n"

    def body(self, head: bytes) -> bytes:
        """And its body."""
        if re.search(rb"(?i)\r\nexpect: *100-continue", head):
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length:
            return self._exactly(int(length[1]))
        if not re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            return b""
        body = b""
        while size := int(self._to(b"\r\n").partition(b";")[0], 16):
            body += self._exactly(size)
            self._exactly(2)
        while self._to(b"\r\n"):
            pass
        return body


def serve(sock: socket.socket) -> None:
    """One connection, from accept to close."""
    reader = _Reader(sock)
    with sock, contextlib.suppress(_Over, OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            head = reader.head()
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            body = b"" if path in EARLY else reader.body(head)
            BEHAVIOURS.get(path, ok)(sock, head, body)
            if re.search(rb"(?i)\r\nconnection: *close", head):
                return


def main(port: int) -> None:
    """Serve on 127.0.0.1 until killed."""
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock,), daemon=True).start()


class RawOrigin:
    """The script above as a child process."""

    def __init__(self, folder: Path) -> None:
        from tests.support.ports import free_port

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.child: Child | None = None

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> RawOrigin:
        """Start (again) on the same port and wait until it accepts."""
        from tests.support.process import Child, accepts

        command = [sys.executable, str(Path(__file__).resolve()), str(self.port)]
        self.child = Child(command, self.folder / "origin.log")
        self.child.wait_ready(lambda: accepts(self.port))
        return self

    def stop(self) -> None:
        """End it."""
        if self.child is not None:
            self.child.stop()
            self.child = None


if __name__ == "__main__":
    main(int(sys.argv[1]))
