"""PURE. The order in which idle client connections are closed to make room for others.

A connection without a request waits in one of the lines of its frontend, ordered by the start of
the wait:

1. ``excess_idle`` and 2. ``excess_silent``: of addresses that held more than a tenth of ``maxconn``
   when the connection was accepted;
3. ``idle``: between requests;
4. ``silent``: no request yet, not even a byte of one, or no complete TLS handshake.

Every operation is O(1). The lines are linked through the connections, so that a request costs a few
pointer writes.
"""

from __future__ import annotations

from lbproxy.compiled import native

__all__ = ["SHARE", "IdleClient", "IdleClients", "IdleLine"]

SHARE = 10
"""Divisor of ``maxconn``: an address has too many connections above a tenth of it."""


@native(allow_interpreted_subclasses=True)
class IdleClient:
    """A connection that may wait in a line.

    ``excess``: its address had too many connections when it was accepted. ``address``: as it is
    counted.
    """

    __slots__ = ("after", "before", "excess", "line")

    def __init__(self) -> None:
        self.before: IdleClient | None = None
        self.after: IdleClient | None = None
        self.line: IdleLine | None = None
        self.excess = False

    @property
    def address(self) -> str:
        """The address under which the connection limits count it; "" for a Unix socket."""
        raise NotImplementedError

    def waits_since(self) -> float:
        """Return the start of its wait, by the clock of the timers."""
        raise NotImplementedError

    def evict(self, silent: bool) -> None:
        """Close gracefully, and release its place among the connections at once.

        ``silent``: it has not sent a request.
        """
        raise NotImplementedError


class IdleLine:
    """Connections in the order in which they started to wait."""

    __slots__ = ("_last", "first", "silent")

    def __init__(self, silent: bool) -> None:
        self.first: IdleClient | None = None
        self._last: IdleClient | None = None
        self.silent = silent

    def add(self, client: IdleClient) -> None:
        """Append ``client``, which is in no line, to the line."""
        last = self._last
        client.line = self
        client.before = last
        if last is None:
            self.first = client
        else:
            last.after = client
        self._last = client

    def remove(self, client: IdleClient) -> None:
        """Remove ``client`` from this line."""
        before, after = client.before, client.after
        client.before = client.after = client.line = None
        if before is None:
            self.first = after
        else:
            before.after = after
        if after is None:
            self._last = before
        else:
            after.before = before


class IdleClients:
    """The lines of one frontend."""

    __slots__ = ("excess_idle", "excess_silent", "idle", "lines", "silent")

    def __init__(self) -> None:
        self.excess_idle = IdleLine(silent=False)
        self.excess_silent = IdleLine(silent=True)
        self.idle = IdleLine(silent=False)
        self.silent = IdleLine(silent=True)
        self.lines = [self.excess_idle, self.excess_silent, self.idle, self.silent]

    def add(self, client: IdleClient, silent: bool) -> None:
        """Add ``client``, which starts to wait."""
        if client.excess:
            (self.excess_silent if silent else self.excess_idle).add(client)
        else:
            (self.silent if silent else self.idle).add(client)

    def first(self, number: int, limits: AddressCounts) -> IdleClient | None:
        """Return the first of line ``number``.

        Connections whose address no longer has too many move to the ordinary lines.
        """
        line: IdleLine = self.lines[number]
        while (client := line.first) is not None:
            if number > 1 or limits.has_too_many(client.address):
                return client
            line.remove(client)
            client.excess = False
            self.add(client, line.silent)
        return None


@native(allow_interpreted_subclasses=True)
class AddressCounts:
    """The interface to the number of connections of an address."""

    __slots__ = ()

    def has_too_many(self, ip: str) -> bool:
        """Return whether ``ip`` has more than a tenth of ``maxconn``."""
        raise NotImplementedError
