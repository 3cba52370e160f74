"""DATA. An attempt until it has a server, and the owner that it asks.

These two name each other, so they share a file. :mod:`lbproxy.proxy.http.attempt` has what
follows: the connection, the request and the response.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.compiled import native
from lbproxy.errors import ProxyError
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.model import Address
from lbproxy.proxy import leasing
from lbproxy.proxy.http.attemptstate import AttemptState
from lbproxy.proxy.http.sink import ResponseSink
from lbproxy.proxy.routelimits import RouteLimits

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["AttemptOwner", "OwnedAttempt"]

_ASKING: Final = AttemptState.ASKING  # each looked up once
_LEASED: Final = AttemptState.LEASED
_OVER: Final = AttemptState.OVER


@native(allow_interpreted_subclasses=True)
class AttemptOwner:
    """The methods that an attempt calls; ``attempt`` is the caller, for owners of several."""

    __slots__ = ()

    def attempt_leased(self, attempt: OwnedAttempt) -> None:
        """A server is known: set ``attempt.request`` and call ``attempt.connect()``, now or
        later."""
        raise NotImplementedError

    def attempt_refused(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """No server will be found; the attempt is over."""
        raise NotImplementedError

    def attempt_connected(self, attempt: OwnedAttempt) -> None:
        """A connection is ready: call ``attempt.send()``, at once."""
        raise NotImplementedError

    def attempt_may_resend(self, attempt: OwnedAttempt) -> bool:
        """Return whether the request may go out again, after a pooled connection has died."""
        raise NotImplementedError

    def attempt_keeps_body(self, attempt: OwnedAttempt) -> bool:
        """Return whether all of the body will be kept, also the part that has not come yet."""
        return True

    def attempt_resend(self, attempt: OwnedAttempt) -> None:
        """The request goes out again: call ``attempt.connect()``, now or later."""
        attempt.connect()

    def attempt_interim(self, attempt: OwnedAttempt, head: ResponseHead) -> None:
        """An interim (1xx) head came."""
        raise NotImplementedError

    def attempt_answered(self, attempt: OwnedAttempt, events: list[Any]) -> bool:
        """The final head came, the first of ``events``.  Return False if the attempt is dropped."""
        raise NotImplementedError

    def attempt_events(self, attempt: OwnedAttempt, events: list[Any]) -> None:
        """Take the final head and what follows it; after the End the attempt is over."""
        raise NotImplementedError

    def attempt_failed(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """The attempt is over without a complete response."""
        raise NotImplementedError

    def attempt_paused(self, attempt: OwnedAttempt) -> None:
        """The server does not take request bytes fast enough."""
        raise NotImplementedError

    def attempt_resumed(self, attempt: OwnedAttempt) -> None:
        """The server takes request bytes again."""
        raise NotImplementedError

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel after last words for each side."""
        raise NotImplementedError


class OwnedAttempt(ResponseSink):
    """An :class:`~lbproxy.proxy.http.attempt.Attempt` as its owner and the queue see it.

    - ``traffic``: what balancers look at, and what lists of sessions show.
    - ``tried``: servers to avoid.
    - ``judged``: passive health hears how the attempt ends.
    - ``limits``: those of the route, None without any.
    - ``request``: the head as the server gets it.
    - ``waited``, ``t_connect``, ``t_response``: seconds, negative where nothing was measured.
    - ``status``: of the final head, 0 before.
    - ``sent``: the server may have seen some of the request.
    - ``address``: of the server's connection, None before.
    - ``ended``: all of the request is sent.
    - ``paused``: the server takes no more for now.
    """

    __slots__ = (
        "_lease",
        "_mark",
        "_owner",
        "address",
        "backend",
        "ended",
        "judged",
        "limits",
        "paused",
        "request",
        "reused",
        "sent",
        "server",
        "state",
        "status",
        "t_connect",
        "t_response",
        "traffic",
        "tried",
        "waited",
    )

    def __init__(
        self,
        owner: AttemptOwner,
        backend: Backend,
        traffic: Any,
        tried: Sequence[ServerState],
        judged: bool = True,
    ) -> None:
        self._owner = owner
        self.backend = backend
        self.traffic = traffic
        self.tried = tried
        self.judged = judged
        self.limits: RouteLimits | None = None
        self.state = _ASKING
        self.server: ServerState | None = None
        self.request: RequestHead | None = None
        self.reused = self.sent = self.ended = self.paused = False
        self.status = 0
        self.waited = 0.0
        self.t_connect = self.t_response = -1.0
        self.address: Address | None = None
        self._mark = 0.0  # when the present wait began
        self._lease: Lease | None = None

    # -- what lists of sessions and rebalancing see -----------------------------------------------

    @property
    def over(self) -> bool:
        """Connection and lease are given back."""
        return self.state is _OVER

    @property
    def info(self) -> Any:
        """The client's connection, for a PROXY header."""
        return self.traffic.info

    @property
    def is_first(self) -> bool:
        """True if the client connection has had no response yet.

        The copy of a request never is the first: no client waits for its response."""
        return self.judged and not self.traffic.info.served

    @property
    def replayable(self) -> bool:
        """True if the request could go out again, also once the server has all of it."""
        owner = self._owner
        return owner.attempt_may_resend(self) and owner.attempt_keeps_body(self)

    @property
    def priority(self) -> int:
        """The place in the queue."""
        priority: int = self.traffic.priority
        return priority

    @property
    def patience(self) -> float:
        """See :class:`~lbproxy.proxy.queue.Waiter`."""
        return 0.0 if self.limits is None else self.limits.timeout_queue

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel for the sake of balance."""
        self._owner.part(to_client, to_server)

    # -- a server -------------------------------------------------------------------------------

    def acquire(self) -> None:
        """Ask the backend for a server, and wait in its queue if there is none."""
        try:
            lease = self.backend.acquire(self, self.traffic, self.tried)
        except ProxyError as error:
            self.state = _OVER
            self._owner.attempt_refused(self, error)
            return
        if lease is None:
            self._mark = self.backend.wheel.now()
        else:
            self.take(lease)

    def leased(self, lease: Lease) -> None:
        """The queue gives a server."""
        self.waited = self.backend.wheel.now() - self._mark
        self.take(lease)

    def refused(self, error: ProxyError) -> None:
        """The queue gives no server."""
        self.backend.turned_away(error.kind)
        self.state = _OVER
        self._owner.attempt_refused(self, error)

    def take(self, lease: Lease) -> None:
        """Use this lease."""
        self._lease = lease
        self.server = leasing.begin(lease, self)
        self.state = _LEASED
        self._owner.attempt_leased(self)

    # -- what the owner calls -------------------------------------------------------------------

    def connect(self) -> None:
        """Take a connection that has a free stream, or dial."""
        raise NotImplementedError

    def send(self, data: bytes, end: End | None) -> None:
        """Send :attr:`request` with the body bytes known so far, and the end if known.

        ValueError or TypeError, with nothing sent, for a head that cannot be written."""
        raise NotImplementedError

    def pause_response(self) -> None:
        """Let no more of the response come for now."""
        raise NotImplementedError

    def reject(self, complete: bool) -> None:
        """Drop a response because of its status: the attempt has failed.

        ``complete``: the response has ended, so that its connection can be used again."""
        raise NotImplementedError
