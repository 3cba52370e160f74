"""DATA. The connections to one server: idle ones and pending ones.

Each server of a backend has one connector. An attempt requests a connection with a free stream
(:meth:`Connector.take`), or else a new one (:meth:`Connector.dial`). A subclass implements a
protocol to servers: it defines how a connection is made (:meth:`Connector.open`) and how many
streams one carries (:attr:`Connector.streams`). The rules:

1. A requester is notified exactly once of its dial, never before :meth:`Connector.dial` returns,
   unless it cancels.
2. Requesters share a pending connection, up to ``streams`` of them. If the connection then carries
   fewer, the rest shares the next one. A dial without waiters is cancelled.
3. A connection offers itself when it has a free stream, and withdraws when it closes or will carry
   no new stream. Its running streams are not affected.
4. A connection made with other settings (``epoch``: address, TLS, PROXY header) serves its present
   streams, and no new ones.
5. A connection that is bound to a client connection (:mod:`lbproxy.proxy.http.bound`) serves no
   other. With ``reuse = never`` every connection is bound; with ``reuse = safe`` the first request
   of a client connection does not use a pooled one.
6. A connection is closed before its server closes it, as far as the time is known
   (:mod:`lbproxy.http.idlelimit`). Once a server has announced that time, or has closed an idle
   connection, a request that cannot be replayed uses only a connection that has been idle for less
   than half of it, and on which nothing has arrived.
"""

from __future__ import annotations

from lbproxy.balance.server import ServerState
from lbproxy.compiled import native
from lbproxy.errors import Kind, ProxyError
from lbproxy.model import Address
from lbproxy.net.endpoints import Dial
from lbproxy.proxy.http.idletimes import IdleTimes
from lbproxy.proxy.http.pool import Pool
from lbproxy.proxy.http.streams import Connecting, ServerConnection
from lbproxy.proxy.terms import Terms

__all__ = ["Connector", "PendingDial", "connector_of"]


class PendingDial:
    """A pending connection, and the requesters that wait for it.

    The new connection calls :meth:`connected` once it can carry streams. The dialler, or a
    connection that closes before that, calls :meth:`failed`. Only the first call has an effect.
    ``epoch`` and ``address``: those of the connection.
    """

    __slots__ = ("_connector", "dial", "epoch", "waiters")

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self.epoch = connector.epoch
        self.waiters: list[Connecting] = []
        self.dial: Dial | None = None

    @property
    def address(self) -> Address | None:
        """The address of the pending connection."""
        return None if self.dial is None else self.dial.address

    def connected(self, connection: ServerConnection) -> None:
        """Give the streams of the new connection to the waiters."""
        self._connector.made(self, connection)

    def failed(self, error: ProxyError) -> None:
        """Fail the waiters."""
        self._connector.not_made(self, error)


