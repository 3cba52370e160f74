"""PURE. Sets of IP networks, and the allow/deny rule of two sets, used at accept, by routes and by
forwarding.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

__all__ = ["V4_BASE", "Access", "AddressSet", "address_number", "network_bounds", "split_address"]

Network = IPv4Network | IPv6Network

V4_BASE = 1 << 128
"""IPv4 numbers lie above every IPv6 number, so that one sorted list serves both."""
_OBFUSCATED = re.compile(rb"_[0-9A-Za-z._-]+")
_NODE_MAX = 96  # maximum length in bytes
_MAPPED = IPv6Network("::ffff:0:0/96")
_MEMO = 16384  # number of cached addresses; about 3 MiB when full


@lru_cache(maxsize=_MEMO)
def address_number(text: str) -> int:
    """Return a number for a textual IP address, -1 for other text.

    IPv6 is its own number, IPv4 lies above all IPv6, and an IPv4-mapped IPv6 address
    (``::ffff:192.0.2.1``) is the IPv4 address. A zone (``%eth0``) is ignored. Caches the last
    16,384 addresses.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return -1
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is None:
            return int(address)
        address = mapped
    return V4_BASE + int(address)


def split_address(text: bytes) -> tuple[str, int]:
    """Return address and port of ``1.2.3.4``, ``1.2.3.4:80``, ``2001:db8::1`` or
    ``[2001:db8::1]:80``.

    Returns ("", 0) for other text. Port 0 means that it is missing, invalid or obfuscated (``_x``,
    RFC 7239 §6.3).
    """
    text = text.strip(b" \t")
    port = b""
    if len(text) > _NODE_MAX:
        return "", 0
    if text.startswith(b"["):
        text, bracket, port = text[1:].partition(b"]")
        if not bracket or b":" not in text or (port and not port.startswith(b":")):
            return "", 0
        port = port[1:]
    elif text.count(b":") == 1:
        text, _, port = text.partition(b":")
        if not port:
            return "", 0
    if port and not port.isdigit() and _OBFUSCATED.fullmatch(port) is None:
        return "", 0
    ip = text.decode("latin-1")
    if "%" in ip or address_number(ip) < 0:
        return "", 0
    number = int(port) if port.isdigit() else 0
    return ip, number if number < 65536 else 0


def network_bounds(network: Network) -> tuple[int, int]:
    """Return the first and the last number of ``network``, inclusive."""
    first = int(network.network_address)
    last = int(network.broadcast_address)
    if isinstance(network, IPv4Network):
        return V4_BASE + first, V4_BASE + last
    if network.subnet_of(_MAPPED):
        low = V4_BASE - int(_MAPPED.network_address)
        return low + first, low + last
    return first, last


class AddressSet:
    """The union of some networks.

    ``"192.0.2.7" in addresses`` is O(log n), and takes 0.2 us for a cached address.

    Text that is not an IP address (the "" of a Unix socket) is in no set. An IPv4-mapped IPv6
    address counts as IPv4, and an IPv6 network such as ``::/0`` contains no IPv4 address.
    """

    __slots__ = ("_firsts", "_lasts", "networks")

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self.networks = tuple(networks)
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(network_bounds(network) for network in self.networks):
            if self._lasts and first <= self._lasts[-1] + 1 and first != V4_BASE:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, ip: str) -> bool:
        number = address_number(ip)
        if number < 0:
            return False
        index = bisect_right(self._firsts, number)
        return index > 0 and number <= self._lasts[index - 1]

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __repr__(self) -> str:
        return f"<addresses {' '.join(map(str, self.networks))}>"


class Access:
    """The ``allow`` and ``deny`` keys of a frontend. ``deny`` is evaluated first; an empty
    ``allow`` admits all clients.

    A client without an address (Unix socket) passes only if ``allow`` is empty. ``allow_lists`` and
    ``deny_lists`` are further sets (``ip in set``) that may change; an ``allow`` with an empty list
    does not admit all clients.
    """

    __slots__ = ("_allow", "_allow_lists", "_deny", "_deny_lists", "_restricted", "open")

    def __init__(
        self,
        allow: Iterable[Network] = (),
        deny: Iterable[Network] = (),
        allow_lists: Iterable[Any] = (),
        deny_lists: Iterable[Any] = (),
    ) -> None:
        self._allow = AddressSet(allow)
        self._deny = AddressSet(deny)
        self._allow_lists: list[Any] = list(allow_lists)
        self._deny_lists: list[Any] = list(deny_lists)
        self._restricted = bool(self._allow) or bool(self._allow_lists)
        self.open = not self._restricted and not self._deny and not self._deny_lists
        """True if all clients pass, so that callers may skip the check."""

    def allows(self, ip: str) -> bool:
        """Return whether the client at ``ip`` may connect."""
        if self.open:
            return True
        if ip in self._deny or _in_any(ip, self._deny_lists):
            return False
        return not self._restricted or ip in self._allow or _in_any(ip, self._allow_lists)

    def why_not(self, ip: str) -> str:
        """Return why the client at ``ip`` may not connect, for the log. The text names a list."""
        for one in self._deny_lists:
            if ip in one and ip not in self._deny:
                return f"{ip} is not allowed: it is in list:{getattr(one, 'name', '')}"
        if self._allow_lists and ip not in self._deny:
            names = " ".join(f"list:{getattr(one, 'name', '')}" for one in self._allow_lists)
            return f"{ip} is not allowed: it is not in {names}"
        return f"{ip} is not allowed"


def _in_any(ip: str, lists: list[Any]) -> bool:
    return any(ip in one for one in lists)
