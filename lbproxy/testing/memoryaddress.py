"""DATA. Addresses of the in-memory network: as keys, as Twisted objects and as texts in tests."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

__all__ = ["Key", "address_of", "endpoint", "is_literal", "names_of", "text_of"]

Key = tuple[str, int]
"""Host and port, or a Unix path and -1."""


def is_literal(host: str) -> bool:
    """Return whether ``host`` is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def endpoint(host: str, port: int, kind: str) -> Any:
    """Return the Twisted address for an IP address and a port."""
    cls = IPv6Address if ":" in host else IPv4Address
    return cls(kind, host, port)  # type: ignore[arg-type]


def address_of(key: Key) -> Any:
    """Return the Twisted address for ``key``."""
    host, port = key
    return UNIXAddress(host) if port < 0 else endpoint(host, port, "TCP")


def text_of(key: Key) -> str:
    """Return ``key`` as users of :class:`~lbproxy.testing.memoryfaults.Faults` write it."""
    host, port = key
    if port < 0:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def names_of(*ends: Any) -> set[str]:
    """Return every text that names one of ``ends``, which are Twisted addresses."""
    names: set[str] = set()
    for address in ends:
        if isinstance(address, UNIXAddress):
            names.add(address.name.decode() if address.name else "")
        else:
            names |= {address.host, text_of((address.host, address.port))}
    return names
