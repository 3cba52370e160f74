"""Requests over the multiplexing toy, and the scripted ends of its connections."""

from __future__ import annotations

from typing import Any

from tests.extending.mux import MuxConnector
from tests.proxy.http_kit import GET, A
from tests.proxy.mux import ScriptedServer


def two_streams(rig: Any) -> Any:
    """A rig whose connections carry two streams, with an origin that a script controls."""
    made = rig(app="retries = 0")
    made.backend.use_connectors(lambda terms, server: MuxConnector(terms, server, 2))
    made.raw()
    return made


def ask(r: Any, *paths: bytes) -> list[Any]:
    """A client of its own for each path."""
    clients = [r.client() for _ in paths]
    for client, path in zip(clients, paths, strict=True):
        client.send(GET.replace(b"/", path, 1))
    return clients


def servers(r: Any) -> list[ScriptedServer]:
    return [ScriptedServer(connection) for connection in r.lb.origins[A].connections]
