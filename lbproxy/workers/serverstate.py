"""CONTROL. The attributes of servers that the master synchronises: one table, for both ends.

The master sends :func:`encode` of a backend when its :func:`signature` has changed, and a worker
updates its servers with :func:`apply`. A new attribute needs one more :class:`StateField`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from lbproxy.balance.server import CONFIG, AdminState, ServerState, State
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.lines import dump_server
from lbproxy.model import ServerSpec
from lbproxy.proxy.backend import Backend

__all__ = ["FIELDS", "StateField", "apply", "encode", "signature"]

_log = Logger()


@frozen
class StateField:
    """One attribute of a server.

    ``changes``: a cheap value; a change means that workers must get the server again. ``encode``:
    returns JSON types. ``apply``: updates a worker's server; called only if the encoded value
    differs.
    """

    name: str
    changes: Callable[[ServerState], Any]
    encode: Callable[[ServerState], Any]
    apply: Callable[[Backend, ServerState, Any], None]


def _set_health(backend: Backend, server: ServerState, value: Any) -> None:
    healthy, note = value
    backend.group.set_health(server, healthy, note)


def _set_agent(backend: Backend, server: ServerState, value: Any) -> None:
    state, note = value
    backend.group.set_agent(server, State(state), note)


FIELDS: tuple[StateField, ...] = (
    StateField(
        "weight",
        lambda server: server.full_weight,
        lambda server: server.full_weight,
        lambda backend, server, value: backend.group.set_weight(server.name, value),
    ),
    StateField(
        "maxconn",
        lambda server: server.maxconn,
        lambda server: server.maxconn,
        lambda backend, server, value: backend.group.set_maxconn(server.name, value),
    ),
    StateField(
        "admin",
        lambda server: server.admin,
        lambda server: server.admin.value,
        lambda backend, server, value: backend.set_admin(server.name, AdminState(value)),
    ),
    StateField(
        "health",
        lambda server: server.healthy,
        lambda server: [server.healthy, server.health_note],
        _set_health,
    ),
    StateField(
        "unusable",
        lambda server: server.unusable,
        lambda server: sorted(server.unusable),
        lambda backend, server, value: backend.group.set_unusable(server, frozenset(value)),
    ),
    StateField(
        "leaving",
        lambda server: server.leaving,
        lambda server: server.leaving,
        lambda backend, server, value: backend.group.set_leaving(server, value),
    ),
    StateField(
        "agent",
        lambda server: server.agent,
        lambda server: [server.agent.value, server.agent_note],
        _set_agent,
    ),
    StateField(
        "agent_share",
        lambda server: server.agent_share,
        lambda server: server.agent_share,
        lambda backend, server, value: backend.group.set_agent_share(server, value),
    ),
)
"""The attributes, in the order of their application."""

_CHANGES = tuple(field.changes for field in FIELDS)


def signature(backend: Backend) -> list[Any]:
    """Return a value that changes whenever workers must be updated. Cheaper than :func:`encode`."""
    found: list[Any] = []
    for server in backend.group.servers.values():
        found.append(server.spec)
        found += [changes(server) for changes in _CHANGES]
    return found


def encode(backend: Backend) -> list[dict[str, Any]]:
    """Return every server, in order, as JSON types."""
    return [
        {
            "name": server.name,
            "line": dump_server(server.spec),
            "target": str(server.spec.target),
            "origin": server.origin,
            **{field.name: field.encode(server) for field in FIELDS},
        }
        for server in backend.group.servers.values()
    ]


def apply(
    backend: Backend, servers: Iterable[dict[str, Any]], parse: Callable[[str], ServerSpec]
) -> None:
    """Update the servers of a worker's ``backend`` to the encoded ones.

    ``parse`` reads a server line and may raise ConfigErrors. A server that fails is logged, and the
    others are updated.
    """
    wanted = {one["name"]: one for one in servers}
    with backend.group.changes():
        for removed in backend.group.servers.keys() - wanted.keys():
            backend.remove(removed)
        for name, values in wanted.items():
            try:
                _apply(backend, values, parse)
            except (ConfigErrors, ValueError) as error:
                _log.warn("server {name}: {error}", name=name, error=error)
            except BaseException:
                _log.failure("server {name}", name=name)


def _apply(backend: Backend, values: dict[str, Any], parse: Callable[[str], ServerSpec]) -> None:
    server = backend.group.servers.get(values["name"])
    if server is not None and str(server.spec.target) != values["target"]:
        backend.remove(server.name)
        server = None
    if server is None:
        server = backend.add(parse(values["line"]), values["origin"])
    elif server.origin != CONFIG and dump_server(server.spec) != values["line"]:
        line = parse(values["line"])
        if line != server.spec:
            backend.change(server, line)
    for field in FIELDS:
        if field.encode(server) != values[field.name]:
            field.apply(backend, server, values[field.name])
