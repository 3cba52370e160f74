"""PURE. Any protocol: silence is all there is to go by, and closing all there is to say."""

from __future__ import annotations

from lbproxy.sessionclose.base import SessionClose

__all__ = ["TCPClose"]


class TCPClose(SessionClose):
    """Any silent session may be ended: ``idle`` of the configuration defines the silence."""

    name = "tcp"
