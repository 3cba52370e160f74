"""DATA. One attempt at one server: a lease, a connection, a response.

An attempt has an owner, which decides what is sent, and handles the response or the failure: the
attempts of an exchange (:mod:`lbproxy.proxy.http.attempts`), hedging, or the copy of a mirrored
request. Its states are in :mod:`lbproxy.proxy.http.attemptstate`.

1. The lease is released exactly once, with the outcome, when the state becomes OVER.
2. A pooled connection that closes before it answers was already closed while idle. If the owner
   allows it, the request is sent again on another connection of the same server (state LEASED);
   nothing is counted against the server.
3. When the response ends, connection and lease are released before the owner gets the end, because
   the next request of the client may use that connection.
4. A failure is counted and the lease is released before the owner is notified.
5. An exception of a connector, or of a stream of its connections, fails the attempt with
   ``connect_failed`` or ``server_gone``. It is logged, and passive health does not count it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, Outcome, ProxyError
from lbproxy.http.identity import authenticates_connection, challenges_connection
from lbproxy.http.message import End, ResponseHead
from lbproxy.http.upgrade import switch_fault
from lbproxy.proxy import leasing
from lbproxy.proxy.http.attemptowner import AttemptOwner
from lbproxy.proxy.http.attemptstate import AttemptState
from lbproxy.proxy.http.attemptstream import AttemptStream
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.serverlink import ServerLink
from lbproxy.proxy.http.streams import ServerConnection, ServerStream

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["Attempt"]


_LEASED: Final = AttemptState.LEASED  # cached, because each enum member access costs a lookup
_DIALLING: Final = AttemptState.DIALLING
_SENT: Final = AttemptState.SENT
_ANSWERED: Final = AttemptState.ANSWERED
_TUNNEL: Final = AttemptState.TUNNEL
_OVER: Final = AttemptState.OVER
_GOOD: Final = Outcome.OK
_FAILED: Final = Outcome.FAILED


class Attempt(AttemptStream):
    """See the module.

    ``_fresh``: it must not use a pooled connection. This attribute and those that the owner reads
    are independent of the state, and remain after the end: ``reused``, ``sent``, ``ended`` (the
    body of the request) and ``paused``.
    """

    __slots__ = ("_connector", "_fresh")

    def __init__(
        self,
        owner: AttemptOwner,
        backend: Backend,
        traffic: Any,
        tried: Sequence[ServerState],
        judged: bool = True,
    ) -> None:
        super().__init__(owner, backend, traffic, tried, judged)
        self._fresh = False
        self._connector: Connector | None = None
        self._stream: ServerStream | None = None

    # -- a connection ---------------------------------------------------------------------------

    def connect(self) -> None:
        """See :class:`OwnedAttempt`."""
        try:
            self._take_or_dial()
        except BaseException as error:
            self._not_connected(error)

    def _not_connected(self, error: BaseException) -> None:
        """Handle an exception of a connector."""
        if self.state is _OVER:
            raise error
        self._fail(ProxyError(Kind.CONNECT_FAILED, self._bug("connector", error)), blame=False)

    def _take_or_dial(self) -> None:
        server = self.server
        assert server is not None
        connector: Connector = server.connector
        connection = None if self._fresh else connector.take(self)
        if connection is not None:
            self.reused = True
            self.t_connect = 0.0
            server.counters.reused += 1
            self._open(connection)
            return
        self.reused = False
        self.state = _DIALLING
        self._mark = self.backend.wheel.now()
        self._connector = connector
        connector.dial(self)

    def connected(self, connection: ServerConnection) -> None:
        """Use the connection dialled for this attempt."""
        self._connector = None
        self.t_connect = self.backend.wheel.now() - self._mark
        try:
            self._open(connection)
        except BaseException as error:
            self._not_connected(error)

    def _open(self, connection: ServerConnection) -> None:
        if isinstance(connection, ServerLink):  # the same as below, compiled to a C call
            self.address = connection.address
            self._stream = connection.open_stream(self)
        else:
            self.address = connection.address
            self._stream = connection.open_stream(self)
        terms, limits = self.backend.terms, self.limits
        if limits is not None and limits.waits:
            self._stream.limit(limits.over(terms))
        if not terms.shares:
            self._bind(False)
        self._owner.attempt_connected(self)

    def _bind(self, pins: bool) -> None:
        """Reserve the connection for this client connection. The copy of a request has no waiting
        client.
        """
        if self._stream is not None:
            self._stream.bind(self.traffic.info if self.judged else None, pins=pins)

    def connect_failed(self, error: ProxyError) -> None:
        """Handle a failed dial."""
        self._connector = None
        assert self.server is not None
        self.server.counters.connect_errors += 1
        self._fail(error)

    # -- the request ----------------------------------------------------------------------------

    def send(self, data: bytes, end: End | None) -> None:
        """See :class:`OwnedAttempt`."""
        stream, request = self._stream, self.request
        assert stream is not None
        if request is None:
            raise TypeError("a filter removed the request")
        if authenticates_connection(request):
            self._bind(True)
        self.state = _SENT
        self.sent = True
        self.ended = end is not None
        self._mark = self.backend.wheel.now()
        if isinstance(stream, ServerLink):  # the same as below, compiled to a C call
            stream.send_request(request, data, end)
        else:
            stream.send_request(request, data, end)

    def start_tunnel(self) -> bytes:
        """Accept the switch of protocols. Return the bytes received for the tunnel so far."""
        assert self._stream is not None and self.server is not None
        passive = self.backend.passive
        if passive is not None:
            passive.succeeded(self.server, self.t_response)
        return self._stream.start_tunnel()

    # -- the response ---------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """See :class:`ResponseSink`."""
        state = self.state
        if state is _OVER or (state is _SENT and not self._has_head(events)):
            return
        if type(events[-1]) is End and not self._is_tunnel():
            self._complete()
        self._owner.attempt_events(self, events)

    def _is_tunnel(self) -> bool:
        return self.state is _TUNNEL

    def _has_head(self, events: list[Any]) -> bool:
        """Remove interim heads from ``events``. Return whether the final head is there and
        accepted.
        """
        request = self.request
        assert request is not None
        while events:
            head: ResponseHead = events[0]
            status = head.status
            if status == 101 or (status < 300 and request.method == b"CONNECT" and status >= 200):
                fault = switch_fault(request, head, self.ended)
                if fault:
                    self._stop(ProxyError(Kind.BAD_RESPONSE, fault))
                    return False
                self.state = _TUNNEL
            elif status >= 200:
                self.state = _ANSWERED
                if status in (401, 407) and challenges_connection(head):
                    self._bind(True)
            else:
                self._owner.attempt_interim(self, head)
                if self.state is _OVER:
                    return False
                del events[0]
                continue
            self.status = status
            self.t_response = self.backend.wheel.now() - self._mark
            return self._owner.attempt_answered(self, events)
        return False

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`ResponseSink`."""
        self._stream = None
        if self.state is _OVER:
            return
        dead = self.state is _SENT and self.reused and error.kind is Kind.SERVER_GONE
        if dead and self._owner.attempt_may_resend(self):
            self._fresh = True
            self.sent = self.paused = False
            self.state = _LEASED
            self._owner.attempt_resend(self)
        else:
            self._fail(error, blame=not dead)

    def server_paused(self) -> None:
        """See :class:`ResponseSink`."""
        self.paused = True
        if self.state is not _OVER:
            self._owner.attempt_paused(self)

    def server_resumed(self) -> None:
        """See :class:`ResponseSink`."""
        self.paused = False
        if self.state is not _OVER:
            self._owner.attempt_resumed(self)

    # -- the end --------------------------------------------------------------------------------

    def server_gone(self, kind: Kind) -> None:
        """End because the server went down with ``on_down = close``, or an operator ended the
        session.
        """
        if self._lease is not None:
            self.reused = False
            self._stop(ProxyError(kind))

    def reject(self, complete: bool) -> None:
        """See :class:`OwnedAttempt`."""
        server, passive = self.server, self.backend.passive
        assert server is not None
        self._disconnect(complete and self.ended)
        server.sessions.discard(self)
        if passive is not None and self.judged:
            passive.answered(server, self.status, self.t_response)
        self._release(_FAILED)

    def cancel(self, outcome: Outcome) -> None:
        """End the attempt in any state, without notifying the owner."""
        if self.state is _OVER:
            return
        if self._lease is None:
            self.state = _OVER
            self.backend.queue.leave(self)
            return
        self._disconnect(False)
        assert self.server is not None
        self.server.sessions.discard(self)
        self._release(outcome)

    def _complete(self) -> None:
        """Handle the end of the response."""
        server, passive = self.server, self.backend.passive
        assert server is not None
        self._disconnect(self.ended)
        server.sessions.discard(self)
        if passive is not None and self.judged:
            passive.answered(server, self.status, self.t_response)
        if not self.backend.terms.shares_first:
            self.traffic.info.served = True
        self._release(_GOOD)

    def _stop(self, error: ProxyError) -> None:
        """End the attempt for a reason outside its connection."""
        self._disconnect(False)
        self._fail(error)

    def _fail(self, error: ProxyError, blame: bool = True) -> None:
        judged = self.judged and blame and self.state is not _TUNNEL
        self._disconnect(False)
        lease, self._lease = self._lease, None
        assert lease is not None
        leasing.fail(self.backend, lease, self, error, judged, self.t_response)
        self._owner.attempt_failed(self, error)

    def _disconnect(self, reuse: bool) -> None:
        """Cancel the dial or close the connection."""
        self.state = _OVER
        connector, self._connector = self._connector, None
        if connector is not None:
            try:
                connector.cancel(self)
            except BaseException as error:
                self._bug("cancel", error)
        self._close_stream(reuse)

    def _release(self, outcome: Outcome) -> None:
        lease, self._lease = self._lease, None
        assert lease is not None
        leasing.give_back(lease, outcome, self.t_response)
