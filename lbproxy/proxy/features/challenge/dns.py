"""DATA. DNS look-ups for the verification of crawlers, by Twisted's DNS client."""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.names import client

from lbproxy.net.lookup import look_up
from lbproxy.net.nameservers import NameServers

__all__ = ["DNSNames"]


class DNSNames:
    """Queries the name servers of the reactor, or else of the system."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        names = reactor.nameResolver
        if not isinstance(names, NameServers):
            system = client.Resolver("/etc/resolv.conf", reactor=reactor)
            names = NameServers(reactor, (), resolver=system)
        self._names = names

    def names_of(self, ip: str) -> Deferred[list[str]]:
        """Return the names of an address; the Deferred fails if DNS does."""
        return self._names.names_of(ip)

    def addresses_of(self, name: str) -> Deferred[list[str]]:
        """Return the addresses of a name."""
        return look_up(self._reactor, name)
