"""DATA. Listening sockets that a program before us has bound, for whoever listens on their
addresses.

Given to :class:`lbproxy.net.endpoints.Network` by :mod:`lbproxy.process.takeover` when lbproxy is
upgraded in place.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lbproxy.errors import ListenError
from lbproxy.model import Address

__all__ = ["Inherited"]


class Inherited:
    """``sockets``: by the address as it is configured; several where worker processes have one
    each.
    """

    def __init__(self, sockets: Iterable[tuple[Address, list[socket.socket]]]) -> None:
        self._sockets = dict(sockets)

    def take(self, address: Address, count: int = 1) -> list[socket.socket] | None:
        """The sockets of ``address``, the caller's from now on; None if there are none.

        ListenError unless there are ``count`` of them: one that nobody accepts from would lose
        clients, and one more cannot be bound beside sockets that do not share their port.
        """
        found = self._sockets.get(address)
        if found is None:
            return None
        if len(found) != count:
            raise ListenError(
                f"cannot listen on {address}: the running lbproxy has {len(found)} sockets there, "
                "and "
                f"{count} are needed; another number of workers needs a restart"
            )
        return self._sockets.pop(address)

    def discard(self) -> None:
        """Close the sockets that were not taken, and remove the files of Unix sockets."""
        for address, sockets in self._sockets.items():
            for sock in sockets:
                sock.close()
            if address.kind == "unix":
                with suppress(OSError, ValueError):
                    Path(address.path).unlink()
        self._sockets.clear()
