"""DATA. Hedging: a request that has no response head in time goes to a second server too, and the first head wins.

The methods of :class:`Hedging` are hooks of filter phases, so that exchanges with other backends know nothing of it.
One :class:`Hedge` is made for each exchange it watches.  The rules:

1. Watched is the first attempt of a request whose method is idempotent, that asks for no upgrade and does not wait
   for a 100.  The delay runs from when its server is known, so it includes the connection.
2. The second attempt begins when the delay is over, if the whole body is there and kept, another server can be had at
   once, ``hedge_share`` allows it, and a retry would be allowed.  It counts as one.
3. The first final response head wins.  The connection of the loser is closed, and its lease given back as neutral: that
   it would have been slower is no fault.
4. A status of ``retry_on`` does not win while the other attempt runs.  It has failed.
5. When the first attempt fails, the exchange goes on with the second one; when the second fails, with the first.  What
   fails counts against its server, like any attempt.
6. What the second attempt says before its final head is dropped, unless the first has failed by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from lbproxy.balance.lease import Lease
from lbproxy.errors import Kind, Outcome, ProxyError
from lbproxy.health.breaker import RetryBudget
from lbproxy.http.filter import Phases
from lbproxy.http.message import End, RequestHead
from lbproxy.http.retry import IDEMPOTENT
from lbproxy.proxy.feature import Feature, Given, counted

if TYPE_CHECKING:
    from lbproxy.net.endpoints import Dial
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.http.exchange import Exchange
    from lbproxy.proxy.http.streams import ServerConnection, ServerStream

__all__ = ["FLOOR", "Hedge", "Hedging"]

FLOOR = 0.1
"""Second attempts a second that are allowed however few requests there are."""


@define(eq=False)
class HedgeCounters:
    """Totals of a backend."""

    hedges: int = counted("Hedged requests: second attempts because the first was slow.")
    hedges_won: int = counted("Hedged requests in which the second attempt answered first.")
    hedges_refused: int = counted("Second attempts refused: no server, or over a limit.")


class Hedging(Feature["Backend"]):
    """``delay``: seconds.  ``share``: of the requests of the last 10 s.  ``running``: second attempts."""

    name = "hedge"
    keys = ("hedge", "hedge_share")
    Counters = HedgeCounters
    counters: HedgeCounters
    fail_open = True

    def __init__(self, delay: float, share: float) -> None:
        self.delay = delay
        self.share = share
        self.running: set[Hedge] = set()
        self.watched: dict[Exchange, Hedge] = {}
        self.budget = RetryBudget(share, FLOOR)

    @classmethod
    def prepare(cls, spec: Any, old: Hedging | None, given: Given) -> Hedging | None:
        """See :class:`Feature`."""
        if not spec.hedge:
            return None
        if old is not None and (old.delay, old.share) == (spec.hedge, spec.hedge_share):
            return old
        return cls(spec.hedge, spec.hedge_share)

    def attach(self, owner: Backend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        owner.hedging = self

    def detach(self) -> None:
        """See :class:`Feature`.  Second attempts that run go on."""
        self._owner.hedging = None

    def around(self, phases: Phases) -> Phases:
        """``phases`` with ours: a head is seen before others see it, a request after all have."""
        outer = phases.before(response=self.response)
        return outer.after(server_request=self.server_request, finish=self.finish)

    def server_request(self, exchange: Exchange) -> None:
        """Phase ``server_request``: watch it, if it is one that may be sent twice."""
        head, backend = exchange.server_request, exchange.backend
        if head is None or backend is None or exchange.attempts != 1:
            return
        self.budget.request(backend.wheel.now())
        if (
            head.method in IDEMPOTENT
            and head.upgrade is None
            and not head.expect_continue
            and (head.host or backend.host_header)  # else it names its server
        ):
            self.watched[exchange] = Hedge(self, exchange, backend, head)

    def response(self, exchange: Exchange) -> None:
        """Phase ``response``: there is a head."""
        self._forget(exchange)

    def finish(self, exchange: Exchange) -> None:
        """Phase ``finish``: however it ended."""
        self._forget(exchange)

    def _forget(self, exchange: Exchange) -> None:
        hedge = self.watched.pop(exchange, None)
        if hedge is not None:
            hedge.cancel()

    def other(self, exchange: Any) -> Hedge | None:
        """The first attempt of ``exchange`` has failed: the second one if it runs.  There will be no other."""
        hedge = self.watched.pop(exchange, None)
        if hedge is None:
            return None
        if hedge in self.running:
            return hedge
        hedge.cancel()
        return None


class Hedge:
    """The second attempt of one exchange: first the wait for it, then who wants a connection and hears the response.

    What runs on a server has these attributes; the lists of sessions show it as a request of its own.
    """

    tunnelled = False
    bytes_out = 0

    def __init__(
        self, hedging: Hedging, exchange: Exchange, backend: Backend, head: RequestHead
    ) -> None:
        self.client_ip = exchange.client_ip
        self.client_port = exchange.client_port
        self.info = exchange.info
        self.frontend_name = exchange.frontend_name
        self.request = head
        self.server_name = ""
        self.bytes_in = 0
        self.over = False
        self.started: float = backend.wheel.now()
        self._hedging = hedging
        self._exchange = exchange
        self._backend = backend
        self._adopted = False  # it is the exchange's own attempt now
        self._lease: Lease | None = None
        self._dial: Dial | None = None
        self._stream: ServerStream | None = None
        self._reused = False
        self._dialled = self._sent_at = 0.0
        self._connect_s = -1.0
        self._timer = backend.wheel.timer(self._begin)
        self._timer.set(hedging.delay)

    # -- the beginning --------------------------------------------------------------------------

    def _begin(self) -> None:
        """The delay is over."""
        exchange, backend, hedging = self._exchange, self._backend, self._hedging
        first = exchange.server
        body = exchange.kept_body()
        if exchange.over or first is None or body is None:
            return
        lease = backend.acquire_at_once(exchange, (first,))
        if lease is None:
            hedging.counters.hedges_refused += 1
            return
        if not hedging.budget.take(backend.wheel.now()) or not exchange.begin_other():
            lease.release(Outcome.NEUTRAL)
            hedging.counters.hedges_refused += 1
            return
        hedging.counters.hedges += 1
        server = lease.server
        self._lease = lease
        self.server_name = server.name
        self.bytes_in = len(body)
        self.started = backend.wheel.now()
        server.sessions.add(self)
        server.counters.picked += 1
        hedging.running.add(self)
        pool = backend.pools.get(server)
        connection = pool.take() if pool is not None else None
        if connection is not None:
            self._reused = True
            self._connect_s = 0.0
            server.counters.reused += 1
            self._send(connection)
        else:
            self._connect(lease)

    def _connect(self, lease: Lease) -> None:
        self._dialled = self._backend.wheel.now()
        self._dial = self._backend.connector(self._backend, lease.server, self)

    def _send(self, connection: ServerConnection) -> None:
        self._stream = stream = connection.open_stream(self)
        self._sent_at = self._backend.wheel.now()
        try:
            self._exchange.send_copy(stream)
        except (ValueError, TypeError):  # the first attempt has said it
            self._end(Outcome.NEUTRAL)

    # -- Connecting -----------------------------------------------------------------------------

    def connected(self, connection: ServerConnection) -> None:
        """The connection is ready."""
        self._dial = None
        if self._adopted:
            self._exchange.connected(connection)
            return
        self._connect_s = self._backend.wheel.now() - self._dialled
        self._send(connection)

    def connect_failed(self, error: ProxyError) -> None:
        """It could not be made."""
        self._dial = None
        if self._adopted:
            self._exchange.connect_failed(error)
            return
        if self._lease is not None:
            self._lease.server.counters.connect_errors += 1
        self._failed(error)

    # -- ResponseSink ---------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """The response."""
        if self._adopted:
            self._exchange.server_events(events)
            return
        for index, head in enumerate(events):  # heads, up to the final one
            if self.over:
                return
            if head.status == 101:
                self._failed(ProxyError(Kind.BAD_RESPONSE, "101 to a request without Upgrade"))
                return
            if head.status >= 200:
                if head.status in self._backend.retry.statuses:
                    self._refused(head.status, type(events[-1]) is End)
                else:
                    del events[:index]
                    self._won(events)
                return

    def server_failed(self, error: ProxyError) -> None:
        """It ended without a head.  A pooled connection that died while idle says nothing: a new one is made."""
        self._stream = None
        if self._adopted:
            self._exchange.server_failed(error)
        elif not self.over:
            dead = self._reused and error.kind is Kind.SERVER_GONE
            if dead and self._lease is not None:
                self._reused = False
                self._connect(self._lease)
            else:
                self._failed(error)

    def server_paused(self) -> None:
        """All there is to send is in the transport already."""
        if self._adopted:
            self._exchange.server_paused()

    def server_resumed(self) -> None:
        """See above."""
        if self._adopted:
            self._exchange.server_resumed()

    # -- how it ends ----------------------------------------------------------------------------

    def server_gone(self, kind: Kind) -> None:
        """The server goes down, or an operator ends what runs on it."""
        self._end(Outcome.NEUTRAL)

    def cancel(self) -> None:
        """The first attempt has won, or nobody waits any more."""
        self._end(Outcome.NEUTRAL)

    def _won(self, events: list[Any]) -> None:
        exchange = self._exchange
        self._hedging.watched.pop(exchange, None)
        self._hedging.counters.hedges_won += 1
        exchange.give_up_attempt()
        if self.take_over():
            exchange.server_events(events)

    def take_over(self) -> bool:
        """Be the exchange's attempt from now on; False if it has ended.  The exchange holds no lease now."""
        lease = self._lease
        if self.over or lease is None:
            return False
        if self._exchange.over:
            self._end(Outcome.NEUTRAL)
            return False
        self.over = self._adopted = True
        self._timer.close()
        self._hedging.running.discard(self)
        lease.server.sessions.discard(self)
        self._lease = None
        dial, self._dial = self._dial, None
        stream, self._stream = self._stream, None
        self._exchange.adopt(
            lease, dial, stream, self._reused, self._dialled, self._connect_s, self._sent_at
        )
        return True

    def _refused(self, status: int, complete: bool) -> None:
        """A status of ``retry_on``; ``complete``: with all of its body, so that the connection can be used again."""
        lease, stream = self._lease, self._stream
        if complete and stream is not None:
            self._stream = None
            stream.close(reuse=True)
        passive = self._backend.passive
        if passive is not None and lease is not None:
            lease.server.sessions.discard(self)
            passive.answered(lease.server, status, self._backend.wheel.now() - self._sent_at)
        self._end(Outcome.FAILED)

    def _failed(self, error: ProxyError) -> None:
        passive, lease = self._backend.passive, self._lease
        if passive is not None and lease is not None:
            lease.server.sessions.discard(
                self
            )  # if that ejects the server, this attempt is over already
            passive.failed(lease.server, error.kind)
        self._end(error.outcome)

    def _end(self, outcome: Outcome) -> None:
        if self.over:
            return
        self.over = True
        self._timer.close()
        self._hedging.running.discard(self)
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(reuse=False)
        lease, self._lease = self._lease, None
        if lease is not None:
            server = lease.server
            server.sessions.discard(self)
            server.counters.failed += outcome is Outcome.FAILED
            if outcome is Outcome.FAILED and server not in self._exchange.tried:
                self._exchange.tried.append(server)
            lease.release(outcome)
