"""A program that asks exactly so many requests over keep-alive connections, and says what became of
each.

``python asker.py PORT CONNECTIONS REQUESTS PATH``; one line of JSON at the end. Nothing is asked
twice: a request whose connection ends before its answer is whole is an error. Idempotent methods in
turn: GET, HEAD, PUT with a body.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter

TIMEOUT = 60.0
BODY = b"b" * 100


def requests(path: str) -> list[tuple[bytes, bool]]:
    """What is sent in turn, and whether its answer has a body."""
    tail = f" {path} HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: asker\r\n".encode()
    put = b"PUT" + tail + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    get = b"GET" + tail + b"\r\n"
    return [(get, True), (get, True), (b"HEAD" + tail + b"\r\n", False), (put, True)]


class Asker:
    """All connections, in one loop."""

    def __init__(self, port: int, connections: int, count: int, path: str) -> None:
        self.port = port
        self.left = count
        self.connections = connections
        self.turn = requests(path)
        self.asked = 0
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.origins: Counter[str] = Counter()
        self.selector = selectors.DefaultSelector()
        self.open = 0

    def run(self) -> dict[str, object]:
        begun = time.monotonic()
        for _ in range(self.connections):
            self.begin()
        while self.open:
            ready = self.selector.select(TIMEOUT)
            if not ready:
                self.errors[f"no answer in {TIMEOUT:g} s"] += self.open
                break
            for key, _ in ready:
                key.data.readable()
        return {
            "asked": self.asked,
            "statuses": self.statuses,
            "errors": self.errors,
            "origins": self.origins,
            "seconds": time.monotonic() - begun,
        }

    def begin(self) -> None:
        """One connection more, if there is something left to ask."""
        if self.left <= 0:
            return
        try:
            _Connection(self).ask()
        except OSError as error:
            self.lost(f"connect: {error}")

    def lost(self, why: str) -> None:
        self.errors[why] += 1


class _Connection:
    def __init__(self, owner: Asker) -> None:
        self.owner = owner
        self.sock = socket.create_connection(("127.0.0.1", owner.port), TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.has_body = True
        owner.open += 1
        owner.selector.register(self.sock, selectors.EVENT_READ, self)

    def ask(self) -> None:
        owner = self.owner
        if owner.left <= 0:
            self.close()
            return
        owner.left -= 1
        data, self.has_body = owner.turn[owner.asked % len(owner.turn)]
        owner.asked += 1
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.failed(f"send: {error}")

    def readable(self) -> None:
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            self.failed(f"receive: {error}")
            return
        if not data:
            self.failed("closed before the answer was whole")
            return
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length and self.has_body else 0
        if len(rest) < size:
            return
        self.buffer = b""
        owner = self.owner
        if len(rest) > size:
            self.failed("more than the answer")
            return
        owner.statuses[int(head[9:12])] += 1
        origin = re.search(rb"\r\nX-Origin: (\S+)", head)
        if origin:
            owner.origins[origin[1].decode()] += 1
        if re.search(rb"(?i)\r\nconnection: *close", head):
            self.close()
            owner.begin()
        else:
            self.ask()

    def failed(self, why: str) -> None:
        self.close()
        self.owner.lost(why)
        self.owner.begin()

    def close(self) -> None:
        self.owner.selector.unregister(self.sock)
        self.sock.close()
        self.owner.open -= 1


if __name__ == "__main__":
    port, connections, count = map(int, sys.argv[1:4])
    print(json.dumps(Asker(port, connections, count, sys.argv[4]).run()))
