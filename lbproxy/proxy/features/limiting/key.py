"""PURE. Keys: text with variables, in which a client's address is its prefix."""

from __future__ import annotations

from typing import Any

from lbproxy.guard.addresses import V4_BASE, address_number
from lbproxy.http.escape import Escaper
from lbproxy.http.place import Variable
from lbproxy.http.template import Template

__all__ = ["TCP_VARIABLES", "Key", "prefix_of"]

TCP_VARIABLES = frozenset({"client_ip", "client_port", "frontend", "sni"})
"""Variables that a connection without a request has."""

_SHOWN = 4  # characters of a key that may be a secret


def prefix_of(ip: str, lengths: tuple[int, int]) -> str:
    """Return the first address of the prefix of ``ip``; "" for no address.

    An IPv4-mapped IPv6 address is an IPv4 address.
    """
    number = address_number(ip)
    if number < 0:
        return ""
    if number >= V4_BASE:
        rest = 32 - lengths[0]
        v4 = number - V4_BASE >> rest << rest
        return f"{v4 >> 24}.{v4 >> 16 & 255}.{v4 >> 8 & 255}.{v4 & 255}"
    rest = 128 - lengths[1]
    return f"{number >> rest << rest:032x}"


class Key:
    """``variables``: the names in the text.  Raises ValueError as :class:`Template`."""

    def __init__(self, text: str, lengths: tuple[int, int]) -> None:
        self._lengths = lengths
        found: set[str] = set()

        def place(variable: Variable) -> Escaper:
            found.add(variable.name)
            return self._prefix if variable.name == "client_ip" else bytes

        self._template = Template(text, place=place, early=True)
        self.variables = frozenset(found)
        self._address = text == "{client_ip}"
        self._secret = any(":" in name for name in found)

    def of(self, traffic: Any) -> str:
        """Return the key of a request, a session or a connection; "" if its variables are empty."""
        if self._address:
            return prefix_of(traffic.client_ip, self._lengths)
        return self._template.render(traffic).strip().decode("utf-8", "replace")

    def shown(self, key: str) -> str:
        """Return a key for people: one from a header, a cookie or the query is cut short."""
        if self._address and len(key) == 32 and "." not in key:
            return ":".join(key[at : at + 4].lstrip("0") or "0" for at in range(0, 32, 4))
        return key[:_SHOWN] + "…" if self._secret and len(key) > _SHOWN else key

    def _prefix(self, raw: bytes) -> bytes:
        return prefix_of(raw.decode("ascii", "replace"), self._lengths).encode()