@native(allow_interpreted_subclasses=True)
class Connector(IdleTimes):
    """See the module.

    ``streams``: how many requesters may share a dial; a connection with another limit sets it.
    ``epoch``: changes with the settings. ``closed``: connections are no longer kept. ``bound``:
    connections that belong to one client connection each. ``rest_s``: maximum idle time of a
    connection. ``careful``: see rule 6.
    """

    __slots__ = (
        "_joinable",
        "_oldest",
        "_waiting",
        "bound",
        "epoch",
        "pool",
        "server",
        "streams",
    )

    def __init__(self, terms: Terms, server: ServerState, streams: int = 1) -> None:
        super().__init__(terms)
        self.server = server
        self.streams = streams
        self.epoch = 0
        self._oldest = 0  # epoch of the last change other than of addresses
        self.pool = Pool(terms.pool_size)
        self.bound: set[ServerConnection] = set()
        self._waiting: dict[Connecting, PendingDial] = {}
        self._joinable: PendingDial | None = None

    # -- for attempts ---------------------------------------------------------------------------

    def take(self, waiter: Connecting) -> ServerConnection | None:
        """Return a connection with a free stream, or None.  Open the stream at once."""
        if self.bound and waiter.info.bound is not None:
            own: ServerConnection | None = waiter.info.bound.take(self)
            if own is not None:
                return own
        if not self.terms.shares_first and waiter.is_first:
            return None
        if self.careful and not waiter.replayable:
            return self._freshest()
        return self.pool.take()

    def _freshest(self) -> ServerConnection | None:
        """Return the most recently used connection, if its server is unlikely to close it now."""
        while True:
            found = self.pool.take()
            if found is None:
                return None
            if found.has_input:
                continue  # most likely a close, which the transport reads next
            if found.idle_s <= self.rest_s / 2:
                return found
            self.pool.put(found)
            return None

    def dial(self, waiter: Connecting) -> None:
        """Make a connection for ``waiter``, or let it share a pending one."""
        if self.streams > 1:
            pending = self._joinable
            if pending is not None and len(pending.waiters) < self.streams:
                pending.waiters.append(waiter)
                self._waiting[waiter] = pending
                return
        self._joinable = self._begin(waiter)

    def warm(self, waiter: Connecting) -> None:
        """Make one more connection for ``waiter``, regardless of pending ones."""
        self._begin(waiter)

    def _begin(self, waiter: Connecting) -> PendingDial:
        pending = PendingDial(self)
        pending.waiters.append(waiter)
        self._waiting[waiter] = pending
        try:
            pending.dial = self.open(pending)
        except BaseException:
            del self._waiting[waiter]
            raise
        return pending

    def cancel(self, waiter: Connecting) -> None:
        """Remove ``waiter``. No effect if it does not wait."""
        pending = self._waiting.pop(waiter, None)
        if pending is None:
            return
        pending.waiters.remove(waiter)
        if not pending.waiters:
            self._over(pending)
            dial, pending.dial = pending.dial, None
            if dial is not None:
                dial.cancel()

    def _over(self, pending: PendingDial) -> None:
        if self._joinable is pending:
            self._joinable = None

    def _decided(self, pending: PendingDial) -> None:
        """Drop a dial with a known outcome, because it refers to the protocol, which refers to this
        object.
        """
        self._over(pending)
        pending.dial = None

    # -- for dials ------------------------------------------------------------------------------

    def open(self, pending: PendingDial) -> Dial:
        """Dial. The new connection, or the dialler, reports to ``pending`` later."""
        raise NotImplementedError

    def made(self, pending: PendingDial, connection: ServerConnection) -> None:
        """See :meth:`PendingDial.connected`."""
        self._decided(pending)
        waiters = pending.waiters
        if not waiters:
            connection.shut()
            return
        if connection.spare <= 0:
            connection.shut()
            why = "the connection carries no stream"
            self.not_made(pending, ProxyError(Kind.CONNECT_FAILED, why))
            return
        while waiters and connection.spare > 0:
            waiter = waiters.pop(0)
            del self._waiting[waiter]
            waiter.connected(connection)
        while waiters:
            waiter = waiters.pop(0)
            del self._waiting[waiter]
            self.dial(waiter)

    def not_made(self, pending: PendingDial, error: ProxyError) -> None:
        """See :meth:`PendingDial.failed`."""
        self._decided(pending)
        waiters = pending.waiters
        while waiters:
            waiter = waiters.pop(0)
            del self._waiting[waiter]
            waiter.connect_failed(error)

    # -- for connections ------------------------------------------------------------------------

    def is_current(self, epoch: int) -> bool:
        """Return whether a connection of this epoch may carry more streams, of any client."""
        return epoch == self.epoch and not self.closed and self.server.listed

    def keeps(self, connection: ServerConnection) -> bool:
        """Return whether ``connection`` may carry more streams, of any client."""
        return self.holds(connection) and self.server.listed

    def holds(self, connection: ServerConnection) -> bool:
        """Return whether ``connection`` has the present settings."""
        if self.closed:
            return False
        return connection.epoch == self.epoch or self._still_there(connection)

    def _still_there(self, connection: ServerConnection) -> bool:
        """Return whether only addresses have changed, and that of ``connection`` is still in
        use.
        """
        if connection.epoch < self._oldest or connection.address not in self.server.usable:
            return False
        connection.epoch = self.epoch
        return True

    def offer(self, connection: ServerConnection) -> None:
        """Offer ``connection``, which has a free stream. It is shut if it may carry no more."""
        if self.keeps(connection):
            self.pool.put(connection)
        else:
            connection.shut()

    def withdraw(self, connection: ServerConnection) -> None:
        """Withdraw ``connection``, which carries no new streams. No effect if it is not offered."""
        self.pool.forget(connection)

    def bind(self, connection: ServerConnection) -> None:
        """Reserve ``connection`` for one client connection from now on."""
        self.bound.add(connection)
        self.terms.bound += 1

    def unbind(self, connection: ServerConnection) -> None:
        """Remove a closed bound connection."""
        if connection in self.bound:
            self.bound.remove(connection)
            self.terms.bound -= 1

    # -- for the backend ------------------------------------------------------------------------

    @property
    def idle(self) -> int:
        """Number of connections with a free stream."""
        return len(self.pool)

    @property
    def waiting(self) -> int:
        """Number of requesters that wait for a connection."""
        return len(self._waiting)

    def refit(self) -> None:
        """Apply changed :attr:`terms` after a reload."""
        if not self.closed:
            self.pool.limit = self.terms.pool_size
        self.refit_times()

    def clear(self) -> None:
        """Shut offered and bound connections."""
        self.pool.shut()
        for connection in list(self.bound):
            connection.shut()

    def drain(self) -> None:
        """Shut offered connections; bound ones continue, like sticky sessions."""
        self.pool.shut()

    def renew(self) -> None:
        """Use no present connection for new streams, because the settings have changed."""
        self.epoch += 1
        self._oldest = self.epoch
        self._joinable = None
        self.clear()

    def moved(self) -> None:
        """Use no connection to an old address for new streams, because the addresses have
        changed.
        """
        self.epoch += 1
        self._joinable = None
        for connection in [*self.pool.connections(), *self.bound]:
            if not self.holds(connection):
                connection.shut()

    def close(self) -> None:
        """Keep no connection from now on. Running streams finish, and dials still work."""
        self.close_times()
        self.pool.close()
        self.clear()


def connector_of(server: ServerState) -> Connector:
    """Return the connector of a server that belongs to a backend."""
    connector: Connector = server.connector
    return connector
