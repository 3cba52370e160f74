"""Free ports on the loopback address.

They lie below the range the system takes ports of outgoing connections from, and the workers of pytest-xdist take
different ones: a port stays free until the server it is meant for has bound it.
"""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterator

__all__ = ["free_port", "free_ports"]

FIRST, LAST = 12_000, 32_000
WORKERS = 8


def _mine() -> Iterator[int]:
    """This process's share of the ports, from a random one on, round and round."""
    found = re.search(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", "0"))
    share = range(FIRST + (int(found[0]) if found else 0) % WORKERS, LAST, WORKERS)
    at = random.SystemRandom().randrange(len(share))
    while True:
        at = (at + 1) % len(share)
        yield share[at]


_ports = _mine()


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports that nobody has at the moment."""
    found: list[int] = []
    for _ in range(LAST - FIRST):
        if len(found) == count:
            return found
        port = next(_ports)
        if _free(port):
            found.append(port)
    raise OSError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
