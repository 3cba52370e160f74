"""HTTP load at a fixed rate; latency counts from the time that a request is due."""

from __future__ import annotations

import re
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from tests.bench.load import Load

__all__ = ["paced"]

_HEAD = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
DRAIN = 5.0
"""Seconds that the last answers may take."""


class _Connection:
    """One connection; ``due`` is the time its request was due, 0 if it is free."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._got = b""

    def fileno(self) -> int:
        """For select."""
        return self.sock.fileno()

    def read(self) -> bytes:
        """Return the status of a complete answer, else nothing; RuntimeError if the stream ends."""
        data = self.sock.recv(65536)
        if not data:
            raise RuntimeError("the proxy closed a connection")
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return b""
        length = _HEAD.search(self._got, 0, end)
        if len(self._got) < end + 4 + (int(length[1]) if length else 0):
            return b""
        status, self._got = self._got[9:12], b""
        return status


def paced(
    port: int, seconds: float, *, replay: Path, rate: float = 4000, connections: int = 50
) -> Load:
    """Send ``rate`` requests a second of the file ``replay`` over ``connections`` connections."""
    requests = [part + b"\r\n\r\n" for part in replay.read_bytes().split(b"\r\n\r\n")[:-1]]
    made = [_Connection(port) for _ in range(connections)]
    try:
        return _Paced(made, cycle(requests), rate).run(seconds)
    finally:
        for connection in made:
            connection.sock.close()


class _Paced:
    """One run."""

    def __init__(
        self, connections: list[_Connection], requests: Iterator[bytes], rate: float
    ) -> None:
        self._all = connections
        self._idle = deque(connections)
        self._requests = requests
        self._pause = 1 / rate
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._errors = 0

    def run(self, seconds: float) -> Load:
        """Send for ``seconds``, and wait for the answers."""
        begin = due = time.perf_counter()
        count = round(seconds / self._pause)
        while len(self._late) < count:
            now = time.perf_counter()
            while due <= now and len(self._late) < count and self._idle:
                self._send(due)
                due = begin + len(self._late) * self._pause
            # without a free connection only an answer helps
            self._receive(max(0.0, due - time.perf_counter()) if self._idle else DRAIN)
        while len(self._latencies) < len(self._late):
            if not self._receive(DRAIN):
                raise RuntimeError("answers are missing")
        took = time.perf_counter() - begin
        return Load(
            len(self._latencies),
            took,
            p50_us=_percentile(self._latencies, 0.50) * 1e6,
            p99_us=_percentile(self._latencies, 0.99) * 1e6,
            errors=self._errors,
            late_us=_percentile(self._late, 0.99) * 1e6,
        )

    def _send(self, due: float) -> None:
        connection = self._idle.popleft()
        connection.due = due
        self._late.append(time.perf_counter() - due)
        connection.sock.sendall(next(self._requests))

    def _receive(self, timeout: float) -> bool:
        """Read what has arrived; false if nothing does within ``timeout`` seconds."""
        waiting = [connection for connection in self._all if connection.due]
        # select and not epoll: its timeout is exact to the microsecond
        ready = select.select(waiting, [], [], timeout)[0]
        for connection in ready:
            status = connection.read()
            if status:
                self._latencies.append(time.perf_counter() - connection.due)
                self._errors += status not in (b"200", b"304")
                connection.due = 0.0
                self._idle.append(connection)
        return bool(ready)


def _percentile(values: list[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0
