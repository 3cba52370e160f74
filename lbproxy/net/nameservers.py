"""DATA. Name servers configured for lbproxy instead of the system's (``[lbproxy] nameservers``).

Every look-up of lbproxy uses ``reactor.nameResolver``. :func:`with_nameservers` gives the service a
reactor whose resolver is a :class:`NameServers`. The reactor of an embedding program is unchanged.

A name is looked up in ``/etc/hosts`` first, then queried as written, without the ``search`` list of
the system. The servers are queried in order; the next one is used if one does not answer. Truncated
answers are requested again over TCP.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
)
from twisted.names import client, dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer, providedBy

__all__ = ["NameServers", "NamedReactor", "with_nameservers"]

HOSTS = Path("/etc/hosts")

TIMEOUTS = (1, 2)
"""Seconds that each server has to answer, in the first and in the second round."""

SECOND_FAMILY = 0.5
"""Seconds that a look-up with addresses of one family waits for the other family."""

_NO_SUCH_NAME = (AuthoritativeDomainError, DNSNameError)


def with_nameservers(reactor: Any, servers: Sequence[tuple[str, int]]) -> Any:
    """Return ``reactor``, or a wrapper that uses ``servers`` if any are given."""
    return NamedReactor(reactor, NameServers(reactor, servers)) if servers else reactor


class NamedReactor:
    """A reactor with a different resolver of names."""

    def __init__(self, reactor: Any, resolver: NameServers) -> None:
        self._reactor = reactor
        self.nameResolver = resolver
        alsoProvides(self, *providedBy(reactor), IReactorPluggableNameResolver)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IHostResolution)
class _Resolution:
    """A running look-up. ``queries``: those without an answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queries: list[Deferred[Any]] = []
        self.timer: Any = None
        self.over = False

    def cancel(self) -> None:
        """See IHostResolution."""
        self.over = True
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        queries, self.queries = self.queries, []
        for query in queries:
            query.cancel()


@implementer(IHostnameResolver)
class NameServers:
    """A resolver that queries given name servers. ``servers``: IP literals and ports. ``resolver``:
    sends the queries; replaced in tests.
    """

    def __init__(
        self,
        reactor: Any,
        servers: Sequence[tuple[str, int]],
        *,
        hosts: Path = HOSTS,
        resolver: Any = None,
    ) -> None:
        self._reactor = reactor
        self._hosts = hosts
        self.servers = tuple(servers)
        self.dns = resolver or client.Resolver(servers=list(servers), reactor=reactor)

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See IHostnameResolver.

        If no server answers, ``resolutionFailed(error)`` of the receiver is called if it exists.
        """
        resolution = _Resolution(hostName)
        kinds = tuple(addressTypes or (IPv4Address, IPv6Address))
        found: list[Any] = []

        def add(host: str) -> None:
            kind: Any = IPv6Address if ":" in host else IPv4Address
            if not resolution.over and kind in kinds:
                found.append(host)
                resolutionReceiver.addressResolved(kind(transportSemantics, host, portNumber))

        resolutionReceiver.resolutionBegan(resolution)
        known = self._known(hostName)
        if known:
            for host in known:
                add(host)
            resolutionReceiver.resolutionComplete()
            return resolution
        self._ask(resolution, kinds, add, found, resolutionReceiver)
        return resolution

    def names_of(self, ip: str) -> Deferred[list[str]]:
        """Return the names of an address; the Deferred fails if no server answers."""
        name = ip_address(ip).reverse_pointer
        asked: Deferred[Any] = self.dns.lookupPointer(name, timeout=TIMEOUTS)
        return asked.addCallback(_pointers)

    def _known(self, name: str) -> list[str]:
        """Return the addresses that need no query."""
        with suppress(ValueError):
            return [str(ip_address(name))]
        try:
            lines = self._hosts.read_text("utf-8", "replace").splitlines()
        except OSError:
            return []
        wanted, found = name.lower().rstrip("."), []
        for line in lines:
            words = line.partition("#")[0].lower().split()
            if wanted in words[1:]:
                with suppress(ValueError):
                    found.append(str(ip_address(words[0])))
        return found

    def _ask(
        self,
        resolution: _Resolution,
        kinds: tuple[type, ...],
        add: Callable[[str], None],
        found: list[Any],
        receiver: Any,
    ) -> None:
        reasons: list[str] = []

        def end() -> None:
            if resolution.over:
                return
            resolution.cancel()
            failed = getattr(receiver, "resolutionFailed", None)
            if reasons and not found and failed is not None:
                failed(DNSLookupError(reasons[0]))
            else:
                receiver.resolutionComplete()

        def answered(query: Deferred[Any], answer: Any) -> None:
            if query in resolution.queries:
                resolution.queries.remove(query)
            if isinstance(answer, Failure):
                if not answer.check(*_NO_SUCH_NAME, CancelledError):
                    reasons.append(_reason(answer))
            else:
                for host in _addresses(answer):
                    add(host)
            if not resolution.queries:
                end()
            elif found and resolution.timer is None and not resolution.over:
                resolution.timer = self._reactor.callLater(SECOND_FAMILY, end)

        asks = ((IPv4Address, self.dns.lookupAddress), (IPv6Address, self.dns.lookupIPV6Address))
        begun: list[Deferred[Any]] = []
        for kind, ask in asks:
            if kind in kinds:
                try:
                    begun.append(ask(resolution.name, timeout=TIMEOUTS))
                except Exception as error:  # a name that cannot be encoded for DNS
                    reasons.append(str(error) or type(error).__name__)
        resolution.queries = list(begun)
        for query in begun:
            query.addBoth(partial(answered, query))
        if not begun:
            end()


def _pointers(answer: Any) -> list[str]:
    """Return the names in the answer to a PTR query."""
    return [str(one.payload.name) for one in answer[0] if one.type == dns.PTR]


def _addresses(answer: Any) -> list[str]:
    """Return the addresses in an answer, including those reached through CNAMEs."""
    return [
        one.payload.dottedQuad() if one.type == dns.A else str(ip_address(one.payload.address))
        for one in answer[0]
        if one.type in (dns.A, dns.AAAA)
    ]


def _reason(failure: Failure) -> str:
    """Return why a query has failed. DNS errors are shown by their message."""
    name = failure.type.__name__ if failure.type is not None else "error"
    words = {
        "DNSServerError": "the name server failed (SERVFAIL)",
        "DNSQueryRefusedError": "the name server refuses the query (REFUSED)",
        "TimeoutError": "no name server answers",
    }
    return words.get(name, f"the name server answers with {name}")
