"""DATA. How many descriptors the process may have, and how many clients that is good for."""

from __future__ import annotations

import resource

__all__ = ["client_bound", "raise_limit"]

_OWN = 64  # logs, listeners, epoll, health checks


def raise_limit() -> int:
    """Lift the soft limit of open files to the hard one where that is allowed; the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


def client_bound() -> int:
    """Clients that the soft limit allows, two descriptors each (its own and its server's); 0: no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(16, (soft - _OWN) // 2)
