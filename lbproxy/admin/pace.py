"""CONTROL. A limit of the time that the admin side uses, so that it cannot stop the traffic.

Each role has a share of its own: callers without a role cannot delay readers, and readers cannot
delay operators. Within a role, one client address has at most half of the share.
"""

from __future__ import annotations

from collections.abc import Callable

from lbproxy.admin.auth import Role

__all__ = ["ADDRESSES", "LONGEST", "AddressPaces", "Pace", "paces"]

LONGEST = 5.0
"""Maximum wait of a request in seconds. A request that would wait longer is refused (429)."""

ADDRESSES = 1000
"""Maximum number of client addresses stored. The least recently seen one is dropped first."""

_SMOOTH = 0.2  # weight of the last request in the expected cost
_SHARES = {Role.NONE: (0.05, 0.05), Role.READ: (0.15, 0.2), Role.WRITE: (0.3, 0.5)}


class Pace:
    """A budget of time. ``share``: average share of the time; ``burst``: seconds that may be used
    at once.

    A request calls :meth:`reserve` before its work, :meth:`spent` after it, and :meth:`more` for
    work that follows in later turns of the reactor.
    """

    def __init__(self, now: Callable[[], float], share: float, burst: float) -> None:
        self._now = now
        self._share = share
        self._burst = burst
        self._debt = 0.0  # seconds used beyond the share
        self._paid = now()
        self._expected = 0.0  # expected seconds of one request

    def reserve(self) -> float:
        """Return the seconds to wait before the work may start. A result above :data:`LONGEST`
        reserves nothing.
        """
        now = self._now()
        self._debt = max(0.0, self._debt - (now - self._paid) * self._share)
        self._paid = now
        wait = max(0.0, self._debt - self._burst) / self._share
        if wait <= LONGEST:
            self._debt += self._expected
        return wait

    def spent(self, seconds: float) -> None:
        """Charge the time of a request, in place of the reserved time."""
        self._debt += seconds - self._expected
        self._expected += _SMOOTH * (seconds - self._expected)

    def more(self, seconds: float) -> None:
        """Charge further work of a request."""
        self._debt += seconds


def paces(now: Callable[[], float]) -> dict[Role, Pace]:
    """Return the pace of each role."""
    return {role: Pace(now, share, burst) for role, (share, burst) in _SHARES.items()}


class AddressPaces:
    """The paces of client addresses. Operators (role ``write``) are not limited."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: dict[tuple[Role, str], Pace] = {}  # least recently used first

    def of(self, role: Role, ip: str) -> list[Pace]:
        """Return the paces for callers with ``role`` at ``ip``; [] if they are not limited."""
        if not ip or role >= Role.WRITE:
            return []
        key = (role, ip)
        pace = self._known.pop(key, None)
        if pace is None:
            share, burst = _SHARES[role]
            pace = Pace(self._now, share / 2, burst / 2)
            if len(self._known) >= ADDRESSES:
                del self._known[next(iter(self._known))]
        self._known[key] = pace
        return [pace]

    def __len__(self) -> int:
        return len(self._known)
