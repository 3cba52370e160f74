"""DATA. Sticky sessions in traffic: ``sticky = KIND`` picks before the balancer does.

:mod:`lbproxy.balance.sticky` has the kinds. A kind with the same line and secret continues after a
reload. Another one takes over the table of its predecessor if its keys have the same meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict

from lbproxy.balance.server import ServerState
from lbproxy.balance.sticky import Sticky
from lbproxy.config.model import PluginSpec
from lbproxy.http.filter import Phases, compile_phases
from lbproxy.proxy.adminpart import AdminPart, Argument, Column, Maybe, Operation
from lbproxy.proxy.feature import Feature, Given

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["Stickiness"]


class Stickiness(Feature["Backend"]):
    """Sticky sessions; see the module. ``kind``: stores the bonds of clients. ``counters``: its
    counters.
    """

    name = "sticky"
    keys = ("sticky",)

    def __init__(self, spec: PluginSpec, kind: Sticky, before: Stickiness | None) -> None:
        self.spec = spec
        self.kind = kind
        self.counters = kind.counters
        self._before = before

    @classmethod
    def prepare(cls, spec: Any, old: Stickiness | None, given: Given) -> Stickiness | None:
        """See :class:`Feature`."""
        plugin: PluginSpec | None = spec.sticky
        if plugin is None:
            return None
        if old is not None and old.spec == plugin and old.kind.env.secret == given.env.secret:
            return old
        return cls(plugin, plugin.cls(plugin.options, given.env), old)

    def around(self, phases: Phases) -> Phases:
        """Return ``phases`` followed by the hooks of the kind."""
        return phases.then(compile_phases([self.kind]))

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        kind, before = self.kind, self._before
        self._owner, self._before = owner, None
        owner.sticky = kind
        owner.pick = kind.pick
        kind.bind(owner.group)
        for name in owner.group.servers:
            kind.server_added(name)
        if before is not None:
            kind.adopt(before.kind)

    def detach(self) -> None:
        """Let only the balancer pick."""
        self._owner.sticky = None
        self._owner.pick = self._owner.group.pick

    def server_added(self, server: ServerState) -> None:
        """See :class:`Feature`."""
        self.kind.server_added(server.name)

    def server_removed(self, server: ServerState) -> None:
        """See :class:`Feature`."""
        self.kind.server_removed(server.name)

    # -- snapshots ------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        return self.kind.snapshot()

    def row(self) -> dict[str, Any]:
        """See :class:`Feature`: the table's numbers beside the others."""
        found = self.snapshot()
        return {**found.pop("table", {}), **found}

    def detailed(self, limit: int) -> dict[str, Any]:
        """:meth:`snapshot`, and at most ``limit`` entries of the table, the client seen last
        first.
        """
        shown = {"table": None, **self.snapshot()}
        known = list(self.kind.entries(limit))
        return {
            **shown,
            "items": [{**asdict(one), "expires_s": round(one.expires_s, 3)} for one in known],
            "more": shown["table"] is not None and shown["table"]["entries"] > len(known),
        }

    def forget(self, server: str = "") -> dict[str, int]:
        """Break the bonds to ``server``, or all if it is empty. Raises ValueError if the kind has
        no table.
        """
        kind = self.kind
        if kind.table is None:
            raise ValueError(
                f"sticky = {kind.name} has no table: its cookies have no effect while a server"
                " is in maint"
            )
        return {"forgotten": kind.table.clear(server)}


_COUNTS = {
    "kind": "string",
    "kept": "count",
    "moved": "count",
    "lent": "count",
    "cookies": "count",
}
_TABLE = {
    "entries": "count",
    "size": "count",
    "created": "count",
    "evicted": "count",
    "expired": "count",
}
_ENTRY = {"key": "string", "server": "string", "expires_s": "number"}

Stickiness.part = AdminPart(
    "sticky",
    state="sticky",
    title="Sticky sessions",
    owner_key="backend",
    fields={**_COUNTS, "table?": _TABLE},
    row={**_COUNTS, **{f"{name}?": kind for name, kind in _TABLE.items()}},
    columns=(
        Column("backend", "Backend"),
        Column("kind", "Kind"),
        Column("entries", "Clients known", "count"),
        Column("size", "Room", "count"),
        Column("kept", "Kept", "count"),
        Column("moved", "Moved", "count"),
        Column("lent", "Lent", "count"),
        Column("evicted", "Evicted", "count"),
    ),
    operations=(
        Operation(
            "GET",
            "sticky",
            "The server of each client, the most recently seen first; secret keys are shown as"
            " digests",
            Stickiness.detailed,
            {**_COUNTS, "table": Maybe(_TABLE), "items": [_ENTRY], "more": "boolean"},
            {
                "limit": Argument(
                    "maximum number of items in the response", low=1, high=1000, default=100
                )
            },
        ),
        Operation(
            "DELETE",
            "sticky",
            "Break the bonds: these clients are balanced like new ones",
            Stickiness.forget,
            {"forgotten": "count"},
            {"server": Argument("only clients of this server", "server")},
            everywhere=True,
        ),
    ),
)
