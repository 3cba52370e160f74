"""PURE. End of sessions of any protocol: by closing the connection after a silence."""

from __future__ import annotations

from lbproxy.sessionclose.base import SessionClose

__all__ = ["TCPClose"]


class TCPClose(SessionClose):
    """Any silent session may be ended: ``idle`` of the configuration defines the silence."""

    name = "tcp"
