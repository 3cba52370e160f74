"""DATA. A backend in traffic: leases, the queue, and the life of the backend.

Its servers and features are in :mod:`lbproxy.proxy.members`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IProtocol

from lbproxy.balance.group import Claims
from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, ProxyError
from lbproxy.interfaces import PickContext
from lbproxy.net.endpoints import Dial
from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.guarding import each, guard
from lbproxy.proxy.http.connector import connector_of
from lbproxy.proxy.http.missingconnector import MakeConnector
from lbproxy.proxy.members import BackendMembers
from lbproxy.proxy.queue import Waiter
from lbproxy.proxy.servermoves import Moves
from lbproxy.sharing.contracts import Turn

__all__ = ["Backend", "MakeConnector", "Moves"]


class Backend(BackendMembers):
    """The choice of a server for traffic, the queue, and the life of the backend."""

    # -- leases ---------------------------------------------------------------------------------

    def acquire(
        self, waiter: Waiter, traffic: PickContext, tried: Sequence[ServerState]
    ) -> Lease | None:
        """Return a lease, or None if ``waiter`` has joined the queue, which calls it later.

        ``traffic`` and ``tried`` are those of the waiter. Raises :class:`ProxyError` QUEUE_FULL,
        CIRCUIT_OPEN, or NO_SERVER when no server is up and ``no_server`` is ``fail``.
        """
        group = self.group
        if self.maxconn and group.active + len(self.queue) >= self.maxconn:
            self.counters.circuit_open += 1
            raise ProxyError(Kind.CIRCUIT_OPEN, f"{group.active} active, {len(self.queue)} waiting")
        if self.retry_limit is not None and not tried:
            self.retry_limit.request(self.wheel.now())
        if self.terms.bound:
            lease = self._bound_lease(traffic, tried)
            if lease is not None:
                return lease
        queue = self.queue
        if not len(queue) and (queue.turn is None or not queue.others_wait):
            lease = self.pick(traffic, tried)
            if lease is None and tried:
                lease = self.pick(traffic)
            if lease is not None:
                return lease
        elif self.sticky is not None:  # its server may be one that the waiters cannot use
            lease = self.sticky.keep(traffic, tried)
            if lease is not None:
                return lease
        if not group.has_eligible and self.spec.no_server == "fail":
            self.counters.no_server += 1
            raise ProxyError(Kind.NO_SERVER, f"no server of {self.name} is up")
        try:
            self.queue.join(waiter)
        except ProxyError:
            self.counters.queue_full += 1
            raise
        self.counters.queued += 1
        return None

    def _bound_lease(self, traffic: Any, tried: Sequence[ServerState]) -> Lease | None:
        """Return a lease of the server that has authenticated this client connection, or None."""
        bound = traffic.info.bound
        server: ServerState | None = None if bound is None else bound.server(self.name)
        return None if server is None or server in tried else self.group.take(server)

    def acquire_at_once(self, traffic: PickContext, tried: Sequence[ServerState]) -> Lease | None:
        """Return a lease of a server not in ``tried`` if the queue is empty and ``maxconn`` allows
        it, else None.
        """
        queue = self.queue
        if len(queue) or (self.maxconn and self.group.active >= self.maxconn):
            return None
        if queue.turn is not None and queue.others_wait:
            return None
        return self.group.pick(traffic, tried)

    def turned_away(self, kind: Kind) -> None:
        """Count a waiter that the queue has refused."""
        if kind is Kind.QUEUE_TIMEOUT:
            self.counters.queue_timeouts += 1
        elif kind is Kind.QUEUE_FULL:  # replaced by a waiter of higher priority
            self.counters.queue_full += 1

    def has_other(self, tried: Sequence[ServerState]) -> bool:
        """Return whether a server that could be picked is not among ``tried``."""
        return any(server not in tried for server in self.group.listed)

    def serve_queue(self) -> None:
        """Give free places to waiters in order; wake the process with the earliest waiter if it is
        another one.
        """
        if self._serving:
            return
        turn = self.queue.turn
        if turn is not None and not self.group.has_free:
            return
        self._serving = True
        try:
            queue, pick = self.queue, self.pick
            while (waiter := queue.first()) is not None:
                if turn is not None and not queue.has_turn:
                    break
                traffic = waiter.traffic
                lease = pick(traffic, waiter.tried) or pick(traffic)
                if lease is None:
                    break
                queue.leave(waiter)
                waiter.leased(lease)
        finally:
            self._serving = False
        if turn is not None and self.group.has_free:
            turn.wake_first()

    def join(self, claims: Claims | None, turn: Turn | None) -> None:
        """Share the limits of servers and the order of the queue with other processes."""
        self.group.claims = claims
        self.queue.turn = turn

    # -- dialling -------------------------------------------------------------------------------

    def dial(
        self,
        server: ServerState,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        preamble: bytes = b"",
    ) -> Dial:
        """Connect to ``server``, trying its addresses in turn within ``timeout_connect``."""
        return dial_server(self.terms, server, protocol, failed, preamble)

    def start(self, processes: int = 1) -> None:
        """Start, initially and after each reload. ``processes``: number of processes that serve the
        same servers.
        """
        self.processes = processes
        each(self.features.values(), "start")

    def retire(self) -> None:
        """Accept no new traffic. Running and waiting traffic may finish; idle connections are
        closed.
        """
        each(self.features.values(), "retire")
        for server in self.group.servers.values():
            guard(connector_of(server).close)

    def close(self) -> None:
        """Refuse the waiters, then :meth:`retire`."""
        self.queue.refuse_all(ProxyError(Kind.SHUTDOWN))
        self.retire()
        each(self.features.values(), "close")
