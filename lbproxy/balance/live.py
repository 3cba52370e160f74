"""PURE. A server that supports weak references."""

from __future__ import annotations

from lbproxy.balance.server import ServerState

__all__ = ["LiveServer"]


class LiveServer(ServerState):
    """A :class:`~lbproxy.balance.server.ServerState` of a running backend.

    Checks and agents keep data about a server as long as the server exists, so they refer to it
    weakly. A compiled class does not support weak references; an ordinary subclass does.
    """

    __slots__ = ("__weakref__",)
