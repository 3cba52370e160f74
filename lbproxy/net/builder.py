"""DATA. The interface between an acceptor and the maker of protocols, for compiled code."""

from __future__ import annotations

from typing import Any

__all__ = ["ProtocolBuilder"]


class ProtocolBuilder:
    """Stands in for ``buildProtocol`` of a factory that has one as its ``builder``.

    A class and not a Protocol, because the compiler then turns a call into a C call.
    """

    __slots__ = ()

    def build(self, ip: str, port: int) -> Any:
        """Return the protocol for a client at ``ip`` ("" for a Unix socket); None refuses it."""
        raise NotImplementedError
