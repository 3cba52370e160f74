"""DATA. The copy of one request on its way through another backend: one attempt, a deadline of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.config.model import MirrorSpec
from lbproxy.errors import Kind, Outcome, ProxyError
from lbproxy.http.compare import Answer, BodyNote
from lbproxy.http.message import END, End, RequestHead

if TYPE_CHECKING:
    from lbproxy.net.endpoints import Dial
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.http.streams import ServerConnection, ServerStream

__all__ = ["Copy"]


class Copy:
    """A waiter, who wants a connection, and the sink of its response, like an exchange but without a client.

    What runs on a server has these attributes; the lists of sessions show a copy as a request of ``frontend_name``.
    """

    priority = 1 << 30  # in the queue: gives way to everybody
    tunnelled = False
    bytes_out = 0

    def __init__(
        self,
        original: Any,
        backend: Backend,
        head: RequestHead,
        body: bytes,
        spec: MirrorSpec,
        notes_body: bool,
    ) -> None:
        self.client_ip: str = original.client_ip
        self.client_port: int = original.client_port
        self.sni: str = original.sni
        self.info = original.info
        self.frontend_name: str = original.frontend_name
        self.original_server: str = original.server_name
        self.request: RequestHead = head
        self.tried: list[ServerState] = []
        self.server_name = ""
        self.bytes_in = len(body)
        self.over = False
        self.started: float = backend.wheel.now()
        self._backend = backend
        self._forwarder = original.frontend.forwarder
        self._body = body
        keep = spec.body if spec.judge is not None else 0
        self._note = BodyNote(keep) if notes_body else None
        self._timer = backend.wheel.timer(self.cancel)
        self._timeout = spec.timeout
        self._done: Callable[[Answer | None], None] | None = None
        self._answer: Answer | None = None
        self._lease: Lease | None = None
        self._dial: Dial | None = None
        self._stream: ServerStream | None = None
        self._reused = False

    def start(self, done: Callable[[Answer | None], None]) -> None:
        """Go; ``done`` is called once, with the answer or with None."""
        self._done = done
        self._timer.set(self._timeout)
        try:
            lease = self._backend.acquire(self)
        except ProxyError:
            self._end(Outcome.NEUTRAL, None)
            return
        if lease is not None:
            self.leased(lease)

    def cancel(self) -> None:
        """Its time is over.  That it was slow is no more than neutral: nobody was promised anything."""
        self._end(Outcome.NEUTRAL, None)

    # -- Waiter and Connecting ------------------------------------------------------------------

    def leased(self, lease: Lease) -> None:
        """Here is a server."""
        self._lease = lease
        server = lease.server
        self.server_name = server.name
        server.sessions.add(self)
        server.counters.picked += 1
        pool = self._backend.pools.get(server)
        connection = pool.take() if pool is not None else None
        if connection is not None:
            self._reused = True
            server.counters.reused += 1
            self._send(connection)
        else:
            self._dial = self._backend.connector(self._backend, server, self)

    def refused(self, error: ProxyError) -> None:
        """The queue gives none."""
        self._end(Outcome.NEUTRAL, None)

    def connected(self, connection: ServerConnection) -> None:
        """The connection is ready."""
        self._dial = None
        self._send(connection)

    def connect_failed(self, error: ProxyError) -> None:
        """It could not be made."""
        self._dial = None
        if self._lease is not None:
            self._lease.server.counters.connect_errors += 1
        self._end(error.outcome, None)

    def _send(self, connection: ServerConnection) -> None:
        self._stream = stream = connection.open_stream(self)
        try:
            stream.send_request(self.request, self._body, END)
        except (ValueError, TypeError):
            self._end(Outcome.NEUTRAL, None)

    # -- ResponseSink ---------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """Heads, body and end of the answer."""
        for event in events:
            if self.over:
                return
            if type(event) is bytes:
                if self._note is not None:
                    self._note.add(event)
            elif type(event) is End:
                self._complete()
            elif event.status >= 200:
                seconds = self._backend.wheel.now() - self.started
                headers = self._forwarder.response(event).pairs()
                self._answer = Answer(event.status, headers, seconds)
            elif event.status == 101:
                self._end(Outcome.FAILED, None)

    def _complete(self) -> None:
        answer = self._answer
        note = self._note
        if answer is not None and note is not None:
            answer.size, answer.digest, answer.body = note.size, note.digest, note.start
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=True)
        self._end(Outcome.OK, answer)

    def server_failed(self, error: ProxyError) -> None:
        """It ended in the middle.  A pooled connection that died while idle says nothing: a new one is made."""
        self._stream = None
        if self.over:
            return
        lease = self._lease
        dead = self._reused and self._answer is None and error.kind is Kind.SERVER_GONE
        if dead and lease is not None:
            self._reused = False
            self._dial = self._backend.connector(self._backend, lease.server, self)
        else:
            self._end(error.outcome, None)

    def server_paused(self) -> None:
        """Nothing to hold back: the body is sent whole."""

    def server_resumed(self) -> None:
        """See above."""

    def server_gone(self, kind: Kind) -> None:
        """The server goes down, or an operator ends what runs on it."""
        self._end(Outcome.NEUTRAL, None)

    # -- the end --------------------------------------------------------------------------------

    def _end(self, outcome: Outcome, answer: Answer | None) -> None:
        if self.over:
            return
        self.over = True
        self._timer.close()
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=False)
        lease, self._lease = self._lease, None
        if lease is None:
            self._backend.queue.leave(self)
        else:
            server = lease.server
            server.sessions.discard(self)
            server.counters.ok += outcome is Outcome.OK
            server.counters.failed += outcome is Outcome.FAILED
            lease.release(outcome, answer.seconds if answer is not None else -1.0)
        done, self._done = self._done, None
        if done is not None:
            done(answer)
