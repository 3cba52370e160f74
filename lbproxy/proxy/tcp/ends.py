"""DATA. The two connections of a TCP session: their directions, silence and end.

It is the lower half of :class:`lbproxy.proxy.tcp.session.Session`, whose docstring numbers the
rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from lbproxy.balance.server import ServerState
from lbproxy.errors import MEANING, Kind, Outcome, ProxyError
from lbproxy.http.message import Reply
from lbproxy.net import halfclose
from lbproxy.net.endstate import DONE
from lbproxy.net.stream import Stream
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.routelimits import RouteLimits
from lbproxy.proxy.tcp.attempt import TCPAttempt
from lbproxy.proxy.tcp.idle import IdleWatch
from lbproxy.proxy.tcp.state import SessionState
from lbproxy.proxy.tcp.traffic import TCPTraffic
from lbproxy.proxy.tries import Tries

if TYPE_CHECKING:
    from lbproxy.net.timers import Timer
    from lbproxy.proxy.frontend import Frontend
    from lbproxy.proxy.policy import Hooks

__all__ = ["CLIENT", "FLUSH_S", "SERVER", "TwoEnds", "is_clean", "words_of"]

FLUSH_S: Final = 60.0
"""Maximum time for sending the last bytes of a closed session, in seconds."""

CLIENT: Final = 1
"""A bit of ``_open``, and a value of ``_first``."""

SERVER: Final = 2
"""The same for the server's side."""

_WAITING: Final = SessionState.WAITING  # cached, because each enum member access costs a lookup
_RELAYING: Final = SessionState.RELAYING
_PAUSED: Final = SessionState.PAUSED
_OVER: Final = SessionState.OVER
_GONE: Final = SessionState.GONE
_OK: Final = Kind.OK
_GOOD: Final = Outcome.OK


