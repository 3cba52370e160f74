"""Clients of the live tests: programs run to their end, and sockets that say exactly what a test
wants said.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

__all__ = [
    "Answers",
    "ThreadServer",
    "connect",
    "digest_of",
    "heads",
    "is_closed",
    "marked_file",
    "read_all",
    "run",
]

TIMEOUT = 60.0


def run(
    command: Sequence[str], *, check: bool = True, stdin: bytes = b"", timeout: float = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """A program that ends; with ``check`` its status must be 0."""
    done = subprocess.run(list(command), input=stdin, capture_output=True, timeout=timeout)
    out, err = done.stdout.decode("latin-1"), done.stderr.decode("latin-1")
    if check:
        assert done.returncode == 0, (
            f"{command}: status {done.returncode}\n{out[-2000:]}\n{err[-2000:]}"
        )
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def connect(port: int, source: str = "") -> socket.socket:
    """A connection to 127.0.0.1; every operation on it has a deadline."""
    origin = (source, 0) if source else None
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT, source_address=origin)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_all(sock: socket.socket) -> bytes:
    """Until the peer's FIN."""
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


def heads(sock: socket.socket) -> Iterator[bytes]:
    """Heads of the requests that come, one after the other; for servers of requests
    without a body.
    """
    head = b""
    while data := sock.recv(65536):
        head += data
        if b"\r\n\r\n" in head:
            yield head
            head = b""


def is_closed(sock: socket.socket) -> bool:
    """The peer closes it, in good order or with a reset, and says nothing more."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def digest_of(sock: socket.socket, first: bytes = b"", size: int = -1) -> tuple[int, str]:
    """Length and SHA-256 of ``first`` and what follows: ``size`` bytes in all, or up to the FIN."""
    digest = hashlib.sha256(first)
    count = len(first)
    buffer = memoryview(bytearray(256 * 1024))
    while size < 0 or count < size:
        got = sock.recv_into(buffer)
        if not got:
            break
        digest.update(buffer[:got])
        count += got
    return count, digest.hexdigest()


def marked_file(path: Path, size: int) -> str:
    """A sparse file, every megabyte of it different; its SHA-256."""
    with path.open("wb") as out:
        out.truncate(size)
        for at in range(0, size, 1024 * 1024):
            out.seek(at + at // 1024 % 65521)
            out.write(hashlib.sha256(b"%d" % at).digest())
        out.truncate(size)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Answers:
    """HTTP/1.1 answers from a socket, each ``(status, headers, body)``; bodies have a
    Content-Length.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"closed after {self.buffer[-200:]!r}")
        self.buffer += data

    def head_bytes(self) -> bytes:
        """The next head as it came."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    def head(self) -> tuple[int, dict[bytes, bytes]]:
        """The next head; names in lower case."""
        start, *lines = self.head_bytes().split(b"\r\n")
        pairs = (line.partition(b":") for line in lines)
        return int(start.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def body(self, size: int) -> bytes:
        """So many bytes."""
        while len(self.buffer) < size:
            self._more()
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return body

    def next(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """The next answer."""
        status, headers = self.head()
        return status, headers, self.body(int(headers[b"content-length"]))


class ThreadServer:
    """A TCP server in this process:

    ``serve(sock)`` in a thread for each connection, which is closed after it.

    A connection that breaks ends its thread in silence: what the client saw is the test's business.
    """

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        from tests.support.ports import free_port

        self.port = free_port()
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(TIMEOUT)
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self._serve(sock)

    def __enter__(self) -> ThreadServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
