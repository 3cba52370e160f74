"""Idle connections: what one costs in memory."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Callable

from tests.bench.load import Load

__all__ = ["idle"]

REQUEST = b"GET /small HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
AT_ONCE = 200
RESERVE = 2000  # descriptors for everything else


def idle(port: int, rss: Callable[[], int], *, connections: int = 10_000) -> Load:
    """Open connections, make one request on each, keep them; ``value`` is the growth of ``rss()``
    for each.

    Fewer than ``connections`` where the descriptor limit does not allow as many.
    """
    # a proxy counts two descriptors for each client, whether or not it has a server connection now
    limit = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVE) // 2
    count = min(connections, limit)
    before = rss()
    begin = time.monotonic()
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            held += _batch(port, min(AT_ONCE, count - len(held)))
        seconds = time.monotonic() - begin
        grown = rss() - before
        return Load(count, seconds, value=grown / count)
    finally:
        for sock in held:
            sock.close()


def _batch(port: int, count: int) -> list[socket.socket]:
    """``count`` connections that have each had one answer."""
    waiting: dict[int, socket.socket] = {}
    done: list[socket.socket] = []
    poller = select.epoll()
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        sock.sendall(REQUEST)
        waiting[sock.fileno()] = sock
        poller.register(sock.fileno(), select.EPOLLIN)
    deadline = time.monotonic() + 30
    while waiting:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(waiting)} of {count} connections got no answer in 30 s")
        for number, _ in poller.poll(1.0):
            sock = waiting[number]
            if b"\r\n\r\n" not in sock.recv(65536):
                raise RuntimeError("an answer that is none")
            poller.unregister(number)
            done.append(waiting.pop(number))
    poller.close()
    return done
