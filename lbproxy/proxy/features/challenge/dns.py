"""DATA. Names and addresses for the verification of crawlers, by Twisted's DNS client."""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.names import client, dns

from lbproxy.net.lookup import look_up

__all__ = ["DNSNames"]


class DNSNames:
    """Asks the name servers of the system."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._resolver = client.Resolver("/etc/resolv.conf", reactor=reactor)

    def names_of(self, ip: str) -> Deferred[list[str]]:
        """Return the names of an address; the Deferred fails if DNS does."""
        name = ip_address(ip).reverse_pointer
        asked: Deferred[Any] = self._resolver.lookupPointer(name, timeout=(1, 2))
        return asked.addCallback(_pointers)

    def addresses_of(self, name: str) -> Deferred[list[str]]:
        """Return the addresses of a name."""
        return look_up(self._reactor, name)


def _pointers(answer: Any) -> list[str]:
    records = answer[0]
    return [str(one.payload.name) for one in records if one.type == dns.PTR]
