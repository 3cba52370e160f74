"""Clients and an origin that take turns with the proxy, so that all runs are alike.

The proxy is stopped (SIGSTOP) while clients send a batch of requests, so it finds all of them when
it continues.  The origin waits for the whole batch, and stops the proxy while it answers.  The
proxy therefore has several sockets ready at each wake-up, as on a busy machine, and always the
same number.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from threading import Lock, Thread

from tests.bench.heads import asking_for

__all__ = ["BATCH", "Browsers", "Gate", "Hits", "Origin", "Pings"]

BATCH = 16
"""Units of work under way at once."""

TIMEOUT = 30.0
"""Seconds that a read may take; callgrind makes a proxy fifty times slower."""

PING = b"*1\r\n$4\r\nPING\r\n"

_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


class Gate:
    """Stops the process ``pid`` while a block runs; 0: stops nothing."""

    def __init__(self) -> None:
        self.pid = 0
        self._lock = Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        if self.pid:
            os.kill(self.pid, signal.SIGSTOP)
            stat = Path(f"/proc/{self.pid}/stat")
            while stat.read_text().rpartition(")")[2].split()[0] not in "Tt":
                time.sleep(0)

    def __exit__(self, *exc: object) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGCONT)
        self._lock.release()


class Origin:
    """A server with two addresses that answers as soon as :attr:`due` messages have arrived.

    ``answers`` are sent to HTTP requests in order; None: each message is sent back.
    """

    def __init__(self, answers: Iterator[bytes] | None, gate: Gate) -> None:
        self.due = 1
        self._answers = answers
        self._gate = gate
        self._epoll = select.epoll()
        self._streams: dict[int, _Stream] = {}
        self._waiting: list[_Stream] = []
        self._listeners = {}
        self.addresses: list[str] = []
        for _ in "ab":
            listener = _server()
            self._listeners[listener.fileno()] = listener
            self._epoll.register(listener, select.EPOLLIN)
            self.addresses.append(f"127.0.0.1:{listener.getsockname()[1]}")
        Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Close the listeners and the connections."""
        self._epoll.close()
        for listener in self._listeners.values():
            listener.close()
        for stream in list(self._streams.values()):
            stream.sock.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed
            while True:
                for number, _ in self._epoll.poll():
                    listener = self._listeners.get(number)
                    if listener is not None:
                        self._accept(listener)
                    else:
                        self._read(self._streams[number])
                if len(self._waiting) >= self.due:
                    self._answer()

    def _accept(self, listener: socket.socket) -> None:
        sock = _quick(listener.accept()[0])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._streams[sock.fileno()] = _Stream(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _read(self, stream: _Stream) -> None:
        if not stream.more():
            del self._streams[stream.sock.fileno()]
            self._epoll.unregister(stream.sock)
            stream.sock.close()
        elif stream.message() if self._answers is not None else stream.take(len(PING)):
            self._waiting.append(stream)

    def _answer(self) -> None:
        ready, self._waiting = self._waiting, []
        with self._gate:
            for stream in ready:
                answer = PING if self._answers is None else next(self._answers)
                with contextlib.suppress(ConnectionError):
                    stream.sock.sendall(answer)


def _server() -> socket.socket:
    """Return a listener on a port below those that the system gives to outgoing connections.

    Servers have such ports.  A port of the other kind costs each connection a check that it is not
    connected to itself.
    """
    begin = 20_000 + os.getpid() % 10_000
    for port in range(begin, begin + 2_000):
        try:
            return socket.create_server(("127.0.0.1", port), backlog=128)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free for the origin")


class _Stream:
    """Reads HTTP messages with a Content-Length or without a body."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._rest = b""

    def more(self) -> bool:
        """Wait for bytes; return false at the end of the stream or after a reset."""
        try:
            data = self.sock.recv(262_144)
        except ConnectionError:
            return False
        self._rest += data
        return bool(data)

    def take(self, size: int) -> bytes:
        """Remove and return ``size`` bytes; return nothing if there are fewer."""
        if len(self._rest) < size:
            return b""
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def message(self) -> bytes:
        """Remove the next message and return its head; return nothing if it is not complete."""
        at = self._rest.find(b"\r\n\r\n")
        if at < 0:
            return b""
        head = self._rest[: at + 2]
        length = _LENGTH.search(head)
        return head if self.take(at + 4 + (int(length[1]) if length else 0)) else b""

    def wait_message(self) -> bytes:
        """Return the head of the next message; RuntimeError if the connection ends first."""
        while not (head := self.message()):
            if not self.more():
                raise RuntimeError("the proxy closed the connection")
        return head

    def wait_end(self) -> None:
        """Read until the other side closes."""
        while self.more():
            pass


Requests = Callable[[int, str], Iterator[bytes]]
"""From a seed and the cookies to send (may be empty), the requests of one browser."""


class Browsers:
    """:data:`BATCH` browsers with one connection each; all send a request, then all read an answer.

    Another browser takes over after ``per_connection`` requests (0: never).  ``jar`` names the
    cookie that the proxy sets and browsers send back.
    """

    def __init__(
        self,
        port: int,
        origin: Origin,
        gate: Gate,
        requests: Requests,
        *,
        per_connection: int = 0,
        tls: ssl.SSLContext | None = None,
        jar: str = "",
    ) -> None:
        self._port = port
        self._origin = origin
        self._gate = gate
        self._requests = requests
        self._limit = per_connection
        self._tls = tls
        self._jar = jar and re.compile(rb"^set-cookie: *(%b=[^;\r]*)" % jar.encode(), re.I | re.M)
        self._browsers: list[_Browser] = []
        self._seeds = count(1)

    def run(self, units: int) -> None:
        """Make ``units`` requests; RuntimeError if an answer is not 200 or 304."""
        for begin in range(0, units, BATCH):
            self._batch(min(BATCH, units - begin))

    def close(self) -> None:
        """Close the connections."""
        for browser in self._browsers:
            browser.sock.close()

    def _batch(self, size: int) -> None:
        self._origin.due = size
        if self._tls is not None:  # a handshake takes turns with the proxy
            self._fill(size)
        with self._gate:
            self._fill(size)
            for browser in self._browsers[:size]:
                browser.sock.sendall(next(browser.requests))
        heads = [browser.stream.wait_message() for browser in self._browsers[:size]]
        for browser, head in zip(self._browsers, heads, strict=False):
            self._judge(browser, head)
        ended = [browser for browser in self._browsers[:size] if browser.made == self._limit]
        for browser in ended:
            if b"\nconnection: close" in browser.head.lower():
                browser.stream.wait_end()
        if ended:
            self._browsers = [b for b in self._browsers if b not in ended]
            with self._gate:
                for browser in ended:
                    browser.sock.close()

    def _fill(self, size: int) -> None:
        while len(self._browsers) < size:
            seed = next(self._seeds)
            sock = _connect(self._port)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname="www.example.com")
            self._browsers.append(_Browser(seed, sock, self._requests(seed, "")))

    def _judge(self, browser: _Browser, head: bytes) -> None:
        if not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 304 ")):
            raise RuntimeError(f"the proxy answered {head[:200]!r}")
        browser.made += 1
        browser.head = head
        if self._jar and (found := self._jar.search(head)):
            browser.requests = self._requests(browser.seed, found[1].decode())


class _Browser:
    """One connection.  ``made`` counts its requests, ``head`` is that of the last answer."""

    def __init__(self, seed: int, sock: socket.socket, requests: Iterator[bytes]) -> None:
        self.seed = seed
        self.sock = sock
        self.requests = requests
        self.made = 0
        self.head = b""
        self.stream = _Stream(sock)


class Hits(Browsers):
    """Browsers that ask for ``paths``, which a cache has stored before.

    ``again``: each was asked for once more, when the cache has all and its memory has lost some.
    """

    def __init__(
        self,
        port: int,
        origin: Origin,
        gate: Gate,
        requests: Requests,
        *,
        paths: Sequence[bytes],
        again: bool = False,
    ) -> None:
        super().__init__(port, origin, gate, requests)
        self._missing = list(paths) * (3 if again else 2)

    def run(self, units: int) -> None:
        """See :class:`Browsers`; RuntimeError if a request is not a hit."""
        if self._missing:
            self._store()
        super().run(units)

    def _store(self) -> None:
        """Ask for each path: the first hit of a response prepares its head."""
        self._origin.due = 1
        browser = _Browser(0, _connect(self._port), self._requests(0, ""))
        for path in self._missing:
            browser.sock.sendall(asking_for(path, next(browser.requests)))
            super()._judge(browser, browser.stream.wait_message())
        browser.sock.close()
        self._missing.clear()

    def _judge(self, browser: _Browser, head: bytes) -> None:
        super()._judge(browser, head)
        if b"; hit" not in head and b"\nage:" not in head.lower():
            raise RuntimeError(f"the cache did not answer: {head!r}")


class Pings:
    """:data:`BATCH` small messages at a time, which the origin sends back.

    ``reconnect``: each message has a connection of its own.
    """

    def __init__(self, port: int, origin: Origin, gate: Gate, *, reconnect: bool = False) -> None:
        self._port = port
        self._origin = origin
        self._gate = gate
        self._reconnect = reconnect
        self._sockets: list[socket.socket] = []

    def run(self, units: int) -> None:
        """Make ``units`` round trips; RuntimeError if an answer is wrong."""
        for begin in range(0, units, BATCH):
            self._batch(min(BATCH, units - begin))

    def close(self) -> None:
        """Close the connections."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _batch(self, size: int) -> None:
        self._origin.due = size
        with self._gate:
            while len(self._sockets) < size:
                self._sockets.append(_connect(self._port))
            for sock in self._sockets[:size]:
                sock.sendall(PING)
        for sock in self._sockets[:size]:
            if sock.recv(4096) != PING:
                raise RuntimeError("the proxy sent something else")
        if self._reconnect:
            with self._gate:
                for sock in self._sockets:
                    sock.shutdown(socket.SHUT_WR)
            for sock in self._sockets:
                if sock.recv(4096):
                    raise RuntimeError("the proxy sent more than it got")
            self.close()


def _quick(sock: socket.socket) -> socket.socket:
    sock.settimeout(TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _connect(port: int) -> socket.socket:
    return _quick(socket.create_connection(("127.0.0.1", port), TIMEOUT))
