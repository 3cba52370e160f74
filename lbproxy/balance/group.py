"""PURE. The servers of one backend: which are eligible, and which one is picked.

:class:`ServerGroup` is what backends, health checks, discovery and the admin API call. It is the
only writer of the weight, limits, states, addresses and lease count of a
:class:`~lbproxy.balance.server.ServerState`; its callers write the traffic counters. The rules:

1. A server is *eligible* if its weight is positive, no operator has set it to drain or maint, it is
   healthy and not ejected, and it has an address.
2. The *listed* servers are the eligible ones of the active tier (:mod:`lbproxy.balance.tiers`). In
   panic mode they include those that are not eligible. The balancer knows exactly the listed
   servers.
3. ``free`` counts the listed servers that are not full, so a pick that cannot succeed costs
   nothing.
4. A balancer that raises, or returns a server it was not offered, is counted, and the first usable
   server is picked instead. A defect in a balancer costs evenness, never availability.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from lbproxy.balance.base import Balancer
from lbproxy.balance.lease import Lease
from lbproxy.balance.membership import Membership
from lbproxy.balance.server import ServerState
from lbproxy.errors import Outcome
from lbproxy.interfaces import PickContext

__all__ = ["Claims", "ServerGroup"]


class Claims(Protocol):
    """The part of a ``maxconn`` that several processes enforce together."""

    def claim(self, group: ServerGroup, server: ServerState) -> bool:
        """Claim one more lease.

        Return False if other processes hold the last ones; ``group`` has then been updated.
        """

    def given_back(self, server: ServerState) -> None:
        """Return one claim. ``server.active`` no longer includes it."""


class ServerGroup(Membership):
    """The servers of a backend, and the choice of one of them.

    ``active``: leases held. ``claims``: set in worker processes.
    """

    def __init__(self, balancer: Balancer, now: Callable[[], float], *, panic: float = 0.0) -> None:
        super().__init__(balancer, now, panic=panic)
        self.active = 0
        self.claims: Claims | None = None
        self._back = self._give_back

    # -- the hot path ---------------------------------------------------------------------------

    @property
    def has_eligible(self) -> bool:
        """True if a server could be picked if none were full."""
        return bool(self.listed)

    @property
    def eligible_count(self) -> int:
        """Number of servers that could be picked if none were full."""
        return len(self.listed)

    def only(self, server: ServerState) -> bool:
        """Return whether ``server`` is the only one that could be picked."""
        return len(self.listed) == 1 and server.listed

    @property
    def has_free(self) -> bool:
        """True if a server can be picked. A pick without servers to avoid then succeeds."""
        return self.free > 0

    def pick(self, context: PickContext, avoid: Collection[ServerState] = ()) -> Lease | None:
        """Return a lease of a server that is listed, not full and not in ``avoid``; None if none
        exists.
        """
        if not self.free:
            return None
        try:
            server = self.balancer.pick(context, avoid)
            if server is None:
                server = self._first_usable(avoid) if self._uninformed else None
                if server is None:
                    return None
            active = server.active
            if not server.listed or 0 < server.maxconn <= active or (avoid and server in avoid):
                raise ValueError(f"the balancer picked {server!r}, which it was not offered")
        except BaseException as error:
            self._failed(error)
            server = self._first_usable(avoid)
            if server is None:
                return None
            active = server.active
        claims = self.claims
        if claims is not None and server.maxconn and not claims.claim(self, server):
            return self.pick(context, avoid)  # full in the meantime
        active += 1
        server.active = active
        self.active += 1
        if active == server.maxconn:
            self.free -= 1
        try:
            self.balancer.taken(server)
        except BaseException as error:
            self._failed(error)
        return Lease(server, self._back)

    def take(self, server: ServerState) -> Lease | None:
        """Return a lease of the server that a sticky session belongs to.

        Return None if the server is full or does not accept sticky sessions. The balancer is
        notified, but does not choose.
        """
        most = server.maxconn
        if 0 < most <= server.active or self.servers.get(server.spec.name) is not server:
            return None
        if not server.honours:
            return None
        claims = self.claims
        if claims is not None and server.maxconn and not claims.claim(self, server):
            return None
        server.active += 1
        self.active += 1
        if server.listed and server.active == server.maxconn:
            self.free -= 1
        try:
            self.balancer.taken(server)
        except BaseException as error:
            self._failed(error)
        return Lease(server, self._back)

    def _give_back(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        active = server.active
        server.active = active - 1
        self.active -= 1
        if self.claims is not None and server.maxconn:
            self.claims.given_back(server)
        freed = active == server.maxconn and server.listed
        if freed:
            self.free += 1
        try:
            self.balancer.released(server, outcome, seconds)
        except BaseException as error:
            self._failed(error)
        if freed:
            for callback in self._free_callbacks:
                callback()

    def set_remote_active(self, server: ServerState, count: int) -> None:
        """Set the number of leases that other processes hold; balancers count them like
        local ones.
        """
        delta = count - server.remote_active
        if not delta:
            return
        was_full = server.full
        server.remote_active = count
        step = 1 if delta > 0 else -1
        for _ in range(abs(delta)):
            server.active += step
            try:
                if step > 0:
                    self.balancer.taken(server)
                else:
                    self.balancer.released(server, Outcome.NEUTRAL, -1.0)
            except BaseException as error:
                self._failed(error)
        if server.listed and server.full is not was_full:
            self.free += 1 if was_full else -1
            if was_full:
                for callback in self._free_callbacks:
                    callback()

    # maintenance of the list

    def _first_usable(self, avoid: Collection[ServerState]) -> ServerState | None:
        for server in self.listed:
            if not server.full and server not in avoid:
                return server
        return None
