"""CONTROL. The server that a probe checks, and the failures that a check may raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from lbproxy.balance.server import ServerState
    from lbproxy.model import Address
    from lbproxy.net.endpoints import Dialler
    from lbproxy.tls.parameters import TLSParameters

__all__ = ["Draining", "ProbeTarget", "Unhealthy", "WrongRole", "shown"]


@frozen(eq=False)
class ProbeTarget:
    """The server to check and how to connect to it.

    - ``address``: IP literal or Unix path.
    - ``tls``: TLS settings from the check and the server line, or None.
    - ``timeout``: seconds for the whole check.
    - ``preamble``: bytes to send first, unencrypted.
    """

    server: ServerState
    network: Dialler
    address: Address
    tls: TLSParameters | None = None
    timeout: float = 1.0
    preamble: bytes = b""


class Unhealthy(Exception):
    """The check failed. The text is the note: what was found and what was expected."""

    certain = False


class WrongRole(Unhealthy):
    """The server is healthy and reports that it has the wrong role, for example that it is not the
    primary.

    The server goes down at once, without waiting for ``fall`` failures.
    """

    certain = True


class Draining(Exception):
    """The server is healthy and wants no new work; the text is the note.

    It is drained until a check reports otherwise.
    """


def shown(data: bytes, limit: int = 40) -> str:
    """Return the beginning of a server's answer, for a note."""
    if not data:
        return "nothing"
    text = repr(data[:limit])[1:]
    return text if len(data) <= limit else f"{text}..."
