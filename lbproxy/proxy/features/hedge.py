"""DATA. Hedging: a request without a response head in time is also sent to a second server, and the
first head wins.

Each backend with ``hedge`` has one :class:`Hedging`. It gives exchanges a source that makes two
attempts at a time, :class:`HedgedAttempts`; exchanges with other backends are not affected. The
rules:

1. The first attempt is watched if the method is idempotent and the request asks for no upgrade,
   does not wait for a 100 and does not depend on a connection that carries a user's identity. The
   delay starts when its server is known, so it includes the connection.
2. The second attempt starts after the delay, if the whole body has been received and kept, another
   server is free, ``hedge_share`` allows it, and a retry would be allowed. It counts as a retry.
3. The first final response head wins. The connection of the loser is closed, and its lease is
   released as neutral, because a slower response is no failure.
4. A status of ``retry_on`` does not win while the other attempt runs. It counts as a failure.
5. When the first attempt fails, the exchange continues with the second; when the second fails,
   with the first. A failure counts against its server, like that of any attempt.
6. Interim heads of the second attempt are dropped, unless the first has failed by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from lbproxy.errors import Outcome, ProxyError
from lbproxy.health.breaker import RetryBudget
from lbproxy.http.identity import authenticates_connection
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.http.retry import IDEMPOTENT
from lbproxy.proxy.feature import Feature, Given, counted
from lbproxy.proxy.http.attempt import Attempt
from lbproxy.proxy.http.attemptowner import OwnedAttempt
from lbproxy.proxy.http.attempts import Attempts
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.http.traffic import HTTPTraffic

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["FLOOR", "HedgedAttempts", "Hedging"]

FLOOR = 0.1
"""Second attempts per second that are allowed regardless of the number of requests."""


@define(eq=False)
class HedgeCounters:
    """Totals of a backend."""

    hedges: int = counted("Hedged requests: second attempts because the first was slow.")
    hedges_won: int = counted("Hedged requests in which the second attempt answered first.")
    hedges_refused: int = counted("Second attempts refused: no server, or over a limit.")


class Hedging(Feature["Backend"]):
    """Hedging of a backend. ``delay``: seconds. ``share``: of the requests of the last 10 s.
    ``running``: requests with two attempts.
    """

    name = "hedge"
    keys = ("hedge", "hedge_share")
    Counters = HedgeCounters
    counters: HedgeCounters

    def __init__(self, delay: float, share: float) -> None:
        self.delay = delay
        self.share = share
        self.running: set[HedgedAttempts] = set()
        self.budget = RetryBudget(share, FLOOR)

    @classmethod
    def prepare(cls, spec: Any, old: Hedging | None, given: Given) -> Hedging | None:
        """See :class:`Feature`."""
        if not spec.hedge:
            return None
        if old is not None and (old.delay, old.share) == (spec.hedge, spec.hedge_share):
            return old
        return cls(spec.hedge, spec.hedge_share)

    def source(self, inner: Source) -> Source:
        """See :class:`Feature`."""
        return HedgedServers(self)


class HedgedServers(Source):
    """The source for exchanges with the backend of a :class:`Hedging`."""

    def __init__(self, hedging: Hedging) -> None:
        self._hedging = hedging

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        traffic: HTTPTraffic = sink.traffic
        assert traffic.backend is not None
        attempts = HedgedAttempts(self._hedging, traffic, traffic.backend, sink)
        attempts.begin(data, end)
        return attempts


class HedgedAttempts(Attempts):
    """The owner of one attempt, and of a second one while both run."""

    def __init__(
        self, hedging: Hedging, traffic: HTTPTraffic, backend: Backend, sink: Asking
    ) -> None:
        super().__init__(traffic, backend, sink)
        self._hedging = hedging
        self._second: Attempt | None = None
        self._delay = backend.wheel.timer(self._begin)

    # -- the beginning --------------------------------------------------------------------------

    def _connect(self, attempt: OwnedAttempt) -> None:
        if attempt is self._attempt and self.traffic.attempts == 1:
            self._watch()
        super()._connect(attempt)

    def _watch(self) -> None:
        """Start the delay, if the request may be sent twice."""
        backend, head = self._backend, self.traffic.server_request
        self._hedging.budget.request(backend.wheel.now())
        if (
            head is not None
            and head.method in IDEMPOTENT
            and head.upgrade is None
            and not head.expect_continue
            and self.traffic.request_transforms is None
            and self.traffic.info.bound is None
            and not authenticates_connection(head)
            and (head.host or backend.host_header)  # otherwise the sticky bond names its server
        ):
            self._delay.set(self._hedging.delay)

    def _begin(self) -> None:
        """Start the second attempt after the delay."""
        traffic, backend, hedging = self.traffic, self._backend, self._hedging
        first = self._attempt
        if first is None or first.server is None or traffic.kept_body() is None:
            return
        lease = backend.acquire_at_once(traffic, (first.server,))
        if lease is None:
            hedging.counters.hedges_refused += 1
            return
        if not hedging.budget.take(backend.wheel.now()) or not self._may_retry():
            lease.release(Outcome.NEUTRAL)
            hedging.counters.hedges_refused += 1
            return
        hedging.counters.hedges += 1
        traffic.attempts += 1
        hedging.running.add(self)
        self._second = second = Attempt(self, backend, traffic, traffic.tried)
        second.limits = first.limits
        second.take(lease)

    def attempt_leased(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""
        if attempt is self._second:
            attempt.request = self.traffic.server_request
            attempt.connect()
        else:
            super().attempt_leased(attempt)

    def attempt_connected(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""
        if attempt is self._second:
            self._send(attempt)
        else:
            super().attempt_connected(attempt)

    # -- while both run -------------------------------------------------------------------------

    def attempt_paused(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`.  The data of the second one is in its transport already."""
        if attempt is self._attempt:
            super().attempt_paused(attempt)

    def attempt_resumed(self, attempt: OwnedAttempt) -> None:
        """See :class:`AttemptOwner`."""
        if attempt is self._attempt:
            super().attempt_resumed(attempt)

    def attempt_interim(self, attempt: OwnedAttempt, head: ResponseHead) -> None:
        """See :class:`AttemptOwner`."""
        if attempt is self._attempt:
            super().attempt_interim(attempt, head)

    def attempt_answered(self, attempt: OwnedAttempt, events: list[Any]) -> bool:
        """See :class:`AttemptOwner`."""
        first, second = self._attempt, self._second
        self._delay.close()
        if first is None or second is None:
            return super().attempt_answered(attempt, events)
        if attempt.status in self._backend.retry.statuses:
            attempt.reject(type(events[-1]) is End)
            self._go_on_without(attempt, f"status {attempt.status}")
            return False
        self._single()
        if attempt is second:
            self._hedging.counters.hedges_won += 1
            first.cancel(Outcome.NEUTRAL)
            self._note_tried(first)
            self._adopt(second)
        else:
            second.cancel(Outcome.NEUTRAL)
        return super().attempt_answered(attempt, events)

    def attempt_failed(self, attempt: OwnedAttempt, error: ProxyError) -> None:
        """See :class:`AttemptOwner`."""
        self._delay.close()
        if self._second is None:
            super().attempt_failed(attempt, error)
        else:
            self._go_on_without(attempt, error.detail)

    def _go_on_without(self, attempt: OwnedAttempt, detail: str) -> None:
        """Continue with the other attempt after one of two has failed."""
        second = self._second
        assert second is not None
        self._single()
        self._note_tried(attempt)
        if attempt is not second:
            self.traffic.detail = detail
            self._adopt(second)

    def _adopt(self, attempt: Attempt) -> None:
        """Make the second attempt the first."""
        self._attempt = attempt
        self._show(attempt)
        self._let_go()
        if self._full:
            attempt.pause_response()

    def _note_tried(self, attempt: OwnedAttempt) -> None:
        if self._tries is not None and attempt.server is not None:
            self._tries.failed(attempt.server)

    # -- the end --------------------------------------------------------------------------------

    def _single(self) -> None:
        self._second = None
        self._hedging.running.discard(self)

    def _end(self, outcome: Outcome) -> None:
        if self.over:
            return
        self._delay.close()
        second = self._second
        self._single()
        if second is not None:
            second.cancel(Outcome.NEUTRAL)
        super()._end(outcome)
