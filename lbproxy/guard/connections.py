"""PURE. Counts client connections against ``maxconn`` and ``maxconn_per_ip``, with one object per
frontend and one for the process.
"""

from __future__ import annotations

from typing import Protocol

from lbproxy.guard.idle import SHARE, AddressCounts, IdleClient, IdleClients

__all__ = ["ConnectionLimits", "ConnectionTotal", "Peers"]

_NO_LIMIT = 1 << 62


class ConnectionTotal:
    """The connections of the whole process.

    ``maxconn`` 0 means no limit; it may be changed at any time. ``frontends``: the limits of the
    frontends that have connections.
    """

    __slots__ = ("active", "frontends", "maxconn")

    def __init__(self, maxconn: int = 0) -> None:
        self.maxconn = maxconn
        self.active = 0
        self.frontends: dict[ConnectionLimits, None] = {}

    def make_room(self) -> bool:
        """Evict the first connection of the process in the order of eviction. Return False if none
        can be evicted.
        """
        return _evict_first(list(self.frontends))


class Peers(Protocol):
    """The other processes that accept connections for the same frontend."""

    def take(self, ip: str, room: int) -> bool:
        """Count one more connection from ``ip`` at the peers if they have fewer than ``room``.
        Return whether it was counted.
        """

    def give_back(self, ip: str) -> None:
        """Report to the peers that one of the counted connections has ended."""


class ConnectionLimits(AddressCounts):
    """The client connections of one frontend. Every operation is O(1).

    Each connection is counted once with :meth:`try_take` and, if that returned None, given back
    once. The limits are plain attributes: a reload changes them and keeps the counts. Connections
    over a lowered limit continue. An address without connections uses no memory.

    ``idle``: the connections that may be closed to make room for others.
    """

    __slots__ = (
        "_peers",
        "_per_ip",
        "active",
        "idle",
        "maxconn",
        "maxconn_per_ip",
        "refused",
        "total",
    )

    def __init__(
        self, maxconn: int = 0, maxconn_per_ip: int = 0, total: ConnectionTotal | None = None
    ) -> None:
        self.maxconn = maxconn
        self.maxconn_per_ip = maxconn_per_ip
        self.total = total if total is not None else ConnectionTotal()
        self.active = 0
        self.refused = 0
        self.idle = IdleClients()
        self._per_ip: dict[str, int] = {}
        self._peers: Peers | None = None

    def join(self, peers: Peers) -> None:
        """Apply ``maxconn_per_ip`` to this frontend and its peers together from now on.

        Call it once.
        """
        assert self._peers is None
        self._peers = peers
        for ip, count in self._per_ip.items():
            for _ in range(count if ip else 0):
                peers.take(ip, _NO_LIMIT)

    @property
    def joined(self) -> bool:
        """True if the frontend has peers."""
        return self._peers is not None

    def try_take(self, ip: str) -> str | None:
        """Count one more connection from ``ip``.

        Return None, or the limit that refuses it, as text for the log.

        Clients without an address ("", Unix sockets) are not limited per address.
        """
        total = self.total
        per_ip = self._per_ip
        count = per_ip.get(ip, 0)
        reason = None
        # evict only for connections that are not refused for another reason
        if 0 < total.maxconn <= total.active and not (self._may_add(count) and self.make_room()):
            reason = f"maxconn {total.maxconn} of lbproxy"
        elif 0 < self.maxconn <= self.active and not (self._may_add(count) and self.make_room()):
            reason = f"maxconn {self.maxconn} of the frontend"
        elif 0 < self.maxconn_per_ip <= count and ip:
            reason = f"maxconn_per_ip {self.maxconn_per_ip}"
        elif (
            self._peers is not None
            and ip
            and not self._peers.take(ip, (self.maxconn_per_ip or _NO_LIMIT) - count)
        ):
            reason = f"maxconn_per_ip {self.maxconn_per_ip} of all workers"
        if reason is not None:
            self.refused += 1
            return reason
        total.active += 1
        self.active += 1
        if self.active == 1:
            total.frontends[self] = None
        per_ip[ip] = per_ip.get(ip, 0) + 1  # the eviction may have changed it
        return None

    def _may_add(self, count: int) -> bool:
        """Return whether ``maxconn_per_ip`` allows one more connection from an address with
        ``count``.
        """
        return not 0 < self.maxconn_per_ip <= count

    def make_room(self) -> bool:
        """Evict the first connection of this frontend in the order of eviction. Return False if
        none can be evicted.
        """
        if 0 < self.maxconn <= self.active:
            return _evict_first([self])
        return self.total.make_room()

    def has_too_many(self, ip: str) -> bool:
        """See :class:`AddressCounts`. The limit is the frontend's ``maxconn``, or the process's if
        the frontend has none.
        """
        limit = self.maxconn or self.total.maxconn
        return bool(ip) and self._per_ip.get(ip, 0) * SHARE > limit > 0

    def give_back(self, ip: str) -> None:
        """Remove a connection from ``ip`` from the count.

        Raises KeyError if none is counted, which is a bug in the caller.
        """
        count = self._per_ip[ip]
        if count == 1:
            del self._per_ip[ip]
        else:
            self._per_ip[ip] = count - 1
        if self._peers is not None and ip:
            self._peers.give_back(ip)
        self.active -= 1
        self.total.active -= 1
        if not self.active:
            self.total.frontends.pop(self, None)

    def from_address(self, ip: str) -> int:
        """Return the number of connections counted for ``ip``."""
        return self._per_ip.get(ip, 0)

    @property
    def addresses(self) -> int:
        """Return the number of different addresses with connections."""
        return len(self._per_ip)


def _evict_first(candidates: list[ConnectionLimits]) -> bool:
    """Evict the oldest connection of the first line that is not empty. Return False if all are
    empty.
    """
    for number in range(4):
        found: IdleClient | None = None
        for limits in candidates:
            client = limits.idle.first(number, limits)
            if client is not None and (found is None or client.waits_since() < found.waits_since()):
                found = client
        if found is not None:
            found.evict(number % 2 == 1)
            return True
    return False
