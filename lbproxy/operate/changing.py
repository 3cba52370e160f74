"""CONTROL. Run-time changes by operators: recorded, kept over a restart, and undone.

:class:`lbproxy.service.LoadBalancer` makes the changes and records them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from twisted.logger import Logger

from lbproxy.balance.server import CONFIG, AdminState, ServerState
from lbproxy.config.changes import Changes, Drift
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.lines import dump_server
from lbproxy.config.model import Config, ServerSpec
from lbproxy.operate.statefile import StateFile
from lbproxy.proxy.backend import Backend

__all__ = ["ChangeTarget", "Changing"]

_log = Logger()


class ChangeTarget(Protocol):
    """The interface of :class:`lbproxy.service.LoadBalancer` that is changed."""

    @property
    def config(self) -> Config:
        """The current configuration."""

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The backends by name."""

    def add_server(self, backend: str, line: str) -> ServerState:
        """Add a server. Raises KeyError, ConfigErrors or ValueError."""

    def remove_server(self, backend: str, name: str) -> ServerState:
        """Remove a server. Raises KeyError."""

    def set_weight(self, backend: str, name: str, weight: int) -> None:
        """Set a server's weight. Raises KeyError or ValueError."""

    def set_maxconn(self, backend: str, name: str, maxconn: int) -> None:
        """Set a server's connection limit. Raises KeyError or ValueError."""

    def set_admin(self, backend: str, name: str, admin: AdminState) -> None:
        """Set the operator's state of a server. Raises KeyError."""


