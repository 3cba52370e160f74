"""DATA. Listening sockets that a previous process has bound, for reuse by address.

:mod:`lbproxy.process.takeover` gives them to :class:`lbproxy.net.endpoints.Network` when lbproxy is
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
    """Inherited sockets by their configured address; several if worker processes have one each."""

    def __init__(self, sockets: Iterable[tuple[Address, list[socket.socket]]]) -> None:
        self._sockets = dict(sockets)

    def take(self, address: Address, count: int = 1) -> list[socket.socket] | None:
        """Return the sockets of ``address``, which then belong to the caller, or None if none were
        inherited.

        Raises ListenError unless their number is ``count``. A socket without an acceptor would lose
        clients, and another one cannot be bound beside sockets that do not share their port.
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
