"""PURE. Checks of the addresses and names that lbproxy may connect to on behalf of clients."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from lbproxy.guard.special import embedded, special_reason

__all__ = ["AddressJudge", "TargetRefused", "name_reason"]

NAME_MAX = 253
"""Maximum length of a host name in bytes (RFC 1035 section 2.3.4)."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PRIVATE_NAMES = (
    "cluster.local",
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "svc",
)
"""Names of local networks, including all names below them, regardless of their addresses."""


class TargetRefused(ValueError):
    """A URL, name or address that lbproxy does not connect to. The message gives the reason."""


class AddressJudge:
    """Checks IP literals.

    ``public``: networks that tests and laboratories declare public. ``interfaces``: the addresses
    of this machine. ``listeners``: address and port of each listener of lbproxy; "" or a wildcard
    address stands for all addresses of the machine. ``public`` relaxes the rules for addresses and
    interfaces, never that for listeners. ``listening()`` returns further present listeners.
    """

    def __init__(
        self,
        *,
        public: Iterable[str] = (),
        interfaces: Iterable[str] = (),
        listeners: Iterable[tuple[str, int]] = (),
        listening: Callable[[], Iterable[tuple[str, int]]] = tuple,
    ) -> None:
        self._public = [ip_network(network) for network in public]
        self._interfaces = {embedded(ip_address(one.partition("%")[0])) for one in interfaces}
        self._written = _Listeners(listeners)
        self._listening = listening

    def reason(self, text: str, port: int) -> str:
        """Return why lbproxy does not connect to ``port`` of the IP literal ``text``, or ""."""
        try:
            address = ip_address(text)
        except ValueError:
            return "not an IP address"
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return "an address with a zone"
        inner = embedded(address)
        if self._is_listener(inner, port):
            return "a listener of lbproxy itself"
        if any(address in network or inner in network for network in self._public):
            return ""
        special = special_reason(address)
        if not special and inner in self._interfaces:
            return "an address of this machine"
        return special

    def check(self, addresses: Sequence[str], port: int) -> None:
        """Raise :class:`TargetRefused` unless there are addresses and each one is public.

        One forbidden address refuses the whole answer, because a name with both kinds is an attack.
        """
        if not addresses:
            raise TargetRefused("no address")
        for address in addresses:
            reason = self.reason(address, port)
            if reason:
                raise TargetRefused(f"{address} is {reason}")

    def _is_listener(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        return any(
            one.has(address, port, self._interfaces)
            for one in (self._written, _Listeners(self._listening()))
        )


class _Listeners:
    """Addresses and ports where lbproxy listens. Wildcards stand for all addresses of the
    machine.
    """

    def __init__(self, listeners: Iterable[tuple[str, int]]) -> None:
        self._exact: set[tuple[IPv4Address | IPv6Address, int]] = set()
        self._wildcards: set[int] = set()
        for host, port in listeners:
            address = embedded(ip_address(host)) if host else None
            if address is None or address.is_unspecified:
                self._wildcards.add(port)
            else:
                self._exact.add((address, port))

    def has(
        self,
        address: IPv4Address | IPv6Address,
        port: int,
        interfaces: Collection[IPv4Address | IPv6Address],
    ) -> bool:
        """Return whether a connection to ``address`` would reach one of them."""
        if (address, port) in self._exact:
            return True
        if port not in self._wildcards and not address.is_unspecified:
            return False
        if address.is_unspecified:  # the system connects to itself
            return port in self._wildcards or any(port == one for _, one in self._exact)
        return address.is_loopback or address in interfaces


def name_reason(name: str) -> str:
    """Return why ``name``, in lower case and ASCII, is not a name of a public host, or ""."""
    if name.endswith("."):
        return "has a trailing dot"
    if len(name) > NAME_MAX or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return "is not a host name"
    if "." not in name:
        return "is a name of a local network"
    if name.rpartition(".")[2].isdigit():
        return "is not a host name"
    for private in _PRIVATE_NAMES:
        if name.endswith(f".{private}"):
            return f"is a name below {private}"
    return ""
