"""DATA. The interface between an acceptor and the creator of protocols, for compiled code."""

from __future__ import annotations

from typing import Any

__all__ = ["ProtocolBuilder"]


class ProtocolBuilder:
    """Replaces ``buildProtocol`` of a factory that has one as its ``builder``.

    It is a class and not a Protocol, so that mypyc compiles a call to a C call.
    """

    __slots__ = ()

    def build(self, ip: str, port: int) -> Any:
        """Return the protocol for a client at ``ip`` ("" for a Unix socket), or None to refuse the
        connection.
        """
        raise NotImplementedError
