"""DATA. Resolution of host names to IP literals, through the reactor's resolver.

:class:`lbproxy.checks.resolver.Resolver`, checks and the syslog output look names up here. The
caller sets the deadline.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.model import Address

__all__ = ["literal_addresses", "look_up"]

ADDRESSES_MAX = 64
"""Maximum number of addresses of one name; further ones are ignored."""


def literal_addresses(address: Address) -> tuple[Address, ...] | None:
    """Return IP literals and Unix paths unchanged, because they need no look-up; None for
    a name.
    """
    if address.kind == "unix":
        return (address,)
    try:
        ip_address(address.host)
    except ValueError:
        return None
    return (address,)


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects the answers of one look-up."""

    def __init__(self) -> None:
        self.done: Deferred[list[str]] = Deferred(self.abandon)
        self.hosts: list[str] = []
        self.resolution: Any = None
        self.over = False

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """See IResolutionReceiver."""
        self.resolution = resolution

    def addressResolved(self, address: Any) -> None:
        """See IResolutionReceiver."""
        known = isinstance(address, (IPv4Address, IPv6Address))
        if known and address.host not in self.hosts and len(self.hosts) < ADDRESSES_MAX:
            self.hosts.append(address.host)

    def resolutionComplete(self) -> None:
        """See IResolutionReceiver."""
        if not self.over:
            self.over = True
            self.done.callback(self.hosts)

    def resolutionFailed(self, error: Exception) -> None:
        """Handle a look-up that no name server answered.
        :class:`lbproxy.net.nameservers.NameServers` calls it.
        """
        if not self.over:
            self.over = True
            self.done.errback(error)

    def abandon(self, _: Any) -> None:
        """Cancel the look-up at the resolver, which may ignore that."""
        self.over = True
        if self.resolution is not None:
            with suppress(NotImplementedError):  # getaddrinfo in a thread cannot be stopped
                self.resolution.cancel()


def look_up(reactor: Any, host: str) -> Deferred[list[str]]:
    """Return the IPv4 and IPv6 literals of ``host`` in the resolver's order; an empty list if none
    exist.

    ``reactor``: IReactorPluggableNameResolver. The caller sets the deadline and cancels the
    Deferred to give up.
    """
    receiver = _Receiver()
    done = receiver.done
    try:
        reactor.nameResolver.resolveHostName(
            receiver, host, addressTypes=[IPv4Address, IPv6Address]
        )
    except BaseException:
        receiver.over = True
        done.errback(Failure())
    return done
