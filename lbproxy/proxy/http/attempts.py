"""DATA. The servers of a backend as the source of a response: attempts until one returns a head.

1. A lease from the backend, at once or from its queue; filters of phase ``server_request``.
2. A pooled or a new connection; the head and the body bytes received so far in one write.
3. The rest of the body with back-pressure. Up to ``retry_buffer`` bytes of it are kept for a
   replay.
4. After a failure before the response head, another server is tried if ``retry_on`` names the
   failure and the request can be replayed: nothing of it was sent, or all of it is kept and the
   method is idempotent.
5. A response whose status is in ``retry_on`` is discarded for another attempt, while one is
   allowed.

:class:`Servers` is the source; each of its streams is an :class:`Attempts`.
:mod:`lbproxy.proxy.features.hedge` has a source whose streams make two attempts at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lbproxy.balance.server import ServerState
from lbproxy.compiled import native
from lbproxy.errors import MEANING, Outcome, ProxyError
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.http.retry import IDEMPOTENT
from lbproxy.net.timers import Timer
from lbproxy.proxy.http.attempt import Attempt
from lbproxy.proxy.http.attemptowner import OwnedAttempt
from lbproxy.proxy.http.sending import Sending
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.tries import Tries

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["SERVERS", "Attempts", "Servers"]

_OK: Final = Outcome.OK  # cached lookup
_BAD_HEAD: Final = (ValueError, TypeError, AttributeError)


@native(allow_interpreted_subclasses=True)
class Attempts(Sending):
    """The stream of one exchange to the servers of its backend: see the module."""

    __slots__ = ("_timer", "_tries")

    def __init__(self, traffic: HTTPTraffic, backend: Backend, sink: Asking) -> None:
        super().__init__(traffic, backend, sink)
        self._tries: Tries | None = None
        self._timer: Timer | None = None

    # -- SourceStream ---------------------------------------------------------------------------

    def begin(self, data: bytes, end: End | None) -> None:
        """Ask for a server, with the request body received so far."""
        if end is not None:
            self._trailers = end
        if data:
            self._keep(data, False)
        self._acquire()

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
        """Release everything, once. ``outcome``: of a running attempt."""
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

    @property
    def queued(self) -> bool:
        """True if no server has the request: it waits in the queue, or for the next attempt."""
        return self._attempt is None or self._attempt.server is None

    # -- a server -------------------------------------------------------------------------------

    def _acquire(self) -> None:
        traffic = self.traffic
        if traffic.backend_name != self._backend.name and not self._change_backend():
            return
        attempt = self._attempt = Attempt(self, self._backend, traffic, traffic.tried)
        policy = traffic.policy
        if policy is not None:
            attempt.limits = policy.limits
        attempt.acquire()

    def _change_backend(self) -> bool:
        """Change to the backend that a filter has chosen. Return False if it does not exist."""
        traffic = self.traffic
        try:
            traffic.go_over()
        except ProxyError as error:
            self.fail(error)
            return False
        assert traffic.backend is not None
        self._backend = traffic.backend
        return True

    def attempt_refused(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """See :class:`AttemptOwner`."""
        self._attempt = None
        self._note_wait(attempt)
        self.fail(error)

    def attempt_leased(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""
        traffic = self.traffic
        traffic.attempts += 1
        self._note_wait(attempt)
        self._show(attempt)
        self._prepare(attempt)

    def _note_wait(self, attempt: OwnedAttempt) -> None:
        traffic = self.traffic
        traffic.t_queue = (
            attempt.waited if traffic.t_queue < 0.0 else traffic.t_queue + attempt.waited
        )

    def _show(self, attempt: OwnedAttempt) -> None:
        """Update ``traffic`` with the server and the times of this attempt."""
        server = attempt.server
        assert server is not None
        traffic = self.traffic
        traffic.server = server
        traffic.server_name = server.name
        traffic.reused = attempt.reused
        traffic.t_connect = attempt.t_connect
        traffic.t_response = attempt.t_response

    # -- the response ---------------------------------------------------------------------------

    def attempt_interim(self, attempt: OwnedAttempt, head: ResponseHead) -> None:
        """See :class:`AttemptOwner`."""
        self._sink.server_events([head])

    def attempt_answered(self, attempt: OwnedAttempt, events: list[Any]) -> bool:
        """See :class:`AttemptOwner`."""
        self.traffic.t_response = attempt.t_response
        status = attempt.status
        if status > 399 and status in self._backend.retry.statuses:
            return not self._thrown_away(attempt, type(events[-1]) is End)
        return True

    def _thrown_away(self, attempt: OwnedAttempt, complete: bool) -> bool:
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

    def attempt_events(self, attempt: OwnedAttempt, events: list[Any]) -> None:
        """See :class:`AttemptOwner`."""
        if attempt.over:
            self._attempt = None
            self._end(_OK)
        self._sink.server_events(events)

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """See :class:`AttemptOwner`."""
        self._sink.part(to_client, to_server)

    # -- failures and retries -------------------------------------------------------------------

    def attempt_may_resend(self, attempt: OwnedAttempt) -> bool:
        """See :class:`AttemptOwner`."""
        return not self.traffic.body_lost and self.traffic.request.method in IDEMPOTENT

    def attempt_keeps_body(self, attempt: OwnedAttempt) -> bool:
        """See :class:`AttemptOwner`."""
        traffic = self.traffic
        size = traffic.body_size if traffic.request_ended else traffic.request.length
        return size is not None and size <= self._backend.retry_buffer

    def attempt_resend(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`.  A transform serves one body: filters hand over new ones."""
        if self._body is None:
            attempt.connect()
        else:
            self._drop_body()
            self._prepare(attempt)

    def attempt_failed(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """See :class:`AttemptOwner`."""
        self._attempt = None
        self._drop_body()
        self._stop_filter()
        if attempt.status or not self._tried_again(attempt, error):
            self._end(error.outcome)
            self._sink.server_failed(error)

    def _tried_again(self, attempt: OwnedAttempt, error: ProxyError) -> bool:
        """Start another attempt after one without a head, if that is allowed and useful."""
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

    def _may_retry(self) -> bool:
        """Return whether a further attempt is within the limits, and count it as started."""
        traffic = self.traffic
        tries = self._tries
        if tries is None:
            policy = traffic.policy
            limits = None if policy is None else policy.limits
            retries = -1 if limits is None else limits.retries
            tries = self._tries = Tries(traffic.started, retries)
            traffic.tried = tries.servers
        return tries.allow(self._backend, traffic.attempts)

    def _again(self, server: ServerState, detail: str) -> None:
        """Start another attempt, at another server if possible, after a pause if configured."""
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
"""Shared by all backends, because it has no state."""
