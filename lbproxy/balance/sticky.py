"""PURE. Sticky sessions: a client returns to the server that served it before.

A backend with ``sticky`` calls :meth:`Sticky.pick` instead of
:meth:`lbproxy.balance.group.ServerGroup.pick`. The rules:

1. A client belongs to a server by name, or to no server (:meth:`Sticky.belongs`).
2. The client gets its server while that server is up or drained (weight 0 is a drain too). The bond
   breaks if the server is down, in maint, removed, or has been tried already.
3. If the server is only full, another one serves the client once; the bond stays.
4. Without a bond, or with a broken one, the balancer picks a server, and the client belongs to it
   (:meth:`Sticky.settled`).

The classes in this file identify the client by a property of its traffic and keep a table. The
classes that use a cookie are in :mod:`lbproxy.balance.stickycookie`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Any, ClassVar

from attrs import asdict

from lbproxy.balance.base import Need, NoOptions
from lbproxy.balance.group import ServerGroup
from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.balance.stickyoptions import (
    SourceOptions,
    StickyCounters,
    StickyHeaderOptions,
    TableOptions,
)
from lbproxy.balance.stickytable import StickyEntry, StickyTable
from lbproxy.compiled import native
from lbproxy.interfaces import Env, PickContext

__all__ = [
    "HeaderSticky",
    "SNISticky",
    "SourceSticky",
    "Sticky",
    "StickyCounters",
    "TableOptions",
    "TableSticky",
    "digest",
]

_HTTP = frozenset({"http"})
_BOTH = frozenset({"http", "tcp"})


@native(allow_interpreted_subclasses=True)
class Sticky:
    """Base class of sticky sessions. Extend :class:`TableSticky` for a key of your own, and this
    class for anything else.

    A subclass may also have methods named after filter phases, which run as filters of the backend.
    :meth:`bind` connects the object to its group once. ``table`` is None if the client carries the
    bond itself.
    """

    name: ClassVar[str] = ""
    Options: ClassVar[type[Any]] = NoOptions
    modes: ClassVar[frozenset[str]] = _HTTP
    needs: ClassVar[frozenset[Need]] = frozenset()
    fail_open: ClassVar[bool] = True  # run as a filter

    forgets: ClassVar[bool] = False
    """Whether :meth:`forget` can break a bond. False if the client carries the bond itself."""

    group: ServerGroup

    def __init__(self, options: Any, env: Env) -> None:
        self.options = options
        self.env = env
        self.counters = StickyCounters()
        self.table: StickyTable | None = None

    # methods that subclasses implement

    def belongs(self, context: PickContext) -> str | None:
        """Return the name of the server that ``context`` belongs to, or None."""
        raise NotImplementedError(f"{type(self).__name__}.belongs")

    def settled(self, context: PickContext, server: ServerState, moved: bool) -> None:
        """Record that ``context`` belongs to ``server``. ``moved``: it belonged to another server
        before.
        """

    def server_added(self, name: str) -> None:
        """Handle a new server of the backend."""

    def server_removed(self, name: str) -> None:
        """Handle a removed server; one of the same name may be added later."""

    def forget(self, context: PickContext) -> None:
        """Break the bond of ``context``, which is moved to another server. It belongs to no server
        until its next pick.
        """

    # methods that the backend calls

    def bind(self, group: ServerGroup) -> None:
        """Set the group that this object serves."""
        self.group = group

    def pick(self, context: PickContext, avoid: Collection[ServerState] = ()) -> Lease | None:
        """Return a lease like :meth:`ServerGroup.pick`, by the rules of the module.

        An error in a subclass costs stickiness, not availability.
        """
        group = self.group
        try:
            name = self.belongs(context)
        except BaseException as error:
            group.failed(error)
            return group.pick(context, avoid)
        if name is not None:
            server = group.servers.get(name)
            if server is not None and server.honours and server not in avoid:
                lease = group.take(server)
                if lease is not None:
                    self.counters.kept += 1
                    return lease
                lease = group.pick(context, avoid)
                self.counters.lent += lease is not None
                return lease
        lease = group.pick(context, avoid)
        if lease is not None:
            self.counters.moved += name is not None
            try:
                self.settled(context, lease.server, name is not None)
            except BaseException as error:
                group.failed(error)
        return lease

    def keep(self, context: PickContext, avoid: Collection[ServerState] = ()) -> Lease | None:
        """Return a lease of the server that ``context`` belongs to, or None if another server must
        serve it.
        """
        try:
            name = self.belongs(context)
        except BaseException as error:
            self.group.failed(error)
            return None
        server = self.group.servers.get(name) if name is not None else None
        if server is None or server in avoid:
            return None
        lease = self.group.take(server)
        self.counters.kept += lease is not None
        return lease

    # for people

    def snapshot(self) -> dict[str, Any]:
        """Return the counters, and those of the table if one exists, as plain JSON types."""
        shown: dict[str, Any] = {"kind": self.name, **asdict(self.counters)}
        table = self.table
        if table is not None:
            shown["table"] = {
                "entries": len(table),
                "size": table.size,
                "created": table.created,
                "evicted": table.evicted,
                "expired": table.expired,
            }
        return shown

    def shown_key(self, key: bytes) -> str:
        """Return a key of the table in the form that people may see."""
        return key.hex()

    def entries(self, limit: int = 1000) -> Iterator[StickyEntry]:
        """Yield at most ``limit`` entries of the table, the most recently used key first."""
        if self.table is not None:
            for key, server, left in islice(self.table.entries(), limit):
                yield StickyEntry(self.shown_key(key), server, left)

    def adopt(self, old: Sticky) -> bool:
        """Take over the entries of ``old`` after a reload if they have the same meaning; return
        whether they do.
        """
        mine, theirs = self.table, old.table
        if mine is None or theirs is None or self.identity() != old.identity():
            return False
        mine.adopt(theirs)
        return True

    def identity(self) -> tuple[Any, ...]:
        """Return the meaning of the table's keys. Tables of equal identity hold keys of the same
        meaning.
        """
        return (self.name, type(self).__name__)


@native(allow_interpreted_subclasses=True)
class TableSticky(Sticky):
    """Base of the classes that identify a client by a key. Implement :meth:`key`, and derive your
    Options from TableOptions.
    """

    Options: ClassVar[type[Any]] = TableOptions
    forgets = True

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self.table = StickyTable(options.size, options.expire, env.now)

    def key(self, context: PickContext) -> bytes | None:
        """Return a key that identifies the client, at most a few dozen bytes. None or an empty key
        means that the client cannot be identified.
        """
        raise NotImplementedError(f"{type(self).__name__}.key")

    def belongs(self, context: PickContext) -> str | None:
        """See :class:`Sticky`."""
        table, key = self.table, self.key(context)
        return table.get(key) if key and table is not None else None

    def settled(self, context: PickContext, server: ServerState, moved: bool) -> None:
        """See :class:`Sticky`."""
        table, key = self.table, self.key(context)
        if key and table is not None:
            table.put(key, server.name)

    def forget(self, context: PickContext) -> None:
        """See :class:`Sticky`.

        The running sessions of other clients with the same key (the same network, the same name)
        continue.
        """
        table, key = self.table, self.key(context)
        if key and table is not None:
            table.remove(key)


@native(allow_interpreted_subclasses=True)
class SourceSticky(TableSticky):
    """The client's address, or its network, identifies the client in a table. IPv6 clients change
    the last 64 bits at will, so these are ignored by default.

    All clients behind one NAT go to one server.
    """

    name = "source"
    Options = SourceOptions
    modes = _BOTH
    needs = frozenset({Need.SOURCE})

    def key(self, context: PickContext) -> bytes | None:
        """Return the network of the client, or None for a client on a Unix socket."""
        try:
            address = ip_address(context.client_ip)
        except ValueError:
            return None
        if isinstance(address, IPv6Address):
            mapped = address.ipv4_mapped
            if mapped is None:
                left: int = 128 - self.options.prefix6
                return (int(address) >> left << left).to_bytes(16, "big")
            address = mapped
        left = 32 - self.options.prefix
        return (int(address) >> left << left).to_bytes(4, "big")

    def shown_key(self, key: bytes) -> str:
        """Return the address as text."""
        return str(ip_address(key))

    def identity(self) -> tuple[Any, ...]:
        """See :class:`Sticky`."""
        return (*super().identity(), self.options.prefix, self.options.prefix6)


@native(allow_interpreted_subclasses=True)
class HeaderSticky(TableSticky):
    """The value of a request header identifies the client in a table, which stores a digest of it.
    Requests without the header are balanced as usual.

    A client can send any number of different values: use a header that your own edge sets.
    """

    name = "header"
    Options = StickyHeaderOptions
    needs = frozenset({Need.REQUEST})

    def __init__(self, options: StickyHeaderOptions, env: Env) -> None:
        super().__init__(options, env)
        self._header = options.header.encode("ascii")

    def key(self, context: PickContext) -> bytes | None:
        """Return a digest of the first value of the header."""
        request = context.request
        value = request.header(self._header) if request is not None else None
        return digest(value) if value else None

    def identity(self) -> tuple[Any, ...]:
        """See :class:`Sticky`."""
        return (*super().identity(), self.options.header.lower())


@native(allow_interpreted_subclasses=True)
class SNISticky(TableSticky):
    """The server name of the client's TLS handshake identifies the server in a table: all clients
    that ask for one name go to one server.

    In TCP mode lbproxy reads the name from the ClientHello of TLS that is passed through.
    """

    name = "sni"
    modes = _BOTH
    needs = frozenset({Need.SNI})

    def key(self, context: PickContext) -> bytes | None:
        """Return the server name in lower case."""
        return context.sni.encode("ascii", "replace")[:255]

    def shown_key(self, key: bytes) -> str:
        """Return the server name as text."""
        return key.decode("ascii", "replace")


def digest(value: bytes) -> bytes:
    """Return a digest of 16 bytes. Tables store it instead of a value that may be long or
    secret.
    """
    return blake2b(value, digest_size=16).digest()
