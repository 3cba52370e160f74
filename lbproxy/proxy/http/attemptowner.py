"""DATA. The part of an attempt before it has a server, and the interface of its owner.

They refer to each other, so they share a file. :mod:`lbproxy.proxy.http.attempt` has the rest: the
connection, the request and the response.
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

_ASKING: Final = AttemptState.ASKING  # cached, because each enum member access costs a lookup
_LEASED: Final = AttemptState.LEASED
_OVER: Final = AttemptState.OVER


@native(allow_interpreted_subclasses=True)
class AttemptOwner:
    """The methods that an attempt calls. ``attempt`` is the caller, for owners of several."""

    __slots__ = ()

    def attempt_leased(self, attempt: OwnedAttempt) -> None:
        """Set ``attempt.request`` and call ``attempt.connect()``, now or later. The attempt has a
        server.
        """
        raise NotImplementedError

    def attempt_refused(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """Handle the end of the attempt without a server."""
        raise NotImplementedError

    def attempt_connected(self, attempt: OwnedAttempt) -> None:
        """Call ``attempt.send()`` at once. A connection is ready."""
        raise NotImplementedError

    def attempt_may_resend(self, attempt: OwnedAttempt) -> bool:
        """Return whether the request may be sent again, after a pooled connection was found
        closed.
        """
        raise NotImplementedError

    def attempt_keeps_body(self, attempt: OwnedAttempt) -> bool:
        """Return whether the whole body will be stored, including the part not received yet."""
        return True

    def attempt_resend(self, attempt: OwnedAttempt) -> None:
        """Call ``attempt.connect()``, now or later, to send the request again."""
        attempt.connect()

    def attempt_interim(self, attempt: OwnedAttempt, head: ResponseHead) -> None:
        """Handle an interim (1xx) head."""
        raise NotImplementedError

    def attempt_answered(self, attempt: OwnedAttempt, events: list[Any]) -> bool:
        """Handle the final head, the first of ``events``. Return False if the attempt is
        dropped.
        """
        raise NotImplementedError

    def attempt_events(self, attempt: OwnedAttempt, events: list[Any]) -> None:
        """Handle the final head and the events after it. After the End the attempt is over."""
        raise NotImplementedError

    def attempt_failed(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """Handle the end of the attempt without a complete response."""
        raise NotImplementedError

    def attempt_paused(self, attempt: OwnedAttempt) -> None:
        """Pause the request body, because the server does not read fast enough."""
        raise NotImplementedError

    def attempt_resumed(self, attempt: OwnedAttempt) -> None:
        """Resume the request body."""
        raise NotImplementedError

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel after a closing message for each side."""
        raise NotImplementedError


class OwnedAttempt(ResponseSink):
    """An :class:`~lbproxy.proxy.http.attempt.Attempt` from the view of its owner and of the queue.

    - ``traffic``: the input of balancers and lists of sessions.
    - ``tried``: servers to avoid.
    - ``judged``: passive health gets the outcome of the attempt.
    - ``limits``: those of the route, None without any.
    - ``request``: the head as the server gets it.
    - ``waited``, ``t_connect``, ``t_response``: seconds, negative if not measured.
    - ``status``: of the final head, 0 before.
    - ``sent``: the server may have received a part of the request.
    - ``address``: of the server's connection, None before.
    - ``ended``: the complete request is sent.
    - ``paused``: the server does not accept more at present.
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
        self._mark = 0.0  # start of the present wait
        self._lease: Lease | None = None

    # -- what lists of sessions and rebalancing see -----------------------------------------------

    @property
    def over(self) -> bool:
        """True if connection and lease are released."""
        return self.state is _OVER

    @property
    def info(self) -> Any:
        """The client's connection, for a PROXY header."""
        return self.traffic.info

    @property
    def is_first(self) -> bool:
        """True if the client connection has had no response yet.

        The copy of a request is never the first, because no client waits for its response.
        """
        return self.judged and not self.traffic.info.served

    @property
    def replayable(self) -> bool:
        """True if the request could be sent again, even after the server has received all of it."""
        owner = self._owner
        return owner.attempt_may_resend(self) and owner.attempt_keeps_body(self)

    @property
    def priority(self) -> int:
        """The order in the queue."""
        priority: int = self.traffic.priority
        return priority

    @property
    def patience(self) -> float:
        """See :class:`~lbproxy.proxy.queue.Waiter`."""
        return 0.0 if self.limits is None else self.limits.timeout_queue

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End a tunnel for rebalancing."""
        self._owner.part(to_client, to_server)

    # -- a server -------------------------------------------------------------------------------

    def acquire(self) -> None:
        """Request a server from the backend, and wait in its queue if none is free."""
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
        """Handle a lease from the queue."""
        self.waited = self.backend.wheel.now() - self._mark
        self.take(lease)

    def refused(self, error: ProxyError) -> None:
        """Handle a refusal by the queue."""
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
        """Use a connection with a free stream, or dial."""
        raise NotImplementedError

    def send(self, data: bytes, end: End | None) -> None:
        """Send :attr:`request` with the body bytes known so far, and the end if known.

        Raises ValueError or TypeError, with nothing sent, for a head that cannot be written.
        """
        raise NotImplementedError

    def pause_response(self) -> None:
        """Pause the response."""
        raise NotImplementedError

    def reject(self, complete: bool) -> None:
        """Drop a response because of its status, as a failed attempt.

        ``complete``: the response has ended, so that its connection can be reused.
        """
        raise NotImplementedError
