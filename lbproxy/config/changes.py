"""PURE. Run-time changes by operators, and their difference from the configuration (drift).

:mod:`lbproxy.operate.statefile` keeps a :class:`Changes` in a file. :mod:`lbproxy.service` records
changes and applies them again after a restart. ``lbproxy check`` and ``lbproxy drift`` show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import Any

import attrs
from attrs import define, evolve, field, frozen

from lbproxy.config.lines.server import dump_server
from lbproxy.model import BackendSpec, Config, ServerSpec

__all__ = ["Changes", "Drift", "ServerChange"]

Found = Callable[[str], Mapping[str, ServerSpec]]

VERSION = 1
_ADMIN = ("ready", "drain", "maint")
_MOST = 100_000  # maximum entries of one kind in a file
_SORTED = 2000  # number of names sorted at once
_LINE = 10_000  # maximum length of an added server's line in characters


@frozen
class Drift:
    """One difference. ``what``: ``weight``, ``maxconn``, ``admin``, ``added`` or ``removed``.

    ``line``: the server line that makes all changes of this server part of the configuration, or
    "".
    """

    backend: str
    server: str
    what: str
    configured: str
    running: str
    line: str = ""

    @property
    def text(self) -> str:
        """One line for people: ``app/b weight 3 -> 5``."""
        name = f"{self.backend}/{self.server}"
        if self.what in ("added", "removed"):
            return f"{name} {self.what}"
        what = "" if self.what == "admin" else f"{self.what} "
        return f"{name} {what}{self.configured} -> {self.running}"

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as plain JSON types."""
        return {**attrs.asdict(self), "text": self.text}


@define
class ServerChange:
    """The changes of one server; None means as configured."""

    weight: int | None = None
    maxconn: int | None = None
    admin: str | None = None

    @property
    def empty(self) -> bool:
        """True if nothing has changed."""
        return self.weight is None and self.maxconn is None and self.admin is None


@define(eq=False)
class Changes:
    """The changes by backend and server name.

    ``added``: lines of added servers. ``removed``: configured servers that were removed.
    """

    servers: dict[str, dict[str, ServerChange]] = field(factory=dict)
    added: dict[str, dict[str, str]] = field(factory=dict)
    removed: dict[str, set[str]] = field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.servers or self.added or self.removed)

    # -- noting ---------------------------------------------------------------------------------

    def of(self, backend: str, server: str) -> ServerChange:
        """Return the changes of one server."""
        return self.servers.get(backend, {}).get(server, ServerChange())

    def note(self, spec: ServerSpec, backend: str, what: str, value: Any) -> None:
        """Record a change of ``weight``, ``maxconn`` or ``admin``. A value equal to that in
        ``spec`` is no change.
        """
        configured = getattr(spec, what)
        change = evolve(
            self.of(backend, spec.name), **{what: None if value == configured else value}
        )
        here = self.servers.setdefault(backend, {})
        here[spec.name] = change
        if change.empty:
            self._forget(self.servers, backend, spec.name)

    def note_added(self, backend: str, spec: ServerSpec, configured: bool) -> None:
        """Record an added server. ``configured``: the configuration has exactly this server too."""
        self._forget(self.removed, backend, spec.name)
        if not configured:
            self.added.setdefault(backend, {})[spec.name] = dump_server(spec)

    def note_removed(self, backend: str, name: str, configured: bool) -> None:
        """Record a removed server. ``configured``: the configuration has a server of that name."""
        self._forget(self.servers, backend, name)
        self._forget(self.added, backend, name)
        if configured:
            self.removed.setdefault(backend, set()).add(name)

    def forget_removed(self, backend: str, name: str) -> None:
        """Drop the record of a removed server that exists again."""
        self._forget(self.removed, backend, name)

    def forget_added(self, backend: str, name: str) -> None:
        """Drop the record of an added server that is now configured."""
        self._forget(self.added, backend, name)

    def forget(self, backend: str, name: str) -> None:
        """Drop all records of one server."""
        for table in (self.servers, self.added, self.removed):
            self._forget(table, backend, name)

    @staticmethod
    def _forget(table: Any, backend: str, name: str) -> None:
        here = table.get(backend)
        if here is None:
            return
        if isinstance(here, set):
            here.discard(name)
        else:
            here.pop(name, None)
        if not here:
            del table[backend]

    def copied(self) -> Changes:
        """Return an independent copy. It takes a few milliseconds for 100,000 servers."""
        return Changes(
            {backend: dict(servers) for backend, servers in self.servers.items()},
            {backend: dict(lines) for backend, lines in self.added.items()},
            {backend: set(names) for backend, names in self.removed.items()},
        )

    def names(self) -> list[tuple[str, str]]:
        """Return (backend, server) for each server that differs from the configuration."""
        tables: tuple[Any, ...] = (self.servers, self.added, self.removed)
        found = [
            (backend, name) for table in tables for backend in table for name in table[backend]
        ]
        return list(dict.fromkeys(found))

    # -- what it means --------------------------------------------------------------------------

    def drift(self, config: Config, found: Found = lambda backend: {}) -> list[Drift]:
        """Return the differences from ``config``, without those of unknown backends and servers.

        ``found(backend)`` returns the servers of a discovery by name. They are not drift, but
        changes that operators made to them are.
        """
        return [
            one for backend in config.backends for one in self._drift(backend, found(backend.name))
        ]

    def _drift(self, backend: BackendSpec, found: Mapping[str, ServerSpec]) -> Iterator[Drift]:
        name = backend.name
        removed = self.removed.get(name, ())
        added = self.added.get(name, {})
        specs = {spec.name: spec for spec in backend.servers}
        for server, spec in specs.items():
            if server in removed and server not in added:
                yield Drift(name, server, "removed", dump_server(spec), "")
        for server, line in added.items():
            was = dump_server(specs[server]) if server in specs else ""
            if line != was:
                keep = _with(line, self.of(name, server))
                yield Drift(name, server, "added", was, line, keep)
        for server, change in self.servers.get(name, {}).items():
            known = specs.get(server)
            if known is not None and server not in removed:
                yield from _differences(name, known, change)
            elif server in added or server in found:
                for one in _differences(name, found.get(server), change, server):
                    yield evolve(one, line="")

    # -- plain data -----------------------------------------------------------------------------

    def as_json(self, ordered: bool = False) -> dict[str, Any]:
        """Return JSON types for the state file. ``ordered``: sort all names.

        Made for a thread: no single call into C takes long with 100,000 servers, so that the
        reactor's thread can run.
        """
        backends: Callable[[Iterable[str]], list[str]] = sorted if ordered else list
        names: Callable[[Iterable[str]], Iterable[str]] = _in_order if ordered else iter
        return {
            "added": {
                backend: {name: self.added[backend][name] for name in names(self.added[backend])}
                for backend in backends(self.added)
            },
            "removed": {
                backend: list(_in_order(self.removed[backend]))
                for backend in backends(self.removed)
            },
            "servers": {
                backend: {
                    name: _plain(self.servers[backend][name])
                    for name in names(self.servers[backend])
                }
                for backend in backends(self.servers)
            },
            "version": VERSION,
        }

    @classmethod
    def from_json(cls, data: Any) -> Changes:
        """Read the result of :meth:`as_json`. Raises ValueError for anything else."""
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise ValueError(f"not a state of version {VERSION}")
        made = cls()
        for backend, servers in _table(data, "servers").items():
            for name, change in _named(servers).items():
                made.servers.setdefault(backend, {})[name] = _change(change)
        for backend, lines in _table(data, "added").items():
            for name, line in _named(lines).items():
                if not isinstance(line, str) or len(line) > _LINE:
                    raise ValueError(f"added: {backend}/{name} is not a server line")
                made.added.setdefault(backend, {})[name] = line
        for backend, names in _table(data, "removed").items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"removed: {backend} is not a list of names")
            if names:
                made.removed[backend] = set(names)
        return made


