"""PURE. The servers of a backend as they change: their list, properties and callbacks.

:mod:`lbproxy.balance.group` extends it with the choice of a server, and has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from lbproxy.balance.base import Balancer
from lbproxy.balance.ramp import effective_weight
from lbproxy.balance.server import AdminState, ServerState, State
from lbproxy.balance.tiers import choose, peers
from lbproxy.model import Address

__all__ = ["Membership", "StateCallback"]

StateCallback = Callable[[ServerState, State, State], None]


class Membership:
    """The servers of a backend, in configuration order, and the callbacks for their changes.

    ``now``: clock in seconds, read for :attr:`ServerState.since`. ``panic``: minimum share of a
    tier that must be up; below it, health is ignored; 0 disables this. ``servers`` (by name),
    ``listed``, ``free`` and ``panicking`` are read-only for others. ``balancer_errors`` counts
    exceptions and invalid picks of the balancer.

    Independent of one another: ``panicking``, whether weights have changed since the last list
    (``_reweighed``), whether some are multiplied (``_scaled``), and whether the balancer has failed
    to take the list (``_uninformed``).
    """

    def __init__(self, balancer: Balancer, now: Callable[[], float], *, panic: float = 0.0) -> None:
        self.servers: dict[str, ServerState] = {}
        self.listed: tuple[ServerState, ...] = ()
        self.free = 0
        self.panic = panic
        self.panicking = False
        self.balancer_errors = 0
        self._uninformed = False  # the balancer raised an error when it received the list
        self._now = now
        self._batch = 0
        self._pending: list[tuple[ServerState, State, State]] = []
        self._reweighed = False
        self._scaled = False  # weights are multiplied because at least one server has a share
        self._state_callbacks: list[StateCallback] = []
        self._error_callbacks: list[Callable[[BaseException], None]] = []
        self._free_callbacks: list[Callable[[], None]] = []
        self._address_callbacks: list[Callable[[ServerState], None]] = []
        self._change_callbacks: list[Callable[[], None]] = []
        self.balancer = balancer

    # -- the list -------------------------------------------------------------------------------

    def add(self, server: ServerState) -> None:
        """Append a server. Raises ValueError if the name is taken."""
        if server.name in self.servers:
            raise ValueError(f"backend {server.backend} already has a server {server.name}")
        server.private = None
        server.since = self._now()
        server.weight = self._effective(server)
        self.servers[server.name] = server
        if server.candidate:
            self._refresh()

    def remove(self, name: str) -> ServerState:
        """Remove a server and return it. Raises KeyError if it does not exist.

        Its leases stay valid and count down ``active`` of the returned object.
        """
        server = self.servers.pop(name)
        if server.listed or (self.panic and server.candidate):
            self._refresh()
        server.private = None
        return server

    def reorder(self, names: Iterable[str]) -> None:
        """Move the named servers to the front, in this order. The others keep their order."""
        old = self.servers
        self.servers = {name: old[name] for name in names if name in old}
        for name, server in old.items():
            self.servers.setdefault(name, server)
        self._refresh()

    @contextmanager
    def changes(self) -> Iterator[None]:
        """Group several changes: the balancer and the state callbacks are called once, at the end.

        Do not pick inside. Adding ten thousand servers one by one without it takes quadratic time.
        """
        self._batch += 1
        try:
            yield
        finally:
            self._batch -= 1
            self._refresh()

    # -- properties of servers ------------------------------------------------------------------

    def set_weight(self, name: str, weight: int) -> None:
        """Set the weight of a server; 0 stops new traffic. Raises KeyError or ValueError."""
        if weight < 0:
            raise ValueError(f"weight {weight} is negative")
        server = self.servers[name]
        if weight != server.full_weight:
            server.full_weight = weight
            server.weight = self._effective(server)
            self._reweighed |= server.listed
            self._refresh()

    def set_shares(self, shares: Mapping[ServerState, float]) -> None:
        """Set the part of its weight that each of these servers has, above 0 and at most 1.

        Other servers are unchanged. O(servers). Removed servers are ignored.
        """
        for server, share in shares.items():
            server.share = share
        self._reweigh()

    def set_agent_share(self, server: ServerState, share: float) -> None:
        """Set the part of its weight that a server's agent requests.

        0 stops new traffic, 1 is the full weight, and larger values are allowed. A removed server
        is ignored.
        """
        if share != server.agent_share:
            server.agent_share = share
            self._reweigh()

    def _effective(self, server: ServerState) -> int:
        if not server.agent_share:
            return 0
        share = server.share * server.agent_share
        return effective_weight(server.full_weight, share, self._scaled)

    def _reweigh(self) -> None:
        everyone = self.servers.values()
        self._scaled = any(server.share * server.agent_share != 1.0 for server in everyone)
        for server in everyone:
            weight = self._effective(server)
            if weight != server.weight:
                server.weight = weight
                self._reweighed |= server.listed
        self._refresh()

    def set_maxconn(self, name: str, maxconn: int) -> None:
        """Set the limit of concurrent leases, 0 for none. Raises KeyError or ValueError.

        Leases above the limit continue. The balancer is notified if the server becomes full, or is
        no longer full.
        """
        if maxconn < 0:
            raise ValueError(f"maxconn {maxconn} is negative")
        server = self.servers[name]
        was_full = server.full
        server.maxconn = maxconn
        if server.full != was_full and server.listed:
            self._reweighed = True
            self._refresh()

    def set_admin(self, name: str, admin: AdminState) -> None:
        """Set the state that the operator wants. Raises KeyError."""
        server = self.servers[name]
        old = server.state
        server.admin = admin
        self._moved(server, old)

    def set_health(self, server: ServerState, healthy: bool, note: str = "") -> None:
        """Set the verdict of the health checks, with a reason for people.

        A removed server is ignored, because a check can end after its server was removed.
        """
        old = server.state
        server.healthy = healthy
        server.health_note = note
        self._moved(server, old)

    def may_eject(self, server: ServerState, share: float) -> bool:
        """Return whether at most ``share`` of the tier would be unusable without ``server``.

        O(servers).
        """
        if self.servers.get(server.name) is not server:
            return False
        tier = peers(server, self.servers.values())
        out = sum(not one.eligible for one in tier if one is not server)
        return server.candidate and out + 1 <= share * len(tier)

    def set_ejected(self, server: ServerState, ejected: bool, note: str = "") -> None:
        """Set the verdict of passive health, with a reason for people.

        A removed server is ignored.
        """
        old = server.state
        server.ejected = ejected
        server.ejected_note = note
        self._moved(server, old)

    def set_agent(self, server: ServerState, agent: State, note: str = "") -> None:
        """Set the state that a server's agent requests, with a reason for people.

        UP means no request. A removed server is ignored.
        """
        old = server.state
        server.agent = agent
        server.agent_note = note
        self._moved(server, old)

    def set_leaving(self, server: ServerState, leaving: bool) -> None:
        """Set whether a server's check reports that it accepts no new work.

        A removed server is ignored.
        """
        old = server.state
        server.leaving = leaving
        self._moved(server, old)

    def set_addresses(self, server: ServerState, addresses: tuple[Address, ...]) -> None:
        """Set the addresses to dial.

        A server without addresses is down. A removed server is ignored.
        """
        old = server.state
        server.addresses = addresses
        self._moved(server, old)
        if self.panic:
            self._refresh()
        self._addresses_changed(server)

    def set_unusable(self, server: ServerState, unusable: frozenset[str]) -> None:
        """Set which addresses of a server fail their checks while others pass."""
        if unusable != server.unusable:
            server.unusable = unusable
            self._addresses_changed(server)

    def _addresses_changed(self, server: ServerState) -> None:
        for callback in self._address_callbacks:
            callback(server)

    def set_balancer(self, balancer: Balancer) -> None:
        """Replace the balancer. Leases picked by the old one are released to the new one."""
        for server in self.servers.values():
            server.private = None
        self.balancer = balancer
        self._tell()

    # -- callbacks ------------------------------------------------------------------------------

    def on_state(self, callback: StateCallback) -> None:
        """Call ``callback(server, old, new)`` after each change of a server's state."""
        self._state_callbacks.append(callback)

    def on_error(self, callback: Callable[[BaseException], None]) -> None:
        """Call ``callback(error)`` when the balancer fails. The callback must limit its own
        rate.
        """
        self._error_callbacks.append(callback)

    def on_addresses(self, callback: Callable[[ServerState], None]) -> None:
        """Call ``callback(server)`` after each change of the addresses to dial."""
        self._address_callbacks.append(callback)

    def on_free(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when ``free`` has grown, so that a waiting request may try again."""
        self._free_callbacks.append(callback)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when ``listed`` or a weight has changed."""
        self._change_callbacks.append(callback)

    # -- after a change -------------------------------------------------------------------------

    def failed(self, error: BaseException) -> None:
        """Count and report an exception of a balancer or of code that assists it, as a balancer
        error.
        """
        self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self.balancer_errors += 1
        for callback in self._error_callbacks:
            callback(error)

    def _moved(self, server: ServerState, old: State) -> None:
        new = server.state
        if new is old:
            return
        server.since = self._now()
        self._pending.append((server, old, new))
        self._refresh()

    def _refresh(self) -> None:
        """Update ``listed``, and notify the balancer and the callbacks. O(servers)."""
        if self._batch:
            return
        listed, self.panicking = choose(self.servers.values(), self.panic)
        if listed != self.listed or self._reweighed:
            for server in self.listed:
                server.listed = False
            for server in listed:
                server.listed = True
            self.listed = listed
            self._tell()
        pending, self._pending = self._pending, []
        for server, old, new in pending:
            for callback in self._state_callbacks:
                callback(server, old, new)

    def _tell(self) -> None:
        self._reweighed = False
        before = self.free
        self.free = sum(not server.full for server in self.listed)
        try:
            self.balancer.servers_changed(self.listed)
            self._uninformed = False
        except BaseException as error:
            self._uninformed = True
            self._failed(error)
        if self.free > before:
            for callback in self._free_callbacks:
                callback()
        for changed in self._change_callbacks:
            changed()
