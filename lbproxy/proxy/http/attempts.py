"""DATA. The servers of a backend as the source of a response: attempt after attempt, until one
gives a head.

1. A lease from the backend, at once or from its queue; filters of phase ``server_request``.
2. A pooled or a new connection; the head and the body bytes known so far in one write.
3. The rest of the body under back-pressure.  Up to ``retry_buffer`` bytes of it are kept for a
   replay.
4. A failure before the response head: another server is tried, if ``retry_on`` names the failure
   and the request can be replayed: nothing of it was sent, or all of it is kept and the method is
   idempotent.
5. A response head whose status ``retry_on`` names is thrown away for another attempt, while there
   may be one.

:class:`Servers` is the source; each of its streams is an :class:`Attempts`.
:mod:`lbproxy.proxy.features.hedge` has a source whose streams make two attempts at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from lbproxy.balance.server import ServerState
from lbproxy.compiled import native
from lbproxy.errors import MEANING, Kind, Outcome, ProxyError
from lbproxy.http.message import END, End, Reply, RequestHead, ResponseHead
from lbproxy.http.retry import IDEMPOTENT
from lbproxy.net.timers import Timer
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.attempt import Attempt, AttemptOwner
from lbproxy.proxy.http.bodies import TransformedBody
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.info import ConnectionInfo
from lbproxy.proxy.tries import Tries

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["SERVERS", "Attempts", "Servers"]

_BAD_HEAD: Final = (ValueError, TypeError, AttributeError)


@native(allow_interpreted_subclasses=True)
class Attempts(AttemptOwner):
    """The stream of one exchange to the servers of its backend: see the module.

    ``over``: every lease and connection is released, and the sink is not called any more.
    ``waiting``: the result of the asynchronous filter of phase ``server_request`` that it waits
    for.
    """

    __slots__ = (
        "_attempt",
        "_backend",
        "_body",
        "_full",
        "_held_back",
        "_sink",
        "_timer",
        "_trailers",
        "_tries",
        "over",
        "traffic",
        "waiting",
    )

    def __init__(self, traffic: HTTPTraffic, backend: Backend, sink: Asking) -> None:
        self.traffic = traffic
        self._backend = backend
        self._sink = sink
        self._attempt: Attempt | None = None
        self._tries: Tries | None = None
        self._timer: Timer | None = None
        self._trailers: End = END
        self._body: TransformedBody | None = None  # of the present attempt
        self._held_back = False  # the client is not to send more body for now
        self._full = False  # the client does not take more response
        self.over = False
        self.waiting: Deferred[Any] | None = None

    # -- SourceStream ---------------------------------------------------------------------------

    def begin(self, data: bytes, end: End | None) -> None:
        """Ask for a server, with what is known of the request body."""
        if end is not None:
            self._trailers = end
        if data:
            self._keep(data, False)
        self._acquire()

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        attempt = self._attempt
        sent = attempt is not None and attempt.sent
        if end is not None:
            self._trailers = end
        if data and not self.traffic.body_lost:
            self._keep(data, sent)
        if sent and attempt is not None:
            if self._body is None:
                attempt.send_body(data, end)
            else:
                self._send_transformed(self._body, data, end)

    def _send_transformed(self, body: TransformedBody, data: bytes, end: End | None) -> None:
        try:
            data, end = body.feed(data, end)
        except ProxyError as error:
            self.fail(error)
            return
        self._send_on(data, end)

    def _send_on(self, data: bytes, end: End | None) -> None:
        """Send what came out of transforms."""
        if self._attempt is not None and (data or end is not None):
            self._attempt.send_body(data, end)

    def _hold_request(self, paused: bool) -> None:
        """A transform pauses the client, or goes on."""
        if paused:
            self._hold_back()
        else:
            self._let_go()

    def _hold_back(self) -> None:
        """Let the client send no more body."""
        if not self._held_back:
            self._held_back = True
            self._sink.server_paused()

    def _let_go(self) -> None:
        """Let the client send again, if a server has the request and neither that server nor a
        transform is paused."""
        attempt, body = self._attempt, self._body
        if (
            self._held_back
            and attempt is not None
            and attempt.sent
            and not attempt.paused
            and (body is None or not body.paused)
        ):
            self._held_back = False
            self._sink.server_resumed()

    def _drop_body(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _keep(self, data: bytes, sent: bool) -> None:
        """Keep body bytes until they are sent, and for a replay while there is room for that."""
        traffic = self.traffic
        traffic.body_size += len(data)
        fits = traffic.body_size <= self._backend.retry_buffer
        if sent and not fits:
            traffic.lose_body()
            return
        if traffic.body is None:
            traffic.body = [data]
        else:
            traffic.body.append(data)
        if not fits:
            self._hold_back()

    def pause_response(self) -> None:
        """See :class:`SourceStream`."""
        self._full = True
        if self._attempt is not None:
            self._attempt.pause_response()

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        self._full = False
        if self._attempt is not None:
            self._attempt.resume_response()

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`."""
        assert self._attempt is not None
        self.traffic.lose_body()
        return self._attempt.start_tunnel()

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`.  The outcome for the server is that of ``traffic.close``."""
        self._end(MEANING[self.traffic.close].outcome)

    def _end(self, outcome: Outcome) -> None:
        """Release everything, once; ``outcome``: of an attempt that still runs."""
        if self.over:
            return
        self.over = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()
        self._stop_filter()
        self._drop_body()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel(outcome)
        if self._tries is not None:
            self._tries.end()

    def hook_replied(self, reply: Reply) -> None:
        """A filter of phase ``server_request`` answers in place of the server."""
        if not self.over:
            self._end(Outcome.NEUTRAL)
            self._sink.hook_replied(reply)

    def fail(self, error: ProxyError) -> None:
        """A filter has refused the request, or it cannot be sent."""
        if not self.over:
            self._end(error.outcome)
            self._sink.fail(error)

    @property
    def queued(self) -> bool:
        """No server has the request: it waits in the queue, or for the next attempt."""
        return self._attempt is None or self._attempt.server is None

    # -- a server -------------------------------------------------------------------------------

    def _acquire(self) -> None:
        traffic = self.traffic
        if traffic.backend_name != self._backend.name and not self._change_backend():
            return
        attempt = self._attempt = Attempt(self, self._backend, traffic, traffic.tried)
        attempt.acquire()

    def _change_backend(self) -> bool:
        """A filter chose another backend: go there; False if there is none."""
        traffic = self.traffic
        try:
            traffic.go_over()
        except ProxyError as error:
            self.fail(error)
            return False
        assert traffic.backend is not None
        self._backend = traffic.backend
        return True

    def attempt_refused(self, attempt: Attempt, error: ProxyError) -> None:
        """See :class:`AttemptOwner`."""
        self._attempt = None
        self._note_wait(attempt)
        self.fail(error)

    def attempt_leased(self, attempt: Attempt) -> None:
        """See :class:`AttemptOwner`."""
        traffic = self.traffic
        traffic.attempts += 1
        self._note_wait(attempt)
        self._show(attempt)
        self._prepare(attempt)

    def _prepare(self, attempt: Attempt) -> None:
        """Make the request for the server of ``attempt``, run the filters, and connect."""
        traffic = self.traffic
        try:
            traffic.server_request = self._server_request(attempt)
        except ProxyError as error:
            self.fail(error)
            return
        except _BAD_HEAD as error:
            self._cannot_send(error)
            return
        hooks = traffic.hooks
        traffic.request_transforms = None
        if hooks is not None and hooks.server_request:
            run_hooks(self, traffic, hooks.server_request, partial(self._connect, attempt))
        else:
            self._connect(attempt)

    def _note_wait(self, attempt: Attempt) -> None:
        traffic = self.traffic
        traffic.t_queue = (
            attempt.waited if traffic.t_queue < 0.0 else traffic.t_queue + attempt.waited
        )

    def _show(self, attempt: Attempt) -> None:
        """Let ``traffic`` name the server and the times of this attempt."""
        server = attempt.server
        assert server is not None
        traffic = self.traffic
        traffic.server = server
        traffic.server_name = server.spec.name
        traffic.reused = attempt.reused
        traffic.t_connect = attempt.t_connect
        traffic.t_response = attempt.t_response

    def _server_request(self, attempt: Attempt) -> RequestHead:
        """Return the head for this hop, before filters of phase ``server_request``.

        Raises ProxyError for a request that goes round in circles."""
        traffic = self.traffic
        head = traffic.request
        info: ConnectionInfo = traffic.info
        # an HTTP/1.0 client may send no Host; HTTP/1.1 to the server needs one (RFC 9112 §3.2)
        host = self._backend.host_header or (b"" if head.host else _server_host(attempt))
        return traffic.frontend.forwarder.server_request(
            head,
            client_ip=info.client_ip,
            client_port=info.client_port,
            scheme=traffic.scheme,
            local_port=info.local_port,
            host_header=host,
        )

    # -- a connection ---------------------------------------------------------------------------

    def _connect(self, attempt: Attempt) -> None:
        """Filters are through: go to the server, unless one of them has ended the attempt."""
        if attempt is not self._attempt:
            return
        attempt.request = self.traffic.server_request
        attempt.connect()

    def attempt_connected(self, attempt: Attempt) -> None:
        """See :class:`AttemptOwner`."""
        traffic = self.traffic
        traffic.reused = attempt.reused
        traffic.t_connect = attempt.t_connect
        if not self._send(attempt):
            return
        if traffic.body_size > self._backend.retry_buffer:
            traffic.lose_body()
        if self._held_back:
            self._let_go()
        if self._full:
            attempt.pause_response()

    def _send(self, attempt: Attempt) -> bool:
        traffic = self.traffic
        data, end = traffic.joined_body(), self._trailers if traffic.request_ended else None
        try:
            if traffic.request_transforms is not None:
                data, end = self._transformed(data, end)
            attempt.send(data, end)
        except ProxyError as error:
            self.fail(error)
            return False
        except _BAD_HEAD as error:
            self._cannot_send(error)
            return False
        return True

    def _transformed(self, data: bytes, end: End | None) -> tuple[bytes, End | None]:
        """Begin to send the body through transforms.  A request without a body has none."""
        traffic = self.traffic
        head, transforms = traffic.server_request, traffic.request_transforms
        assert transforms is not None
        if head is None or head.length == 0:
            return data, end
        self._body = TransformedBody(
            transforms,
            self._backend.wheel,
            traffic.frontend.timeout_filter,
            self._hold_request,
            self._send_on,
            self.fail,
        )
        return self._body.start(head, data, end)

    def _cannot_send(self, error: Exception) -> None:
        """A filter put something impossible into the head."""
        self.fail(ProxyError(Kind.FILTER_FAILED, f"request cannot be sent: {error}"))

    def attempt_paused(self, attempt: Attempt) -> None:
        """See :class:`AttemptOwner`."""
        self._hold_back()

    def attempt_resumed(self, attempt: Attempt) -> None:
        """See :class:`AttemptOwner`."""
        self._let_go()

    # -- the response ---------------------------------------------------------------------------

    def attempt_interim(self, attempt: Attempt, head: ResponseHead) -> None:
        """See :class:`AttemptOwner`."""
        self._sink.server_events([head])

    def attempt_answered(self, attempt: Attempt, events: list[Any]) -> bool:
        """See :class:`AttemptOwner`."""
        self.traffic.t_response = attempt.t_response
        status = attempt.status
        if status > 399 and status in self._backend.retry.statuses:
            return not self._thrown_away(attempt, type(events[-1]) is End)
        return True

    def _thrown_away(self, attempt: Attempt, complete: bool) -> bool:
        """Drop a response with a status of ``retry_on`` and try again, if that is allowed."""
        if self.traffic.body_lost or self.traffic.request.method not in IDEMPOTENT:
            return False
        if not self._may_retry():
            return False
        attempt.reject(complete)
        self._drop_body()
        assert attempt.server is not None
        self._again(attempt.server, f"status {attempt.status}")
        return True

    def attempt_events(self, attempt: Attempt, events: list[Any]) -> None:
        """See :class:`AttemptOwner`."""
        if attempt.over:
            self._attempt = None
            self._end(Outcome.OK)
        self._sink.server_events(events)

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """See :class:`AttemptOwner`."""
        self._sink.part(to_client, to_server)

    # -- failures and retries -------------------------------------------------------------------

    def attempt_may_resend(self, attempt: Attempt) -> bool:
        """See :class:`AttemptOwner`."""
        return not self.traffic.body_lost and self.traffic.request.method in IDEMPOTENT

    def attempt_resend(self, attempt: Attempt) -> None:
        """See :class:`AttemptOwner`.  A transform serves one body: filters hand over new ones."""
        if self._body is None:
            attempt.connect()
        else:
            self._drop_body()
            self._prepare(attempt)

    def attempt_failed(self, attempt: Attempt, error: ProxyError) -> None:
        """See :class:`AttemptOwner`."""
        self._attempt = None
        self._drop_body()
        self._stop_filter()
        if attempt.status or not self._tried_again(attempt, error):
            self._end(error.outcome)
            self._sink.server_failed(error)

    def _tried_again(self, attempt: Attempt, error: ProxyError) -> bool:
        """Begin the next attempt after one that gave no head, if that is allowed and may help."""
        traffic, server = self.traffic, attempt.server
        assert server is not None
        self._show(attempt)
        if error.kind not in self._backend.retry.kinds or traffic.body_lost:
            return False
        if attempt.sent and traffic.request.method not in IDEMPOTENT:
            return False
        if not self._may_retry():
            return False
        self._again(server, error.detail)
        return True

    def _stop_filter(self) -> None:
        """Wait no longer for a filter of phase ``server_request``: its attempt is over."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()

    def _may_retry(self) -> bool:
        """Return whether a further attempt is within the limits, and count it as begun."""
        traffic = self.traffic
        tries = self._tries
        if tries is None:
            tries = self._tries = Tries(traffic.started)
            traffic.tried = tries.servers
        return tries.allow(self._backend, traffic.attempts)

    def _again(self, server: ServerState, detail: str) -> None:
        """Make another attempt, at another server if there is one; perhaps after a pause."""
        traffic, tries = self.traffic, self._tries
        assert tries is not None
        self._attempt = None
        traffic.detail = detail
        traffic.t_response = -1.0
        pause = tries.again(self._backend, server, traffic.attempts)
        if pause:
            self._timer = self._backend.wheel.timer(self._retry_now)
            self._timer.set(pause)
        else:
            self._acquire()

    def _retry_now(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()
            self._acquire()


@native(allow_interpreted_subclasses=True)
class Servers(Source):
    """The source that sends requests to the servers of the backend of ``sink.traffic``."""

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        traffic: HTTPTraffic = sink.traffic
        assert traffic.backend is not None
        attempts = Attempts(traffic, traffic.backend, sink)
        attempts.begin(data, end)
        return attempts


SERVERS: Final = Servers()
"""Shared by all backends: it has no state."""


def _server_host(attempt: Attempt) -> bytes:
    assert attempt.server is not None
    address = attempt.server.spec.target.address
    if address is None or address.kind != "tcp":
        return b"localhost"
    return str(address).encode("ascii", "replace")
