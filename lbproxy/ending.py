"""The end of a load balancer: it stops, or another process takes over from it.

:class:`Ending` is a base class of :class:`lbproxy.service.LoadBalancer`. The upgrade in place
(:mod:`lbproxy.process.upgrade`) uses its methods in both processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lbproxy.admin.server import Admin
from lbproxy.config.changes import Changes
from lbproxy.config.model import Address
from lbproxy.errors import Kind, ListenError
from lbproxy.generation.generation import Ground
from lbproxy.generation.listening import unbind
from lbproxy.generation.reload import Reloader
from lbproxy.net.endpoints import Network
from lbproxy.net.inherited import Inherited
from lbproxy.observe.events import Events
from lbproxy.operate.journal import KeptJournal
from lbproxy.process import replication
from lbproxy.process.remainder import Kept
from lbproxy.runtime import Runtime
from lbproxy.sharing.local import LocalReplicated

__all__ = ["Ending"]

_IDLE_GRACE = 5.0  # seconds within which an idle client may send one more request after an upgrade

_log = Logger()


class Ending(Runtime):
    """See the module.

    - ``stopping``: :meth:`stopService` has been called and has not ended.
    - ``handed_over``: another process serves.
    """

    reactor: Any
    network: Network
    events: Events
    admin: Admin | None
    stopping: bool
    handed_over: bool
    _ground: Ground
    _hurried: bool
    _journal: KeptJournal | None
    _reloader: Reloader

    # -- stop -----------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let running work finish for ``timeout_shutdown``, then abort it.

        The Deferred fires when everything is closed.
        """
        self.stopping = True
        closing = unbind(self.listeners)
        patient = self.handed_over
        for frontend in self.frontends.values():
            frontend.stop(idle=not patient)
        if not patient:
            for backend in self.backends.values():
                backend.close()
        return Deferred.fromCoroutine(self._finish(closing, patient))

    async def _finish(self, closing: list[Deferred[Any]], patient: bool) -> None:
        """Close everything; an error in one object does not affect the others."""
        left = await self._sessions_end(patient)
        if left:
            _log.warn("{left} sessions cut off at shutdown", left=left)
        try:
            if self.handed_over:
                for backend in self.backends.values():
                    backend.close()
            self._cut()
            self._reloader.finish()
        finally:
            finishing = [*closing, maybeDeferred(super().stopService)]
            await DeferredList(finishing, consumeErrors=True)
            try:
                self._cut()
            finally:
                for sink in self.generation.sinks.values():
                    sink.stop()
                self.stopping = False

    def hurry(self) -> None:
        """Abort the remaining sessions, if lbproxy is stopping."""
        self._hurried = True

    async def _sessions_end(self, patient: bool) -> int:
        """Wait for sessions to end. Return the number that remains after their time.

        ``patient``: idle clients are not closed at once.
        """
        limit = self.config.settings.timeout_shutdown
        now = self.network.wheel.now
        deadline = now() + limit
        idle_until = now() + min(_IDLE_GRACE, limit / 2)
        while True:
            if patient and now() >= idle_until:
                patient = False
                for frontend in self.frontends.values():
                    frontend.stop()
            left = self.generation.sessions()
            left += sum(one.sessions for one in self._reloader.leaving)
            if not left or self._hurried or now() >= deadline:
                return left
            await deferLater(self.reactor, 0.05)

    def _cut(self) -> None:
        for frontend in self.frontends.values():
            frontend.abort()
        for backend in self.backends.values():
            for server in backend.group.servers.values():
                backend.kill_sessions(server, Kind.SHUTDOWN)

    # -- upgrade --------------------------------------------------------------------------------

    def sockets(self) -> list[tuple[Address, list[int]]]:
        """Return the listening descriptors by configured address.

        Raises ListenError for a Twisted endpoint, whose socket cannot be handed over.
        """
        bounds = [(one.spec.address, one.spec.endpoint, one.bound) for one in self.listeners]
        if self.admin is not None:
            bounds += [(d.spec.address, d.spec.endpoint, d.bound) for d in self.admin.doors]
        found = []
        for address, endpoint, bound in bounds:
            if address is None:
                raise ListenError(f"{endpoint} cannot be handed over, a restart is needed")
            if bound is not None:
                found.append((address, bound.sockets()))
        return found

    def inherit(self, sockets: Inherited, known: dict[str, Any]) -> None:
        """Take over the sockets and :meth:`known` of another process, before the start."""
        self.network.binder.inherited = sockets
        if self.admin is not None:
            self.admin.inherit(sockets)
        self.events.restore(known.get("events", ()))
        self.changing.inherit(Changes.from_json(known["changes"]))
        for name, server, address, healthy, note in known["health"]:
            backend = self.backends.get(name)
            found = backend.group.servers.get(server) if backend is not None else None
            if backend is None or found is None or str(found.spec.target) != address:
                continue
            if name in self.generation.checkers and not found.spec.no_check:
                backend.group.set_health(found, healthy, note)
        for message in known["sticky"]:
            replication.learn(self.backends, message)
        self._learn(known.get("kept", ()))
        if self._journal is not None:
            self._journal.inherit()

    def complete(self, events: Iterable[Mapping[str, Any]], kept: Iterable[Kept]) -> None:
        """Take over what the other process has added since :meth:`inherit`; it writes no more."""
        self.events.insert(events)
        self._learn(kept)
        if self._journal is not None:
            self._journal.own()

    def _learn(self, kept: Iterable[Kept]) -> None:
        """Apply messages that another process of this node has."""
        shares = self._ground.replicated
        if isinstance(shares, LocalReplicated):
            for topic, message in kept:
                shares.spread(topic, message)

    def known(self) -> dict[str, Any]:
        """Return what a successor needs for :meth:`inherit`, as plain JSON types."""
        health = [
            (name, server.name, str(server.spec.target), server.healthy, server.health_note)
            for name in self.generation.checkers
            for server in self.backends[name].group.servers.values()
            if not server.spec.no_check
        ]
        shares = self._ground.replicated
        return {
            "changes": self.changing.changes.as_json(),
            "events": [event.as_dict() for event in self.events.since()],
            "health": health,
            "sticky": list(replication.whole(self.backends, replication.MOST_HANDED_OVER)),
            "kept": list(shares.everything()) if isinstance(shares, LocalReplicated) else [],
        }

    def note_kept(self) -> None:
        """See :class:`lbproxy.process.upgrade.Upgradable`."""
        shares = self._ground.replicated
        if isinstance(shares, LocalReplicated):
            shares.noted = []

    def noted(self) -> list[Kept]:
        """See :class:`lbproxy.process.upgrade.Upgradable`."""
        shares = self._ground.replicated
        if not isinstance(shares, LocalReplicated):
            return []
        found, shares.noted = shares.noted or [], None
        return found

    def own_sockets(self, owner: bool = True) -> None:
        """Set whether this process removes the files of Unix sockets."""
        doors = self.admin.doors if self.admin is not None else []
        for bound in (*(one.bound for one in self.listeners), *(door.bound for door in doors)):
            if bound is not None:
                bound.own(owner)

    def hand_over(self) -> None:
        """Stop accepting, because another process serves on our sockets.

        The files of the sockets belong to it from now on.

        Connections stay open until :meth:`stopService`, which then lets idle clients with
        keep-alive send one more request, and waiting requests finish.
        """
        self.handed_over = True
        self.own_sockets(False)
        self.changing.hand_over()
        if self._journal is not None:
            self._journal.silence()
        unbind(self.listeners)
        if self.admin is not None:
            self.admin.unbind()
