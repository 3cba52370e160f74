"""DATA. Limits of the process's descriptors, and the number of clients, TLS handshakes and pipes
that they allow.
"""

from __future__ import annotations

import resource

__all__ = ["MAX_PIPES", "client_bound", "handshake_bound", "pipe_bound", "raise_limit"]

MAX_PIPES = 48
"""Maximum number of pipes at a time. At 512 KiB each, two processes stay within the limit of Linux
for one unprivileged user (64 MiB, ``pipe-user-pages-soft``). Beyond it, new pipes are smaller or
cannot be created.
"""

_HANDSHAKES = (64, 2048)

_OWN = 64  # logs, listeners, epoll, health checks


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one if that is allowed. Return the limit in
    force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


def client_bound() -> int:
    """Return the number of clients that the soft limit allows, with two descriptors each (client
    and server). 0: no limit.
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
    """Return the number of pipes that the soft limit allows, with two descriptors each: a 32nd of
    the limit, at most MAX_PIPES.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_PIPES if soft == resource.RLIM_INFINITY else min(MAX_PIPES, soft // 64)
