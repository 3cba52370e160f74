"""CONTROL. Servers as the master has them, for its workers: plain JSON types, and how to see that something changed."""

from __future__ import annotations

from typing import Any

from lbproxy.balance.server import ServerState
from lbproxy.config.lines import dump_server
from lbproxy.proxy.backend import Backend

__all__ = ["signature", "state_of"]


def signature(backend: Backend) -> tuple[Any, ...]:
    """Another one when :func:`state_of` says something else that matters; cheaper."""
    return tuple(
        (
            s.name,
            s.spec,
            s.full_weight,
            s.maxconn,
            s.admin,
            s.healthy,
            s.leaving,
            s.agent,
            s.agent_share,
        )
        for s in backend.group.servers.values()
    )


def state_of(backend: Backend) -> list[dict[str, Any]]:
    """Every server, in order."""
    return [_server(one) for one in backend.group.servers.values()]


def _server(server: ServerState) -> dict[str, Any]:
    return {
        "name": server.name,
        "line": dump_server(server.spec),
        "address": str(server.spec.target),
        "origin": server.origin,
        "weight": server.full_weight,
        "maxconn": server.maxconn,
        "admin": server.admin.value,
        "healthy": server.healthy,
        "note": server.health_note,
        "leaving": server.leaving,
        "agent": server.agent.value,
        "agent_note": server.agent_note,
        "agent_share": server.agent_share,
    }
