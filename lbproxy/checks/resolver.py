"""CONTROL. Resolution of server names to addresses, at start and periodically.

:mod:`lbproxy.service` runs one :class:`Resolver` per backend. The data path dials only IP literals,
which this module provides. A look-up that fails or takes too long changes nothing: the last good
answer stays.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import define, evolve
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import ServerState
from lbproxy.config.model import Address
from lbproxy.guard.judge import AddressJudge, TargetRefused
from lbproxy.net.lookup import literal_addresses, look_up

__all__ = ["Resolver"]

_log = Logger()

DEADLINE = 5.0
"""Deadline of one look-up in seconds."""

CONCURRENT = 8
"""Maximum number of concurrent look-ups of one backend."""

_GUARD = "guard: "  # start of the note of a server whose addresses are refused
_FIRST_RETRY = 1.0  # pause after a failure; doubles up to the usual interval


@define(eq=False)
class _Name:
    """One server whose address is a name."""

    server: ServerState
    wanted: Address  # the name and its port
    call: Any = None  # the next look-up
    running: Deferred[Any] | None = None
    pause: float = _FIRST_RETRY
    failing: bool = False


class Resolver(Service):
    """Keeps the addresses of one backend's servers up to date.

    ``reactor``: IReactorTime and IReactorPluggableNameResolver. ``every``: seconds between look-ups
    of one name. ``slots`` bounds concurrent look-ups and may be shared. Call :meth:`sync` after
    servers were added or removed. Literals are set at once, in the constructor and in :meth:`sync`;
    names only while running. ``judge`` checks the addresses of names. If it refuses one address of
    an answer, the server gets none of them and is down.
    """

    def __init__(
        self,
        group: ServerGroup,
        reactor: Any,
        *,
        every: float = 30.0,
        deadline: float = DEADLINE,
        slots: DeferredSemaphore | None = None,
        judge: AddressJudge | None = None,
    ) -> None:
        self._group = group
        self._reactor = reactor
        self._every = every
        self._deadline = deadline
        self._judge = judge
        self._slots = slots if slots is not None else DeferredSemaphore(CONCURRENT)
        self._names: dict[ServerState, _Name] = {}
        self._named: dict[ServerState, Address | None] = {}  # the address, if it is a name
        self._learn()

    def startService(self) -> None:
        """Look up every name now, then periodically."""
        super().startService()
        self.sync()

    def stopService(self) -> None:
        """Stop at once. Addresses stay as they are."""
        super().stopService()
        for server in list(self._names):
            self._drop(server)

    def sync(self) -> None:
        """Update after changes of the group: resolve added servers, drop removed ones."""
        self._learn()
        if not self.running:
            return
        for server in list(self._names):
            if server not in self._named:
                self._drop(server)
        for server, wanted in list(self._named.items()):
            if wanted is not None and server not in self._names:
                name = self._names[server] = _Name(server, wanted)
                self._look(name)

    def _learn(self) -> None:
        """Register new servers. A literal is set as their address at once."""
        known, self._named = self._named, {}
        with self._group.changes():
            for server in self._group.servers.values():
                self._named[server] = known[server] if server in known else self._name_of(server)

    def _name_of(self, server: ServerState) -> Address | None:
        """Return the address of ``server`` if it is a name. Literals are set already, and an
        application has no address.
        """
        wanted = server.spec.target.address
        if wanted is None:
            return None
        literals = literal_addresses(wanted)
        if literals is not None and server.addresses != literals:
            self._group.set_addresses(server, literals)
        return wanted if literals is None else None

    def _drop(self, server: ServerState) -> None:
        name = self._names.pop(server)
        if name.call is not None:
            name.call.cancel()
            name.call = None
        running, name.running = name.running, None
        if running is not None:
            running.cancel()

    # -- one look-up ----------------------------------------------------------------------------

    def _look(self, name: _Name) -> None:
        name.call = None
        running = self._slots.run(self._timed, name.wanted.host)
        name.running = running
        running.addCallbacks(partial(self._answered, name), partial(self._failed, name))
        running.addErrback(partial(self._broken, name))

    def _timed(self, host: str) -> Deferred[list[str]]:
        return look_up(self._reactor, host).addTimeout(self._deadline, self._reactor)

    def _answered(self, name: _Name, hosts: list[str]) -> None:
        if self._names.get(name.server) is not name:
            return
        if not hosts:
            self._no_answer(name, "no address")
            return
        if self._judge is not None and not self._judged(self._judge, name, hosts):
            return
        name.running = None
        name.pause = _FIRST_RETRY
        name.failing = False
        self._set(name.server, name.wanted, hosts)
        self._again(name, self._every)

    def _judged(self, judge: AddressJudge, name: _Name, hosts: list[str]) -> bool:
        """Return whether all addresses are allowed. If not, the server loses its present ones."""
        server, note = name.server, ""
        try:
            judge.check(hosts, name.wanted.port)
        except TargetRefused as error:
            note = f"{_GUARD}{name.wanted.host}: {error}"
        if note or server.health_note.startswith(_GUARD):
            self._group.set_health(server, server.healthy, note)
        if not note:
            return True
        if server.addresses:
            self._group.set_addresses(server, ())
        self._no_answer(name, note)
        return False

    def _failed(self, name: _Name, failure: Failure) -> None:
        if self._names.get(name.server) is name and not failure.check(CancelledError):
            late = failure.check(TimeoutError) is not None
            reason = f"no answer in {self._deadline:g} s" if late else failure.getErrorMessage()
            self._no_answer(name, reason)

    def _broken(self, name: _Name, failure: Failure) -> None:
        """Log an exception of an observer of addresses; look-ups continue."""
        _log.failure("resolving {host} failed", failure, host=name.wanted.host)
        if self._names.get(name.server) is name:
            self._again(name, self._every)

    def _no_answer(self, name: _Name, reason: str) -> None:
        server = name.server
        if not name.failing:
            name.failing = True
            _log.warn(
                "server {backend}/{server}: cannot resolve {host}: {reason}; {kept}",
                backend=server.backend,
                server=server.name,
                host=name.wanted.host,
                reason=reason,
                kept=f"keeping {_words(server.addresses)}"
                if server.addresses
                else "the server is down",
            )
        self._again(name, min(name.pause, self._every))
        name.pause = min(name.pause * 2, self._every)

    def _again(self, name: _Name, delay: float) -> None:
        name.running = None
        name.call = self._reactor.callLater(delay, self._look, name)

    def _set(self, server: ServerState, wanted: Address, hosts: list[str]) -> None:
        """Set new addresses, unless they are the old ones in another order (resolvers rotate
        them).
        """
        addresses = tuple(evolve(wanted, host=host) for host in hosts)
        if set(addresses) == set(server.addresses):
            return
        _log.info(
            "server {backend}/{server}: {host} is {addresses}",
            backend=server.backend,
            server=server.name,
            host=wanted.host,
            addresses=_words(addresses),
        )
        self._group.set_addresses(server, addresses)


def _words(addresses: tuple[Address, ...]) -> str:
    return ", ".join(address.host for address in addresses)
