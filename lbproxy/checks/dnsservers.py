"""CONTROL. ``discover``: all addresses of a DNS name become servers of a backend.

:class:`DNSServers` is the feature, :class:`LookUps` the service that looks names up. Workers get
the servers from the master. The rules:

1. An address keeps its server, with name, counters and state, as long as answers contain it.
2. A new address takes the first free name of its line. Without a free name it is not used, which is
   logged once.
3. A server whose address is gone is removed: it gets no new traffic, and its sessions continue.
4. A look-up that fails, takes longer than :data:`DEADLINE` or finds nothing changes nothing.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.balance.server import ServerState
from lbproxy.config.errors import ConfigErrors
from lbproxy.model import ServerSpec, TemplateSpec
from lbproxy.net.lookup import look_up
from lbproxy.proxy.feature import Feature, Given

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["ORIGIN", "DNSServers", "LookUps"]

_log = Logger()

ORIGIN: Final = "discovery:dns"
"""Origin of the discovered servers (:class:`lbproxy.balance.server.ServerState`)."""

DEADLINE = 5.0
"""Deadline of one look-up in seconds."""

_FIRST_RETRY = 1.0  # pause after a failure; doubles up to the usual interval


@define(eq=False)
class _Name:
    """The look-ups of one line."""

    spec: TemplateSpec
    call: Any = None  # the next look-up
    running: Deferred[Any] | None = None
    pause: float = _FIRST_RETRY
    failing: bool = False


class LookUps(Service):
    """Looks the names of ``specs`` up, at once and then every ``every`` seconds.

    ``found(spec, hosts)`` is called with each answer that has addresses. Call :meth:`sync` after a
    change of ``specs`` or ``every``.
    """

    def __init__(
        self, backend: str, reactor: Any, found: Callable[[TemplateSpec, list[str]], None]
    ) -> None:
        self.specs: tuple[TemplateSpec, ...] = ()
        self.every = 30.0
        self._backend = backend
        self._reactor = reactor
        self._found = found
        self._names: dict[str, _Name] = {}

    def startService(self) -> None:
        """See IService."""
        super().startService()
        self.sync()

    def stopService(self) -> None:
        """Stop at once. Servers stay."""
        super().stopService()
        for text in list(self._names):
            self._drop(text)

    def sync(self) -> None:
        """Update after a change of ``specs``. A changed line is looked up at once."""
        if not self.running:
            return
        wanted = {spec.text: spec for spec in self.specs}
        for text, name in list(self._names.items()):
            if wanted.get(text) != name.spec:
                self._drop(text)
        for text, spec in wanted.items():
            if text not in self._names:
                name = self._names[text] = _Name(spec)
                self._look(name)

    def _drop(self, text: str) -> None:
        name = self._names.pop(text)
        if name.call is not None:
            name.call.cancel()
        running, name.running = name.running, None
        if running is not None:
            running.cancel()

    def _look(self, name: _Name) -> None:
        name.call = None
        running = look_up(self._reactor, name.spec.address.host)
        running.addTimeout(DEADLINE, self._reactor)
        name.running = running
        running.addCallbacks(partial(self._answered, name), partial(self._failed, name))
        running.addErrback(partial(self._broken, name))

    def _answered(self, name: _Name, hosts: list[str]) -> None:
        if self._names.get(name.spec.text) is not name:
            return
        if not hosts:
            self._no_answer(name, "no address")
            return
        name.pause = _FIRST_RETRY
        name.failing = False
        self._found(name.spec, hosts)
        self._again(name, self.every)

    def _failed(self, name: _Name, failure: Failure) -> None:
        if self._names.get(name.spec.text) is name and not failure.check(CancelledError):
            late = failure.check(TimeoutError) is not None
            reason = f"no answer in {DEADLINE:g} s" if late else failure.getErrorMessage()
            self._no_answer(name, reason)

    def _broken(self, name: _Name, failure: Failure) -> None:
        """Log an exception of the code that processes an answer; look-ups continue."""
        _log.failure("resolving {host} failed", failure, host=name.spec.address.host)
        if self._names.get(name.spec.text) is name:
            self._again(name, self.every)

    def _no_answer(self, name: _Name, reason: str) -> None:
        if not name.failing:
            name.failing = True
            _log.warn(
                "backend {backend}: cannot resolve {host}: {reason}; its servers stay",
                backend=self._backend,
                host=name.spec.address.host,
                reason=reason,
            )
        self._again(name, min(name.pause, self.every))
        name.pause = min(name.pause * 2, self.every)

    def _again(self, name: _Name, delay: float) -> None:
        name.running = None
        name.call = self._reactor.callLater(delay, self._look, name)


class DNSServers(Feature["Backend"]):
    """The feature for discovered servers. ``discover``: the lines; see the module."""

    name = "discover"
    keys = ("discover",)

    def __init__(self, given: Given) -> None:
        self._given = given
        self._owner: Backend
        self._full: set[str] = set()  # lines with fewer names than addresses
        # lines whose certificates may have changed since the last look-up
        self._stale: set[str] = set()

    @classmethod
    def prepare(cls, spec: Any, old: DNSServers | None, given: Given) -> DNSServers | None:
        """See :class:`Feature`."""
        if not spec.discover:
            return None
        return old if old is not None else cls(given)

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self._lookups = LookUps(owner.name, self._given.env.reactor, self._found)
        self.refit(owner)

    def refit(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        names = {name for spec in owner.spec.discover for name in spec.names}
        self._remove(server for server in self._mine() if server.name not in names)
        self._stale = {spec.text for spec in owner.spec.discover if spec.server.tls}
        self._lookups.specs = owner.spec.discover
        self._lookups.every = owner.spec.resolve_every
        self._lookups.sync()

    def detach(self) -> None:
        """See :class:`Feature`."""
        self._remove(self._mine())

    def services(self) -> Iterable[Service]:
        """See :class:`Feature`."""
        return (self._lookups,)

    def _mine(self) -> list[ServerState]:
        return [one for one in self._owner.group.servers.values() if one.origin == ORIGIN]

    def _remove(self, servers: Iterable[ServerState]) -> None:
        with self._owner.group.changes():
            for server in list(servers):
                self._owner.remove(server.name)

    # -- an answer ------------------------------------------------------------------------------

    def _found(self, spec: TemplateSpec, hosts: list[str]) -> None:
        """Add and remove servers of ``spec``, so that they match ``hosts``."""
        owner = self._owner
        names = set(spec.names)
        present = {_host(one): one for one in self._mine() if one.name in names}
        wanted = {
            host: spec.server_at(server.name, host)
            for host, server in present.items()
            if host in hosts
        }
        stays = {
            one: wanted[host]
            for host, one in present.items()
            if host in wanted and one.spec.target == wanted[host].target
        }
        stale = spec.text in self._stale
        self._stale.discard(spec.text)
        changed = {one: line for one, line in stays.items() if stale or one.spec != line}
        gone = [one for one in present.values() if one not in stays]
        taken = owner.group.servers.keys() - {one.name for one in gone}
        taken |= {one.name for one in wanted.values()}
        free = [name for name in spec.names if name not in taken]
        fresh = sorted(host for host in hosts if host not in wanted)
        wanted.update(zip(fresh, map(spec.server_at, free, fresh), strict=False))
        kept = {one.name for one in stays}
        new = [one for one in wanted.values() if one.name not in kept]
        self._note_full(spec, len(fresh) - len(free))
        if gone or new or changed:
            self._change(gone, changed, new)

    def _change(
        self,
        gone: list[ServerState],
        changed: Mapping[ServerState, ServerSpec],
        new: list[ServerSpec],
    ) -> None:
        owner = self._owner
        with owner.group.changes():
            self._remove(gone)
            for server, spec in changed.items():
                self._try(spec, partial(owner.change, server, spec))
            for spec in new:
                self._try(spec, partial(owner.add, spec, ORIGIN))
        owner.sync()
        if gone or new:
            _log.info(
                "backend {backend}: {new} servers found, {gone} gone",
                backend=owner.name,
                new=len(new),
                gone=len({one.name for one in gone} - {one.name for one in new}),
            )

    @staticmethod
    def _try(spec: ServerSpec, change: Callable[[], Any]) -> None:
        try:
            change()
        except (ConfigErrors, ValueError) as error:
            _log.warn("server {name}: {error}", name=spec.name, error=error)

    def _note_full(self, spec: TemplateSpec, lacking: int) -> None:
        if lacking <= 0:
            self._full.discard(spec.text)
        elif spec.text not in self._full:
            self._full.add(spec.text)
            _log.warn(
                "backend {backend}: {host} has {count} more addresses than {names} has names",
                backend=self._owner.name,
                host=spec.address.host,
                count=lacking,
                names=spec.text,
            )


def _host(server: ServerState) -> str:
    address = server.spec.target.address
    return "" if address is None else address.host
