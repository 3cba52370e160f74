"""DATA. The effect of a new configuration on the servers of a running backend."""

from __future__ import annotations

from collections.abc import Mapping

from lbproxy.balance.server import ServerState
from lbproxy.config.diff import server_moves
from lbproxy.config.model import BackendSpec, ServerSpec

__all__ = ["Moves", "moves_between"]


class Moves:
    """The difference between two configurations of a backend: servers to remove, change and add."""

    def __init__(self, gone: list[ServerState]) -> None:
        self.gone = gone
        self.changed: list[tuple[ServerState, ServerSpec]] = []
        self.added: list[ServerSpec] = []


def moves_between(live: Mapping[str, ServerState], old: BackendSpec, new: BackendSpec) -> Moves:
    """Return the effect of a reload from ``old`` to ``new`` on the servers ``live``, by name.

    Changes by operators stay if the configuration has not changed: a removed server stays removed,
    an added one stays, and so do a weight, a limit, drain and maint.
    """
    planned = server_moves(old.servers, new.servers)
    moves = Moves([live[name] for name in planned.removed if name in live])
    for server in new.servers:
        name = server.name
        there = live.get(name)
        if there is None:
            if name in planned.added:
                moves.added.append(server)
        elif there in moves.gone:
            moves.added.append(server)
        elif there.discovered:
            moves.gone.append(there)
            moves.added.append(server)
        elif there.spec.target == server.target:
            if there.spec != server:
                moves.changed.append((there, server))
        elif name in planned.added or name in planned.changed:
            moves.gone.append(there)
            moves.added.append(server)
    return moves