class TwoEnds(TCPTraffic):
    """The connections and the end of a session."""

    __slots__ = (
        "_attempt",
        "_client",
        "_early",
        "_first",
        "_half",
        "_hooks",
        "_idle",
        "_limits",
        "_open",
        "_timer",
        "_to_server",
        "_tries",
    )

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__(frontend, info)
        self._client: Stream | None = None
        self._to_server: Stream | None = None  # in RELAYING, unless the bytes are tapped
        self._open = 0  # which of the two connections exist
        self._half = halfclose.OPEN  # of the client's connection
        self._first = 0  # the side that ended its direction first
        self._attempt: TCPAttempt | None = None
        self._tries: Tries | None = None
        self._hooks: Hooks | None = None
        self._limits: RouteLimits | None = None
        self._early: list[bytes] | None = None
        self._idle: IdleWatch | None = None
        self._timer: Timer | None = None

    @property
    def over(self) -> bool:
        """True if the session is logged; its connections may still exist."""
        return self.state is _OVER or self.state is _GONE

    @property
    def server(self) -> ServerState | None:
        """The server of the last attempt."""
        attempt = self._attempt
        return None if attempt is None else attempt.server

    @property
    def patience(self) -> float:
        """See :class:`~lbproxy.proxy.queue.Waiter`."""
        return 0.0 if self._limits is None else self._limits.timeout_queue

    def _retry(self) -> None:
        """Start the next attempt after the pause."""
        raise NotImplementedError

    # -- the ends of directions -----------------------------------------------------------------

    def _ended(self, event: int, side: int) -> None:
        self._half = halfclose.after(self._half, event)
        if not self._first:
            self._first = side

    def _pass_end(self, stream: Stream | None) -> None:
        """Handle the end of one direction: end the direction to the other side, or everything if
        both have ended.
        """
        if self._half == halfclose.PEER_ENDED_ENDING:
            self._finish(_OK)
            self._close_client(True)
            self._close_server(True)
            self._limit_flush()
        elif stream is not None:
            stream.loseWriteConnection()
            self._watch()

    def server_half_closed(self) -> None:
        """See :class:`TCPTraffic`."""
        if halfclose.ending(self._half):
            return
        self._ended(halfclose.END, SERVER)
        if self._open & CLIENT and not self.over:
            self._pass_end(self._client)

    def server_lost(self, reason: Failure) -> None:
        """See :class:`TCPTraffic`."""
        self._open &= ~SERVER
        self._to_server = None
        ended = halfclose.ending(self._half)
        if not self._first:
            self._first = SERVER
        if self.over:
            pass
        elif self.state is not _RELAYING:
            self._end(Kind.SERVER_GONE, "closed before the session began")
        else:
            # a reset after the peer's FIN only answers late data from the client; the peer has sent
            # everything
            clean = ended or is_clean(reason)
            self._finish(_OK if clean else Kind.SERVER_GONE, "" if clean else words_of(reason))
            server = self.server
            self._close_client(clean or (server is not None and server.spec.tls))
            self._limit_flush()
        if not self._open:
            self._gone()

    # -- time -----------------------------------------------------------------------------------

    def _wake_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.frontend.wheel.timer(self._woken)
        self._timer.set(seconds)

    def _woken(self) -> None:
        if self.state is _PAUSED:
            self._retry()
        elif self.state is _OVER:
            self._abort_all()
        elif self._idle is not None and not self.over:
            seconds = self._idle.look(self.bytes_in + self.bytes_out)
            if seconds:
                self._wake_in(seconds)
            else:
                client = self._idle.waits_for_client(self._half)
                kind = Kind.CLIENT_TIMEOUT if client else Kind.SERVER_TIMEOUT
                self._end(kind, f"silent for {self._idle.seconds:g} s")

    def _watch(self) -> None:
        """Start or restart the deadline for silence."""
        if self._idle is None:
            backend = self.backend
            assert backend is not None
            seconds = 0.0 if self._limits is None else self._limits.timeout_server
            seconds = seconds or backend.terms.timeout_server
            self._idle = IdleWatch(self.frontend.client_timeout, seconds)
        self._wake_in(self._idle.restart(self._half))

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """End it for rebalancing: each side gets the closing message of its protocol, and is
        closed.
        """
        self._finish(Kind.REBALANCED)
        if self._open & CLIENT and to_client:
            self.transport.write(to_client)
        stream = self._server_stream()
        if stream is not None and to_server:
            stream.write(to_server)
        self._close_client(True)
        self._close_server(True)
        self._limit_flush()

    def _limit_flush(self) -> None:
        """Abort a side that does not read the written data in time."""
        if self._open and self._timer is not None:
            seconds = FLUSH_S if self._idle is None else self._idle.seconds or FLUSH_S
            self._timer.set(min(seconds, FLUSH_S))

    # -- closing --------------------------------------------------------------------------------

    def _server_stream(self) -> Stream | None:
        attempt = self._attempt
        return None if attempt is None or not self._open & SERVER else attempt.stream

    def _close_client(self, clean: bool) -> None:
        if self._open & CLIENT and self._client is not None:
            _close(self._client, clean, halfclose.peer_ended(self._half))

    def _close_server(self, clean: bool) -> None:
        stream = self._server_stream()
        if stream is not None:
            _close(stream, clean, halfclose.ending(self._half))

    def _abort_all(self) -> None:
        if self._open & CLIENT and self._client is not None:
            self._client.abortConnection()
        stream = self._server_stream()
        if stream is not None:
            stream.abortConnection()

    def hook_replied(self, reply: Reply) -> None:
        """Refuse the session, because TCP has no replies."""
        self._end(Kind.FILTER_FAILED, "a filter replied to a TCP session")

    def fail(self, error: ProxyError) -> None:
        """End the session with an error."""
        self._end(error.kind, error.detail)

    def kill(self, error: ProxyError) -> None:
        """End now, without sending the last bytes."""
        if self.over:
            self._abort_all()
        else:
            self._end(error.kind, error.detail)

    # -- the end --------------------------------------------------------------------------------

    def _end(self, kind: Kind, detail: str) -> None:
        if not self.over:
            self._finish(kind, detail)
            self._abort_all()

    def _gone(self) -> None:
        """Note that both connections are closed."""
        self.state = _GONE
        self.frontend.clients.discard(self)
        if self._timer is not None:
            self._timer.close()

    def _finish(self, kind: Kind, detail: str = "") -> None:
        """Finish the session by rule 5."""
        assert not self.over
        waits = self.state is _WAITING
        self.state = _OVER
        self.close = kind
        self.detail = detail
        if waits and self.backend is not None:
            self.backend.queue.leave(self)
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.cancel()
        if self._timer is not None:
            self._timer.clear()
        self._early = self._to_server = None
        if self._tries is not None:
            self._tries.end()
        frontend = self.frontend
        now = frontend.now()
        self.t_total = now - self.started
        attempt = self._attempt
        if attempt is not None:
            self._leave_server(attempt, kind, now)
        frontend.session_over(self)
        hooks = self._hooks
        for hook in hooks.finish if hooks is not None else frontend.own_hooks.finish:
            frontend.run_finish(hook, self)

    def _leave_server(self, attempt: TCPAttempt, kind: Kind, now: float) -> None:
        counters = attempt.server.counters
        counters.bytes_in += self.bytes_in
        counters.bytes_out += self.bytes_out
        attempt.unlist(self)
        passive = attempt.backend.passive
        if passive is not None and attempt.lease is not None and attempt.t_connect >= 0.0:
            lasted = now - attempt.dialled - attempt.t_connect
            hollow = self._first == SERVER and not self.bytes_out
            passive.session_over(attempt.server, kind, hollow, attempt.t_connect, lasted)
        attempt.give_back(_GOOD if kind is _OK else MEANING[kind].outcome)


def _close(stream: Stream, clean: bool, eof: bool) -> None:
    """Close one side, after the written data or at once. ``eof``: it has ended its direction."""
    stream.unregisterProducer()
    if clean:
        if not eof:
            stream.resumeProducing()  # TLS waits for the peer's close
        stream.loseConnection()
    else:
        stream.abortConnection()


def is_clean(reason: Failure) -> bool:
    """Return whether a connection was closed cleanly."""
    return reason is DONE or reason.check(ConnectionDone) is not None


def words_of(reason: Failure) -> str:
    """Return the message of a failure, at most 200 characters."""
    return str(reason.getErrorMessage())[:200]