def _in_order(names: Iterable[str]) -> Iterator[str]:
    """Yield ``names`` in order, sorted in parts."""
    rest = iter(names)
    parts = []
    while part := sorted(islice(rest, _SORTED)):
        parts.append(part)
    return merge(*parts)


def _plain(change: ServerChange) -> dict[str, Any]:
    """Return the changed values, by name in order."""
    every = (("admin", change.admin), ("maxconn", change.maxconn), ("weight", change.weight))
    return {what: value for what, value in every if value is not None}


def _differences(
    backend: str, spec: ServerSpec | None, change: ServerChange, name: str = ""
) -> Iterator[Drift]:
    """Return the differences of one server.

    ``spec`` None: an added server that is not configured.
    """
    for what, value in attrs.asdict(change).items():
        if value is None:
            continue
        configured = (
            str(getattr(spec, what)) if spec is not None else "ready" if what == "admin" else ""
        )
        if str(value) == configured:
            continue
        line = _line(spec, change) if spec is not None and what != "admin" else ""
        yield Drift(
            backend, name or (spec.name if spec else ""), what, configured, str(value), line
        )


def _with(line: str, change: ServerChange) -> str:
    """Return the line of an added server with its later changes."""
    words = line.split(" ")
    for what, value in (("weight", change.weight), ("maxconn", change.maxconn)):
        if value is not None:
            words = [word for word in words if not word.startswith(f"{what}=")]
            words.append(f"{what}={value}")
    return " ".join(words)


def _line(spec: ServerSpec, change: ServerChange) -> str:
    """Return the server line with all its changes, which makes all of them permanent."""
    weight = spec.weight if change.weight is None else change.weight
    maxconn = spec.maxconn if change.maxconn is None else change.maxconn
    return dump_server(evolve(spec, weight=weight, maxconn=maxconn))


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    return _named(data.get(key, {}))


def _named(table: Any) -> dict[str, Any]:
    if not isinstance(table, dict) or len(table) > _MOST:
        raise ValueError("not a table of names")
    return table


def _change(data: Any) -> ServerChange:
    known = {f.name for f in attrs.fields(ServerChange)}
    if not isinstance(data, dict) or not data or data.keys() - known:
        raise ValueError("not a table of changes of a server")
    for what in ("weight", "maxconn"):
        value = data.get(what, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10_000_000:
            raise ValueError(f"{what} {value!r} is not an allowed number")
    if data.get("admin", "ready") not in _ADMIN:
        raise ValueError(f"admin {data['admin']!r} is not one of {', '.join(_ADMIN)}")
    return ServerChange(**data)
