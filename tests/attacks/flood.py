"""Floods from many addresses: ``python -m tests.attacks.flood NAME SECONDS PORT TLS``.

An attacker keeps a fixed rate and uses at most half a core (:class:`tests.siege.pace.Pace`).
"""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping

from tests.siege.attacks import (
    GET,
    POST,
    Ports,
    client_hello,
    close,
    drop_input,
    header_lines,
    pipelined,
    send,
    slow_bodies,
    slow_heads,
)
from tests.siege.attacks import cookies as cookie_bombs
from tests.siege.pace import Pace

__all__ = ["FLOODS", "begin"]

ADDRESSES = 10_000
LARGE = GET.replace(b"/small", b"/large")


def address(number: int) -> str:
    """One of :data:`ADDRESSES` loopback addresses."""
    number %= ADDRESSES
    return f"127.{10 + number // 250}.{number % 250}.1"


def connect(port: int, source: str, window: int = 0) -> socket.socket | None:
    """A connection from ``source``, or None if it is not taken at once.

    ``window``: bytes that its system takes while nothing is read, about.
    """
    sock = socket.socket()
    try:
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((source, 0))
        sock.settimeout(2)
        sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    sock.setblocking(False)
    return sock


def _each(port: int, pace: Pace, data: bytes, keep: int = 50) -> None:
    """A new connection from another address in each step, with ``data``; ``keep`` stay open."""
    held: list[socket.socket] = []
    number = 0
    while pace.go():
        number += 1
        sock = connect(port, address(number))
        if sock is None:
            continue
        if data:
            send(sock, data)
        held.append(sock)
        if len(held) > keep:
            old = held.pop(0)
            drop_input(old)
            close(old, reset=True)
    for sock in held:
        close(sock, reset=True)


def connections(ports: Ports, pace: Pace, most: int) -> None:
    """Connections from 10,000 addresses that say nothing."""
    _each(ports.http, pace, b"", keep=5000)


def handshakes(ports: Ports, pace: Pace, most: int) -> None:
    """Handshakes from 10,000 addresses that are begun and left."""
    _each(ports.tls, pace, client_hello(), keep=500)


def whole_handshakes(ports: Ports, pace: Pace, most: int) -> None:
    """Complete handshakes from one address, as many as possible."""
    context = ssl._create_unverified_context()
    while pace.go():
        sock = connect(ports.tls, "127.9.9.1")
        if sock is not None:
            sock.settimeout(2)
            with contextlib.suppress(OSError):
                context.wrap_socket(sock).close()
            close(sock)


def requests(ports: Ports, pace: Pace, most: int) -> None:
    """Requests from 10,000 addresses."""
    _each(ports.http, pace, GET)


def spoofed(ports: Ports, pace: Pace, most: int) -> None:
    """Requests of one address that claim to come from others."""
    number = 0
    sock: socket.socket | None = None
    while pace.go():
        number += 1
        if sock is None:
            sock = connect(ports.http, "127.9.9.2")
            continue
        drop_input(sock)
        claim = b"X-Forwarded-For: 10.0.%d.%d\r\n\r\n" % (number >> 8 & 255, number & 255)
        if send(sock, GET[:-2] + claim) < 0:
            close(sock)
            sock = None


def slow_reads(ports: Ports, pace: Pace, most: int) -> None:
    """Large responses of which a few bytes are read now and then.

    They come from 127.0.0.1, which has no limits, so that only the least rate ends them.
    """
    held: list[socket.socket] = []
    while pace.go():
        if len(held) < most:
            sock = connect(ports.http, "127.0.0.1", window=4096)
            if sock is not None:
                send(sock, LARGE)
                held.append(sock)
            continue
        sock = held.pop(0)
        if _has_ended(sock):
            close(sock)
        else:
            held.append(sock)
    for sock in held:
        close(sock, reset=True)


def _has_ended(sock: socket.socket) -> bool:
    """Read 64 bytes; whether the other side has ended the connection."""
    try:
        return not sock.recv(64)
    except BlockingIOError:
        return False
    except OSError:
        return True


def games(ports: Ports, pace: Pace, most: int) -> None:
    """Requests that are none."""
    kinds = (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n",
             b"\x16\x03\x01\x02\x00", b"A" * 30_000, POST + b"zz\r\n")  # fmt: skip
    number = 0
    while pace.go():
        number += 1
        sock = connect(ports.http, address(number))
        if sock is not None:
            send(sock, kinds[number % len(kinds)])
            drop_input(sock)
            close(sock)


FLOODS: Mapping[str, tuple[Callable[[Ports, Pace, int], None], float, int]] = {
    "slow_heads": (slow_heads, 300, 300),
    "slow_bodies": (slow_bodies, 300, 100),
    "slow_reads": (slow_reads, 100, 30),
    "connections": (connections, 400, 0),
    "handshakes": (handshakes, 100, 0),
    "whole_handshakes": (whole_handshakes, 100, 0),
    "requests": (requests, 300, 0),
    "cookie_bombs": (cookie_bombs, 200, 10),
    "header_bombs": (header_lines, 300, 10),
    "pipelining": (pipelined, 20, 30),
    "spoofed": (spoofed, 500, 0),
    "games": (games, 200, 0),
}
"""Name -> attack, steps a second, connections."""


def begin(name: str, seconds: float, ports: Ports) -> subprocess.Popen[bytes]:
    """Start a flood in a process of its own."""
    words = [name, str(seconds), str(ports.http), str(ports.tls)]
    return subprocess.Popen([sys.executable, "-m", "tests.attacks.flood", *words])


def main() -> None:
    """Run the flood that the arguments name."""
    name, seconds, port, tls = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run, rate, most = FLOODS[name]
    run(Ports(int(port), int(tls), 0), Pace(rate, float(seconds)), most)


if __name__ == "__main__":
    main()
