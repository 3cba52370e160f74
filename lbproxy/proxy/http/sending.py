"""DATA. The half of the attempts of an exchange that sends the request.

:class:`Sending` is the base of :class:`~lbproxy.proxy.http.attempts.Attempts`, which decides about
retries and the response. For one attempt at a time:

1. The head for this hop is created from the client's, and filters of phase ``server_request`` run.
2. Head and the body bytes received so far are sent in one write, the rest as it arrives. The client
   is paused while the server, or a transform of the body, accepts no more.
3. The body is kept until it is sent, and for a replay while it fits into ``retry_buffer``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from lbproxy.compiled import native
from lbproxy.errors import Kind, Outcome, ProxyError
from lbproxy.http.message import END, End, Reply, RequestHead
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.attempt import Attempt
from lbproxy.proxy.http.attemptowner import AttemptOwner, OwnedAttempt
from lbproxy.proxy.http.bodies import TransformedBody
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.info import ConnectionInfo

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["Sending"]

_BAD_HEAD: Final = (ValueError, TypeError, AttributeError)


@native(allow_interpreted_subclasses=True)
class Sending(AttemptOwner):
    """See the module.

    ``over``: every lease and connection is released, and the sink is not called any more.
    ``waiting``: the result of the running asynchronous filter of phase ``server_request``.
    """

    __slots__ = (
        "_attempt",
        "_backend",
        "_body",
        "_full",
        "_held_back",
        "_sink",
        "_trailers",
        "over",
        "traffic",
        "waiting",
    )

    def __init__(self, traffic: HTTPTraffic, backend: Backend, sink: Asking) -> None:
        self.traffic = traffic
        self._backend = backend
        self._sink = sink
        self._attempt: Attempt | None = None
        self._trailers: End = END
        self._body: TransformedBody | None = None  # transforms of the present attempt
        self._held_back = False  # the client must not send more body at present
        self._full = False  # the client accepts no more response data at present
        self.over = False
        self.waiting: Deferred[Any] | None = None

    def _end(self, outcome: Outcome) -> None:
        """Release everything, once. ``outcome``: of a running attempt."""
        raise NotImplementedError

    # -- the body -------------------------------------------------------------------------------

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
        """Send the output of transforms."""
        if self._attempt is not None and (data or end is not None):
            self._attempt.send_body(data, end)

    def _hold_request(self, paused: bool) -> None:
        """Pause the client for a transform, or resume it."""
        if paused:
            self._hold_back()
        else:
            self._let_go()

    def _hold_back(self) -> None:
        """Pause the client's body."""
        if not self._held_back:
            self._held_back = True
            self._sink.server_paused()

    def _let_go(self) -> None:
        """Resume the client's body, if a server has the request and neither that server nor a
        transform is paused.
        """
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
        """Keep body bytes until they are sent, and for a replay while they fit."""
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

    # -- the head -------------------------------------------------------------------------------

    def _prepare(self, attempt: OwnedAttempt) -> None:
        """Create the request for the server of ``attempt``, run the filters, and connect."""
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

    def _server_request(self, attempt: OwnedAttempt) -> RequestHead:
        """Return the head for this hop, before filters of phase ``server_request``.

        Raises ProxyError for a request loop.
        """
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

    def hook_replied(self, reply: Reply) -> None:
        """Handle a reply of a filter of phase ``server_request`` instead of the server."""
        if not self.over:
            self._end(Outcome.NEUTRAL)
            self._sink.hook_replied(reply)

    def fail(self, error: ProxyError) -> None:
        """Handle a refusal by a filter, or a request that cannot be sent."""
        if not self.over:
            self._end(error.outcome)
            self._sink.fail(error)

    def _stop_filter(self) -> None:
        """Stop waiting for a filter of phase ``server_request``, because its attempt is over."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()

    # -- a connection ---------------------------------------------------------------------------

    def _connect(self, attempt: OwnedAttempt) -> None:
        """Connect to the server after the filters, unless one of them has ended the attempt."""
        if attempt is not self._attempt:
            return
        attempt.request = self.traffic.server_request
        attempt.connect()

    def attempt_connected(self, attempt: OwnedAttempt) -> None:
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

    def _send(self, attempt: OwnedAttempt) -> bool:
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
        """Start to send the body through transforms. A request without a body has none."""
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
        """Fail, because a filter made the head invalid."""
        self.fail(ProxyError(Kind.FILTER_FAILED, f"request cannot be sent: {error}"))

    def attempt_paused(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""
        self._hold_back()

    def attempt_resumed(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""
        self._let_go()


def _server_host(attempt: OwnedAttempt) -> bytes:
    assert attempt.server is not None
    address = attempt.server.spec.target.address
    if address is None or address.kind != "tcp":
        return b"localhost"
    return str(address).encode("ascii", "replace")
