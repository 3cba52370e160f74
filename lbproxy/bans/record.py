"""PURE. Bans as JSON types: for other processes, the state file, the API and its commands."""

from __future__ import annotations

import math
from ipaddress import ip_address, ip_network
from typing import Any, Final

from attrs import fields

from lbproxy.bans.ledger import Ban, ban_key

__all__ = ["address_of", "as_record", "from_record"]

_TEXT: Final = 300  # maximum length of a text in characters
_FOREVER: Final = 4e9  # Unix time; later times are rejected


def as_record(ban: Ban) -> dict[str, Any]:
    """Return a ban as a record for :func:`from_record`."""
    return {name: getattr(ban, name) for name in _FIELDS}


def from_record(found: Any) -> Ban | None:
    """Return the ban of a record, or None if it is invalid."""
    if not isinstance(found, dict):
        return None
    ip = found.get("ip")
    if not isinstance(ip, str) or ban_key(ip) < 0:
        return None
    numbers = [found.get(key, 0) for key in ("since", "until", "times", "refused")]
    if not all(isinstance(one, int) or _is_finite(one) for one in numbers):
        return None
    # JSON has integers that exceed any float
    since, until, times, refused = (float(min(max(0, one), _FOREVER)) for one in numbers)
    rule, reason, request = (str(found.get(key, ""))[:_TEXT] for key in _TEXTS)
    return Ban(ip, since, until, max(1, int(times)), rule, reason, request, int(refused))


def _is_finite(number: Any) -> bool:
    return isinstance(number, float) and math.isfinite(number)


def address_of(text: str) -> str:
    """Return the address of ``192.0.2.7``, ``2001:db8::1`` or ``2001:db8::/64``. Raises
    ValueError.
    """
    address, slash, _ = text.strip().partition("/")
    if slash:
        network = ip_network(text.strip(), strict=False)
        if network.prefixlen != (32 if network.version == 4 else 64):
            raise ValueError(f"{text}: a ban is for an IPv4 address or an IPv6 prefix of 64 bits")
        return str(network.network_address)
    if "%" in address:
        raise ValueError(f"{text!r} has a zone")
    return str(ip_address(address))


_TEXTS: Final = ("rule", "reason", "request")
_FIELDS: Final = tuple(one.name for one in fields(Ban))
