"""DATA. How many descriptors the process may have, and how many clients and TLS handshakes that is
good for.
"""

from __future__ import annotations

import resource

__all__ = ["MAX_PIPES", "client_bound", "handshake_bound", "pipe_bound", "raise_limit"]

MAX_PIPES = 48
"""Most pipes at a time: at 512 KiB each, two processes stay within what Linux grants one
unprivileged user (64 MiB, ``pipe-user-pages-soft``); those that come later get smaller ones, or
none.
"""

_HANDSHAKES = (64, 2048)

_OWN = 64  # logs, listeners, epoll, health checks


def raise_limit() -> int:
    """Lift the soft limit of open files to the hard one where that is allowed; the limit
    in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


def client_bound() -> int:
    """Clients that the soft limit allows, two descriptors each (its own and its server's); 0: no
    limit.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(16, (soft - _OWN) // 2 - pipe_bound())


def handshake_bound(maxconn: int) -> int:
    """Return the default of ``max_handshakes``: an eighth of ``maxconn``, within 64 and 2048.

    A handshake lasts one round trip, so few clients are in one at a time. At about 50 KB each,
    2048 take 100 MB; with round trips of 300 ms they allow 6,800 handshakes a second, more than a
    core computes.  ``maxconn`` 0: no limit.
    """
    least, most = _HANDSHAKES
    return max(least, min(most, maxconn // 8)) if maxconn else most


def pipe_bound() -> int:
    """Pipes for bulk that the soft limit allows, two descriptors each: a 32nd of all, at most
    MAX_PIPES.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_PIPES if soft == resource.RLIM_INFINITY else min(MAX_PIPES, soft // 64)
