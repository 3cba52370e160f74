"""PURE. ``allow`` and ``deny`` with the names of lists among their networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lbproxy.guard.addresses import Access, AddressSet
from lbproxy.lists.addresslist import AddressList
from lbproxy.model import ListName, Network

__all__ = ["Members", "access_of"]

Items = Iterable[Network | ListName]


def access_of(allow: Items, deny: Items, lists: Mapping[str, AddressList]) -> Access:
    """Return the rule for two keys. A list that is not in ``lists`` is empty."""
    networks: list[list[Network]] = [[], []]
    found: list[list[AddressList]] = [[], []]
    for at, items in enumerate((allow, deny)):
        for item in items:
            if isinstance(item, ListName):
                one = lists.get(item.name)
                found[at].append(AddressList(item.name) if one is None else one)
            else:
                networks[at].append(item)
    return Access(networks[0], networks[1], found[0], found[1])


class Members:
    """The addresses of some networks and lists: ``"192.0.2.7" in members``."""

    def __init__(self, items: Items, lists: Mapping[str, AddressList]) -> None:
        self._lists = [
            lists[item.name] for item in items if isinstance(item, ListName) and item.name in lists
        ]
        self._networks = AddressSet(item for item in items if not isinstance(item, ListName))

    def __contains__(self, ip: str) -> bool:
        return ip in self._networks or any(ip in one for one in self._lists)
