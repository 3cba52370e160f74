"""DATA. The name resolver of the in-memory reactor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import interfaces
from zope.interface import implementer

from lbproxy.testing.memoryaddress import endpoint, is_literal
from lbproxy.testing.memorysocket import Carrier

__all__ = ["MemoryResolver"]


@implementer(interfaces.IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name
        self.cancelled = False

    def cancel(self) -> None:
        """Report nothing more."""
        self.cancelled = True


@implementer(interfaces.IHostnameResolver)
class MemoryResolver:
    """Resolves names by ``table``: name -> addresses. An unknown name has no addresses.

    ``queries``: the names that were looked up, in order. IP literals resolve to themselves.
    """

    def __init__(self, reactor: Carrier) -> None:
        self._reactor = reactor
        self.table: dict[str, list[str]] = {}
        self.queries: list[str] = []

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[Any]] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """See :class:`twisted.internet.interfaces.IHostnameResolver`."""
        resolution = _Resolution(hostName)
        self.queries.append(hostName)
        literals = [hostName] if is_literal(hostName) else self.table.get(hostName, [])
        found = [endpoint(host, portNumber, transportSemantics) for host in literals]

        def answer() -> None:
            if resolution.cancelled:
                return
            for address in found:
                if addressTypes is None or isinstance(address, tuple(addressTypes)):
                    resolutionReceiver.addressResolved(address)
            resolutionReceiver.resolutionComplete()

        resolutionReceiver.resolutionBegan(resolution)
        self._reactor.soon(answer)
        return resolution
