"""PURE. Any protocol: silence is all there is to go by, and closing all there is to say."""

from __future__ import annotations

from lbproxy.sessionclose.base import SessionClose

__all__ = ["TCPClose"]


class TCPClose(SessionClose):
    """Always polite: whoever uses it says with ``idle`` which silence means that nothing is under
    way.
    """

    name = "tcp"
