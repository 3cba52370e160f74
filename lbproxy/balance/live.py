"""PURE. A server that others may refer to weakly."""

from __future__ import annotations

from lbproxy.balance.server import ServerState

__all__ = ["LiveServer"]


class LiveServer(ServerState):
    """A :class:`~lbproxy.balance.server.ServerState` of a running backend.

    Checks and agents keep what they know of a server for as long as it is there, so they refer to it weakly; a
    compiled class has no room for that, an ordinary one that extends it has.
    """

    __slots__ = ("__weakref__",)