class Changing:
    """Records run-time changes. ``changes``: all differences from the configuration.

    ``file``: the file that keeps them, or None.
    """

    def __init__(self, runtime: ChangeTarget, file: StateFile | None) -> None:
        self.changes = Changes()
        self.file = file
        self._runtime = runtime
        self._restored = False
        self._kept: Changes | None = None

    # -- noting ---------------------------------------------------------------------------------

    def note(self, server: ServerState, what: str, value: Any) -> None:
        """Record the new ``value`` of ``what`` of a server."""
        self.changes.note(server.spec, server.backend, what, value)
        self._keep()

    def added(self, server: ServerState) -> None:
        """Record an added server."""
        spec = server.spec
        configured = self._configured(server) == spec
        if configured:
            server.origin = CONFIG
        self.changes.note_added(server.backend, spec, configured)
        self._keep()

    def removed(self, server: ServerState) -> None:
        """Record a removed server."""
        self.changes.note_removed(server.backend, server.name, self._configured(server) is not None)
        self._keep()

    def _keep(self) -> None:
        if self.file is not None:
            self.file.changed(self.changes)

    def _configured(self, server: ServerState) -> ServerSpec | None:
        return _specs(self._runtime.config, server.backend).get(server.name)

    # -- what differs ---------------------------------------------------------------------------

    def drift(self) -> list[Drift]:
        """Return the differences between the running state and the configuration."""
        self._settle_discovered()
        return self.changes.drift(self._runtime.config, self._found)

    def _found(self, backend: str) -> dict[str, ServerSpec]:
        """Return the discovered servers."""
        owner = self._runtime.backends.get(backend)
        servers = owner.group.servers.values() if owner is not None else ()
        return {one.name: one.spec for one in servers if one.discovered}

    def settle(self) -> None:
        """Drop changes after a reload that are part of the new configuration, or that it
        overrides.
        """
        backends = self._runtime.backends
        for backend, name in self.changes.names():
            owner = backends.get(backend)
            server = owner.group.servers.get(name) if owner is not None else None
            spec = _specs(self._runtime.config, backend).get(name)
            if owner is None or (server is None and spec is None):
                self.changes.forget(backend, name)
                continue
            if server is None:
                continue  # removed, but still in the configuration
            self.changes.forget_removed(backend, name)
            if spec == server.spec:
                server.origin = CONFIG
                self.changes.forget_added(backend, name)
            self._settle(server)
        self._keep()

    def _settle_discovered(self) -> None:
        """Drop changes of discovered servers that are gone, or whose name has another address."""
        for backend, name in self.changes.names():
            owner = self._runtime.backends.get(backend)
            server = owner.group.servers.get(name) if owner is not None else None
            if server is not None and server.discovered:
                self._settle(server)

    def _settle(self, server: ServerState) -> None:
        """Drop the changes that are no longer in effect."""
        change = self.changes.of(server.backend, server.name)
        for what, live in (
            ("weight", server.full_weight),
            ("maxconn", server.maxconn),
            ("admin", server.admin.value),
        ):
            if getattr(change, what) not in (None, live):
                self.changes.note(server.spec, server.backend, what, getattr(server.spec, what))

    # -- restoring and undoing ------------------------------------------------------------------

    def inherit(self, kept: Changes) -> None:
        """Apply these changes in :meth:`restore` instead of those in the file."""
        self._kept = kept

    def hand_over(self) -> None:
        """Stop writing the file, because another process does from now on."""
        file, self.file = self.file, None
        if file is not None:
            file.silence()

    def restore(self) -> None:
        """Apply the changes in the file, once. Changes that fail are dropped and logged."""
        if self._restored or (self.file is None and self._kept is None):
            return
        self._restored = True
        kept = self._kept
        if kept is None:
            assert self.file is not None
            kept = self.file.load()
        made = 0
        for backend in list(dict.fromkeys(name for name, _ in kept.names())):
            owner = self._runtime.backends.get(backend)
            if owner is None:
                _log.warn(
                    "state file: ignoring backend {name}, which is not in the configuration",
                    name=backend,
                )
                continue
            with owner.group.changes():
                made += self._restore(kept, backend, owner)
        if made:
            _log.info(
                "{count} changes made at run time are in effect again; `lbproxy drift` shows them",
                count=made,
            )
        self._keep()

    def _restore(self, kept: Changes, backend: str, owner: Backend) -> int:
        runtime, made = self._runtime, 0
        for name in kept.removed.get(backend, ()):
            made += self._try(backend, name, lambda n: runtime.remove_server(backend, n))
        for name, line in kept.added.get(backend, {}).items():
            made += self._try(backend, name, lambda _, text=line: runtime.add_server(backend, text))
        for name, change in kept.servers.get(backend, {}).items():
            if change.weight is not None:
                made += self._try(
                    backend, name, lambda n, w=change.weight: runtime.set_weight(backend, n, w)
                )
            if change.maxconn is not None:
                made += self._try(
                    backend, name, lambda n, m=change.maxconn: runtime.set_maxconn(backend, n, m)
                )
            if change.admin is not None:
                state = AdminState(change.admin)
                made += self._try(
                    backend, name, lambda n, s=state: runtime.set_admin(backend, n, s)
                )
        return made

    @staticmethod
    def _try(backend: str, name: str, change: Any) -> int:
        try:
            change(name)
        except (KeyError, ValueError, ConfigErrors) as error:
            reason = "no such server" if isinstance(error, KeyError) else str(error)
            _log.warn(
                "state file: ignoring the changes of {backend}/{name}: {reason}",
                backend=backend,
                name=name,
                reason=reason,
            )
            return 0
        return 1

    def reset(self, backend: str = "", server: str = "") -> list[Drift]:
        """Undo all changes, or those of one backend or server, and return them."""
        undone = [
            one
            for one in self.drift()
            if backend in ("", one.backend) and server in ("", one.server)
        ]
        names = [
            (owner, name)
            for owner, name in self.changes.names()
            if backend in ("", owner) and server in ("", name)
        ]
        for owner in dict.fromkeys(owner for owner, _ in names):
            if owner in self._runtime.backends:
                self._reset(owner, [name for one, name in names if one == owner])
        for one in names:
            self.changes.forget(*one)
        self._keep()
        return undone

    def _reset(self, name: str, servers: Iterable[str]) -> None:
        runtime, backend = self._runtime, self._runtime.backends[name]
        specs = _specs(runtime.config, name)
        with backend.group.changes():
            for server in servers:
                live, spec = backend.group.servers.get(server), specs.get(server)
                if live is not None and live.discovered:
                    spec = live.spec
                if live is not None and live.spec != spec:
                    runtime.remove_server(name, server)
                    live = None
                if spec is None:
                    continue
                if live is None:
                    self._put_back(backend, spec)
                    continue
                runtime.set_weight(name, server, spec.weight)
                runtime.set_maxconn(name, server, spec.maxconn)
                runtime.set_admin(name, server, AdminState(spec.admin))
            backend.group.reorder(specs)

    def _put_back(self, backend: Backend, spec: ServerSpec) -> None:
        self._runtime.add_server(backend.name, dump_server(spec))


def _specs(config: Config, backend: str) -> dict[str, ServerSpec]:
    for spec in config.backends:
        if spec.name == backend:
            return {server.name: server for server in spec.servers}
    return {}
