"""Free ports on the loopback address.

They lie below the range the system takes ports of outgoing connections from, and each process that
runs tests takes its own: a port stays free until the server it is meant for has bound it, which may
be seconds later.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

__all__ = ["free_port", "free_ports", "privileged_port"]

FIRST, LAST = 12_000, 32_000
BLOCK = 400
"""Ports of one process, the first of which it holds as long as it lives: so nobody else takes them.
"""


def _held(port: int) -> socket.socket | None:
    """Bound there, not listening; None if somebody else is."""
    sock = socket.socket()
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return sock


def _mine() -> Iterator[int]:
    """This process's ports, from a random one on, round and round."""
    chance = random.SystemRandom()
    blocks = range(FIRST, LAST, BLOCK)
    for first in chance.sample(blocks, len(blocks)):
        guard = _held(first)
        if guard is not None:
            break
    else:
        raise OSError("too many processes that run tests")
    share = range(first + 1, first + BLOCK)
    at = chance.randrange(len(share))
    with guard:
        while True:
            at = (at + 1) % len(share)
            yield share[at]


_ports = _mine()


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports that nobody has at the moment."""
    found: list[int] = []
    for _ in range(BLOCK):
        if len(found) == count:
            return found
        port = next(_ports)
        if _free(port):
            found.append(port)
    raise OSError("no free ports")


def _free(port: int) -> bool:
    sock = _held(port)
    if sock is not None:
        sock.close()
    return sock is not None


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def privileged_port() -> int:
    """Return a free port below 1024."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(600, 1000)
        guard = _held(port)
        if guard is not None:
            guard.close()
            return port
