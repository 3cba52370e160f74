"""PURE. Lists of addresses as text, with an address, a prefix or a range per line.

``#`` and ``;`` begin a comment. Bits of an address beyond the length of its prefix are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import AF_INET, inet_pton

from attrs import frozen

from lbproxy.guard.addresses import V4_BASE, address_number, network_bounds
from lbproxy.lists.prefixes import Bounds, PrefixSet

__all__ = ["BROKEN", "BadLine", "ListText", "bounds_of", "bounds_text", "read_list"]

BROKEN = 100
"""Maximum number of reported lines. Reading stops at a file with more."""

_MOST = 4_000_000  # maximum number of lines


@frozen
class BadLine:
    """A line that is neither an address, a prefix nor a range."""

    number: int
    text: str


@frozen
class ListText:
    """The entries of a text.  ``lines``: their number; ``bad``: the first :data:`BROKEN` errors."""

    prefixes: PrefixSet
    lines: int
    bad: tuple[BadLine, ...] = ()


def read_list(lines: Iterable[str]) -> ListText:
    """Read a text of at most 4 million lines. A longer one is an error in the next line."""
    ranges: list[Bounds] = []
    bad: list[BadLine] = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].partition(";")[0].strip()
        if not text:
            continue
        found = bounds_of(text) if number <= _MOST else None
        if found is not None:
            ranges.append(found)
            continue
        bad.append(BadLine(number, text[:80]))
        if len(bad) >= BROKEN or number > _MOST:
            break
    return ListText(PrefixSet(ranges), len(ranges), tuple(bad))


def bounds_of(text: str) -> Bounds | None:
    """Return the range of ``192.0.2.7``, ``192.0.2.0/24``, ``2001:db8::/32`` or ``FIRST-LAST``."""
    address, slash, length = text.partition("/")
    try:  # the form of nearly all lines of long lists, in a tenth of the time of ip_network
        first = V4_BASE + int.from_bytes(inet_pton(AF_INET, address), "big")
        if not slash:
            return first, first
        if length.isdigit() and len(length) <= 2 and int(length) <= 32:
            rest = (1 << (32 - int(length))) - 1
            return first & ~rest, first | rest
    except (OSError, ValueError):
        pass
    try:
        if "-" in text:
            low, high = (str(ip_address(one.strip())) for one in text.split("-", 1))
            bounds = address_number(low), address_number(high)
            same = (bounds[0] >= V4_BASE) == (bounds[1] >= V4_BASE)
            return bounds if same and bounds[0] <= bounds[1] else None
        return network_bounds(ip_network(text, strict=False))
    except ValueError:
        return None


def bounds_text(bounds: Bounds) -> str:
    """Return ``FIRST-LAST``, or the address of a range of one."""
    first, last = (
        str(IPv4Address(one - V4_BASE) if one >= V4_BASE else IPv6Address(one)) for one in bounds
    )
    return first if first == last else f"{first}-{last}"
