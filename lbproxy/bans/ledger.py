"""PURE. Bans of addresses with growing durations, in bounded memory.

A ban applies to an IPv4 address, or to an IPv6 prefix of 64 bits. The first one lasts ``shortest``
seconds, each further one twice as long as the previous one, up to ``longest``. An address that was
not banned for ``longest`` seconds starts at ``shortest`` again.

The ledger has room for :data:`MOST` addresses. Beyond that, the record whose history expires first
is dropped: bans that are over before those in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from ipaddress import IPv6Address

from attrs import define

from lbproxy.guard.addresses import V4_BASE, address_number

__all__ = ["MOST", "Ban", "Ledger", "ban_key", "ban_text"]

MOST = 100_000
"""Maximum number of addresses with a history."""

_SIXTY_FOUR = (1 << 64) - 1


def ban_key(ip: str) -> int:
    """Return the number of an IPv4 address, or of the /64 of an IPv6 address; -1 for other text."""
    number = address_number(ip)
    return number if number >= V4_BASE or number < 0 else number & ~_SIXTY_FOUR


def ban_text(ip: str) -> str:
    """Return the subject of a ban of ``ip``, for people: the address, or its /64."""
    key = ban_key(ip)
    return ip if key < 0 or key >= V4_BASE else f"{IPv6Address(key)}/64"


@define
class Ban:
    """The last ban of an address.

    ``since``, ``until``: Unix time in seconds. ``times``: number of bans in a row. ``rule``: name
    of the ``[ban NAME]``, or ``operator``. ``reason``: for people. ``request``: id of the request
    that caused it, or "". ``refused``: attempts since.
    """

    ip: str
    since: float
    until: float
    times: int
    rule: str
    reason: str = ""
    request: str = ""
    refused: int = 0


class Ledger:
    """The bans of one process. Times are Unix time in seconds."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._bans: dict[int, Ban] = {}
        self._memory: dict[int, float] = {}  # seconds for which a ban is kept after its end
        self._ends: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._bans)

    def find(self, ip: str, now: float) -> Ban | None:
        """Return the ban of ``ip`` in force, or None."""
        if not self._bans:
            return None
        found = self._bans.get(ban_key(ip))
        return found if found is not None and found.until > now else None

    def history(self, ip: str) -> Ban | None:
        """Return the present or the last ban of ``ip``, while it is kept."""
        return self._bans.get(ban_key(ip))

    def ban(
        self,
        ip: str,
        now: float,
        shortest: float,
        longest: float,
        rule: str,
        reason: str = "",
        request: str = "",
    ) -> Ban:
        """Ban ``ip``. An existing ban is unchanged. Raises ValueError if ``ip`` is not an
        address.
        """
        key = ban_key(ip)
        if key < 0:
            raise ValueError(f"{ip!r} is no IP address")
        old = self._bans.get(key)
        if old is not None and old.until > now:
            return old
        times = 1
        if old is not None and now - old.until < longest:
            times = old.times + 1
        seconds = min(shortest * 2 ** min(times - 1, 60), longest)
        found = Ban(ip, now, now + seconds, times, rule, reason, request)
        self.put(found, longest)
        return found

    def put(self, ban: Ban, memory: float) -> None:
        """Add a ban unchanged. It is kept for ``memory`` seconds after its end."""
        key = ban_key(ban.ip)
        if key < 0:
            return
        self._bans[key] = ban
        self._memory[key] = memory
        heappush(self._ends, (ban.until + memory, key))
        if len(self._ends) > 2 * len(self._bans) + 64:
            self._ends = [(one.until + self._memory[key], key) for key, one in self._bans.items()]
            heapify(self._ends)
        while len(self._bans) > self._most:
            self._drop_first()

    def lift(self, ip: str) -> Ban | None:
        """End the ban of ``ip`` and delete its history. Return the ban, or None."""
        key = ban_key(ip)
        found = self._bans.pop(key, None)
        self._memory.pop(key, None)
        return found

    def sweep(self, now: float) -> None:
        """Drop expired records."""
        while self._ends and self._ends[0][0] <= now:
            self._drop_first()

    def held(self, now: float) -> Iterator[Ban]:
        """Yield the bans in force."""
        return (one for one in list(self._bans.values()) if one.until > now)

    def known(self) -> list[Ban]:
        """Return the last ban of each address with a history."""
        return list(self._bans.values())

    def _drop_first(self) -> None:
        ends, key = heappop(self._ends)
        found = self._bans.get(key)
        if found is not None and found.until + self._memory[key] == ends:
            del self._bans[key], self._memory[key]
