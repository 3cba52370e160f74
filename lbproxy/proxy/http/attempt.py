"""DATA. The server's half of an HTTP exchange: attempt after attempt, until one gives a response head.

1. A lease from the backend, at once or from its queue; filters of phase ``server_request``.
2. A pooled or a new connection; the head and the body bytes known so far in one write.
3. The rest of the body under back-pressure.  Up to ``retry_buffer`` bytes of it are kept for a replay.
4. A failure before the response head: a pooled connection that turns out dead is replaced at no cost; else the lease
   goes back and another server is tried, if ``retry_on`` names the failure and the request can be replayed: nothing
   of it was sent, or all of it is kept and the method is idempotent.
5. A response head whose status ``retry_on`` names is thrown away for another attempt, while there may be one.
6. A second attempt that :mod:`lbproxy.proxy.features.hedge` has begun takes the place of a retry.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.errors import MEANING, Kind, Outcome, ProxyError
from lbproxy.health.breaker import RetryLimit
from lbproxy.http.message import Reply
from lbproxy.http.retry import IDEMPOTENT
from lbproxy.net.endpoints import Dial
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.streams import ServerConnection, ServerStream
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.info import ConnectionInfo

__all__ = ["Attempts"]

_GOOD: Final = Outcome.OK  # looked up once
_SAME_SERVER_PAUSE: Final = (
    0.25  # before a server that just failed is tried again, for want of another
)


class Attempts(HTTPTraffic):
    """See the module; :class:`lbproxy.proxy.http.exchange.Exchange` is the other half."""

    __slots__ = ()

    # -- what the other half has ----------------------------------------------------------------

    def fail(self, error: ProxyError) -> None:
        """Nothing came of it."""
        raise NotImplementedError

    def hook_replied(self, reply: Reply) -> None:
        """A filter answers in place of a server."""
        raise NotImplementedError

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.streams.ResponseSink`."""
        raise NotImplementedError

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.streams.ResponseSink`."""
        raise NotImplementedError

    def _pause_client(self, paused: bool) -> None:
        raise NotImplementedError

    # -- a server -------------------------------------------------------------------------------

    def _use_backend(self, name: str) -> None:
        self.backend = self.frontend.backends[name]
        self.backend_name = name
        self._hooks = self.frontend.hooks[name]

    def _acquire(self) -> None:
        backend = self.backend
        assert backend is not None
        if backend.name != self.backend_name:  # a filter chose another one
            name = self.backend_name
            chosen = self.frontend.backends.get(name)
            if chosen is None or chosen.mode != "http":
                self.backend_name = backend.name
                self.fail(ProxyError(Kind.FILTER_FAILED, f"no http backend {name!r} to go to"))
                return
            self._use_backend(name)
            backend = chosen
        self._mark = self.frontend.now()
        try:
            lease = backend.acquire(self)
        except ProxyError as error:
            self.fail(error)
            return
        if lease is not None:
            if self.t_queue < 0:
                self.t_queue = 0.0
            self._leased(lease)

    def leased(self, lease: Lease) -> None:
        """The backend's queue gives a server."""
        self.t_queue = max(self.t_queue, 0.0) + self.frontend.now() - self._mark
        self._leased(lease)

    def _leased(self, lease: Lease) -> None:
        self._lease = lease
        server = lease.server
        self._server = server
        self.server_name = server.spec.name
        self.attempts += 1
        self.t_connect = -1.0
        server.sessions.add(self)
        server.counters.picked += 1
        self._attempt()

    def refused(self, error: ProxyError) -> None:
        """The queue gives no server."""
        backend = self.backend
        if backend is not None:
            backend.turned_away(error.kind)
        self.fail(error)

    def _attempt(self) -> None:
        backend = self.backend
        assert backend is not None
        head, hooks = self.request, self._hooks
        info: ConnectionInfo = self.info
        forwarder = self.frontend.forwarder
        # an HTTP/1.0 client may send no Host; HTTP/1.1 to the server needs one (RFC 9112 §3.2)
        host = backend.host_header or (b"" if head.host else self._server_host())
        try:
            self.server_request = forwarder.server_request(
                head,
                client_ip=info.client_ip,
                client_port=info.client_port,
                scheme=self.scheme,
                local_port=info.local_port,
                host_header=host,
            )
        except ProxyError as error:
            self.fail(error)
            return
        except (ValueError, TypeError) as error:  # a filter put something impossible into the head
            self.fail(ProxyError(Kind.FILTER_FAILED, f"request cannot be sent: {error}"))
            return
        if hooks is not None and hooks.server_request:
            run_hooks(self, hooks.server_request, self.frontend.wheel, self._connect)
        else:
            self._connect()

    def _server_host(self) -> bytes:
        assert self._server is not None
        address = self._server.spec.target.address
        if address is None or address.kind != "tcp":
            return b"localhost"
        return str(address).encode("ascii", "replace")

    # -- a connection ---------------------------------------------------------------------------

    def _connect(self) -> None:
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        pool = backend.pools.get(server)
        connection = None if self._fresh or pool is None else pool.take()
        if connection is not None:
            self.reused = True
            self.t_connect = 0.0
            server.counters.reused += 1
            self._send(connection)
            return
        self.reused = False
        self._dialled = self.frontend.now()
        self._dial = backend.connector(backend, server, self)

    def connected(self, connection: ServerConnection) -> None:
        """The connection dialled for this attempt is ready."""
        self._dial = None
        self.t_connect = self.frontend.now() - self._dialled
        self._send(connection)

    def connect_failed(self, error: ProxyError) -> None:
        """It could not be made."""
        self._dial = None
        server = self._server
        assert server is not None
        server.counters.connect_errors += 1
        self._attempt_failed(error)

    def _send(self, connection: ServerConnection) -> None:
        head, backend = self.server_request, self.backend
        assert head is not None and backend is not None
        self._stream = stream = connection.open_stream(self)
        self._sent = True
        self._mark = self.frontend.now()
        body = self._body
        data = b"" if not body else body[0] if len(body) == 1 else b"".join(body)
        try:
            stream.send_request(head, data, self._trailers if self._request_ended else None)
        except (ValueError, TypeError) as error:  # a filter put something impossible into the head
            self.fail(ProxyError(Kind.FILTER_FAILED, f"request cannot be sent: {error}"))
            return
        if body and self._body_size > backend.retry_buffer:
            self._forget_body()
        if self._paused and not self._server_paused:
            self._pause_client(False)
        if self._client_paused:
            stream.pause_response()

    def _forget_body(self) -> None:
        self._lost = True
        self._body.clear()

    # -- failures before the response head ------------------------------------------------------

    def _attempt_failed(self, error: ProxyError) -> None:
        """Try again, or tell the client."""
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()
        replayable = not self._lost and (not self._sent or self.request.method in IDEMPOTENT)
        dead = self._sent and self.reused and error.kind is Kind.SERVER_GONE
        self._stream = None
        self._sent = self._server_paused = False
        if dead and replayable:
            # it died while it was idle: says nothing about the server, costs no retry
            self._fresh = True
            self._connect()
            return
        server.sessions.discard(self)  # if this ejects the server, this attempt is over already
        if backend.passive is not None and not dead:
            backend.passive.failed(server, error.kind)
        self._release(error.outcome)
        other = self._other_attempt()
        if other is not None and other.take_over():
            self._note_failed(server, error.detail)
        elif error.kind in backend.retry.kinds and replayable and self._may_retry():
            self._again(error.detail)
        else:
            self.fail(error)

    def _status_failed(self, status: int, complete: bool) -> bool:
        """A final head with an error status: whether it is thrown away for another attempt.

        ``complete``: the response has ended already, so that its connection can be used again.
        """
        backend, server, stream = self.backend, self._server, self._stream
        assert backend is not None and server is not None
        self._server_status = status
        if (
            status not in backend.retry.statuses
            or self._lost
            or stream is None
            or self.request.method not in IDEMPOTENT
        ):
            return False
        other = self._other_attempt()
        if other is None and not self._may_retry():
            return False
        self._stream = None
        self._sent = self._server_paused = False
        self.t_response = self.frontend.now() - self._mark
        stream.close(reuse=complete and self._request_ended)
        server.sessions.discard(self)
        if backend.passive is not None:
            backend.passive.answered(server, status, self.t_response)
        self._release(Outcome.FAILED)
        if other is not None and other.take_over():
            self._note_failed(server, f"status {status}")
        else:
            self._again(f"status {status}")
        return True

    def _may_retry(self) -> bool:
        """One more attempt is within the limits; it counts as begun."""
        backend = self.backend
        assert backend is not None
        if self.attempts > backend.spec.retries:
            return False
        longest = backend.spec.timeout_retries
        if longest and self.frontend.now() - self.started >= longest:
            return False
        limit = backend.retry_limit
        if limit is not None:
            if not limit.take(self.frontend.now(), self._retrying is limit):
                return False
            self._end_retry(limit)
        return True

    def _end_retry(self, new: RetryLimit | None = None) -> None:
        """Count as a retry under ``new`` from now on, no longer under what it was."""
        old, self._retrying = self._retrying, new
        if old is not None and old is not new:
            old.end()

    def _again(self, detail: str) -> None:
        """Another attempt, at another server if there is one; perhaps after a pause."""
        backend, server = self.backend, self._server
        assert backend is not None and server is not None
        backend.counters.retries += 1
        server.counters.retried += 1
        self._note_failed(server, detail)
        self._fresh = False
        self._server_status = 0
        self.t_response = -1.0
        pause = _SAME_SERVER_PAUSE
        if backend.has_other(self.tried):
            backend.counters.redispatches += 1
            pause = backend.retry.pause(self.attempts, backend.random)
        if pause:
            self._timer = self.frontend.wheel.timer(self._retry_now)
            self._timer.set(pause)
        else:
            self._acquire()

    def _note_failed(self, server: ServerState, detail: str) -> None:
        self.detail = detail
        if server not in self.tried:
            self.tried.append(server)

    def _retry_now(self) -> None:
        self._timer = None
        if not self.over:
            self._acquire()

    # -- a second attempt beside this one -------------------------------------------------------

    def _other_attempt(self) -> Any:
        """The second attempt that hedging has begun beside the failed one; None without one."""
        hooks = self._hooks
        return None if hooks is None or hooks.hedging is None else hooks.hedging.other(self)

    def begin_other(self) -> bool:
        """Whether a second attempt may run beside this one; it counts as a retry does."""
        if not self._may_retry():
            return False
        self.attempts += 1
        return True

    def send_copy(self, stream: ServerStream) -> None:
        """Send the request, all of which is kept, on ``stream`` too.  ValueError as there."""
        assert self.server_request is not None
        stream.send_request(self.server_request, b"".join(self._body), self._trailers)

    def give_up_attempt(self) -> None:
        """Another one was faster, which says nothing about this server."""
        server = self._server
        assert server is not None
        self._drop_connection()
        server.sessions.discard(self)
        self._release(Outcome.NEUTRAL)
        if server not in self.tried:
            self.tried.append(server)

    def adopt(
        self,
        lease: Lease,
        dial: Dial | None,
        stream: ServerStream | None,
        reused: bool,
        dialled: float,
        t_connect: float,
        sent_at: float,
    ) -> None:
        """Go on with the second attempt: it has ``lease``, and ``dial`` runs or ``stream`` has the request."""
        assert self._lease is None
        server = lease.server
        server.sessions.add(self)
        self._lease = lease
        self._server = server
        self.server_name = server.spec.name
        self._dial = dial
        self._stream = stream
        self._sent = stream is not None
        self._fresh = self._server_paused = False
        self._server_status = 0
        self.reused = reused
        self.t_connect = t_connect
        self.t_response = -1.0
        self._dialled = dialled
        self._mark = sent_at
        self._pause_client(False)
        if stream is not None and self._client_paused:
            stream.pause_response()

    # -- giving things back ---------------------------------------------------------------------

    def _drop_server(self, outcome: Outcome) -> None:
        """Leave the queue, the dial or the server, whichever it is."""
        if self._lease is None:
            if self.backend is not None:
                self.backend.queue.leave(self)
            if self._timer is not None:
                self._timer.close()
                self._timer = None
            return
        self._drop_connection()
        if self._server is not None:
            self._server.sessions.discard(self)
        self._release(outcome)

    def _drop_connection(self) -> None:
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=False)

    def _release(self, outcome: Outcome) -> None:
        """Give the lease back; who calls this has left the sessions of the server."""
        lease, self._lease = self._lease, None
        server = self._server
        assert lease is not None and server is not None
        if outcome is _GOOD:
            server.counters.ok += 1
        elif outcome is Outcome.FAILED:
            server.counters.failed += 1
        lease.release(outcome, self.t_response)

    def server_gone(self, kind: Kind) -> None:
        """The server went down with ``on_down = close``, or an operator ended the session."""
        if self.over or self._lease is None:
            return
        error = ProxyError(kind)
        if self.response is not None or self._tunnel:
            self._drop_server(MEANING[kind].outcome)
            self.fail(error)
            return
        self._drop_connection()
        self.reused = False
        self._attempt_failed(error)

    def server_paused(self) -> None:
        """See :class:`ResponseSink`."""
        self._server_paused = True
        if not self.over:
            self._pause_client(True)

    def server_resumed(self) -> None:
        """See :class:`ResponseSink`."""
        self._server_paused = False
        if not self.over:
            self._pause_client(False)
