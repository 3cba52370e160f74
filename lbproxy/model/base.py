"""PURE. The building blocks of sections and lines: keys, positions in a text, addresses,
plugins.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Literal, get_args

import attrs
from attrs import field, frozen

__all__ = [
    "BACKEND_MODES",
    "NOWHERE",
    "Address",
    "Condition",
    "FrontendMode",
    "ListName",
    "Mode",
    "Network",
    "PluginSpec",
    "Target",
    "Where",
    "hidden",
    "option",
    "read_name_server",
]

Network = IPv4Network | IPv6Network


@frozen
class ListName:
    """``list:NAME`` among networks: all addresses of a ``[list NAME]``."""

    name: str

    def __str__(self) -> str:
        return f"list:{self.name}"


Mode = Literal["tcp", "http"]
FrontendMode = Literal["tcp", "http", "corsproxy"]

BACKEND_MODES = get_args(Mode)
"""Modes whose traffic goes to backends; in every other one a feature answers."""
Condition = tuple[str, tuple[str, ...], bool]
"""Verb, arguments, and whether ``not`` precedes the verb."""


def option(
    kind: str, default: Any = attrs.NOTHING, *, doc: str, converter: Any = None, **facts: Any
) -> Any:
    """A configuration key or option word.

    ``kind`` names a parser in :mod:`lbproxy.config.units` (``int``, ``duration``, ``size``,
    ``bool``, ``string``, ``choice``, ``list:KIND`` ...), or ``line:NAME`` and ``lines:NAME`` for a
    line of :mod:`lbproxy.config.lines`. ``facts`` may hold ``min``, ``max`` (inclusive),
    ``choices``, ``example``, ``positional`` (True: the word stands without ``key=``; ``"rest"``:
    all remaining words, as a tuple), ``label`` (the name users see, if it is not that of the
    field), ``empty`` (of several lines: the word for none, which must be written), ``http_only``
    (refused in tcp mode), ``restart`` (a reload cannot change it), ``secret`` (masked where the
    configuration is shown to others), ``after_if`` (conditions behind ``if``), ``route_default``
    (words for the default of the option of routes, of a key that routes have too) and ``workers``.

    ``workers`` says how worker processes get the value (:mod:`lbproxy.config.share`). ``"split"``:
    an equal share of a limit. ``"master"``: the default value, because only the master uses the
    option. ``"shared"``: the value as it is, because workers enforce the limit together at run
    time. Without a rule they get the value as it is. Extension authors use it in their ``Options``
    classes.
    """
    metadata = {"kind": kind, "doc": doc, **facts}
    return field(default=default, metadata=metadata, converter=converter)


def hidden(default: Any = attrs.NOTHING) -> Any:
    """Declare a field that the loader sets itself. It is not a key."""
    return field(default=default, metadata={"kind": "hidden"}, eq=False, repr=False)


@frozen
class Where:
    """A position in a configuration text. ``line`` counts from 1 and is 0 if unknown."""

    file: str = "<text>"
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Where()


@frozen
class Address:
    """A socket address: ``tcp`` with host and port, or ``unix`` with a path.

    ``host`` is an IPv4 or IPv6 literal without brackets, an unresolved name, or "" for every
    interface.
    """

    kind: Literal["tcp", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_name_server(text: str) -> tuple[str, int]:
    """Return IP literal and port of ``10.0.0.2``, ``10.0.0.2:53`` or ``[::1]:53``. Raises
    ValueError.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text, "53"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        found = str(ip_address(host))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address with an optional port") from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is not a port from 1 to 65535")
    return found, int(port)


@frozen
class Target:
    """The target of a server: a socket at ``address``, or an application (``address`` may be None).

    ``scheme`` and ``text`` name the application as written, ``scheme:text``; both are "" for a
    socket.
    """

    address: Address | None
    scheme: str = ""
    text: str = ""

    @classmethod
    def of(cls, value: Target | Address) -> Target:
        """Return ``value``, or the target for the socket at the address ``value``."""
        return cls(value) if isinstance(value, Address) else value

    @property
    def sockets(self) -> tuple[Address, ...]:
        """The address as written, as a tuple of one; empty without one."""
        return () if self.address is None else (self.address,)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.text}" if self.scheme else str(self.address)


@frozen
class PluginSpec:
    """``NAME words key=value``: a balancer, check or filter, resolved to its class and its parsed
    Options.

    ``conditions``: those after the ``if`` of a filter, as in :class:`RouteSpec`.
    """

    name: str
    cls: Any = field(metadata={"unshown": True})
    options: Any
    where: Where = hidden(NOWHERE)
    conditions: tuple[Condition, ...] = field(default=(), metadata={"after_if": True})
