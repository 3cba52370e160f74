"""DATA. How many descriptors the process may have, and how many clients that is good for."""

from __future__ import annotations

import resource

__all__ = ["MAX_PIPES", "client_bound", "pipe_bound", "raise_limit"]

MAX_PIPES = 48
"""Most pipes at a time: at 512 KiB each, two processes stay within what Linux grants one
unprivileged user (64 MiB, ``pipe-user-pages-soft``); those that come later get smaller ones, or
none.
"""

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


def pipe_bound() -> int:
    """Pipes for bulk that the soft limit allows, two descriptors each: a 32nd of all, at most
    MAX_PIPES.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_PIPES if soft == resource.RLIM_INFINITY else min(MAX_PIPES, soft // 64)
