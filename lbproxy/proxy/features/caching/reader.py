"""DATA. An exchange that gets its response from a :class:`Fetch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lbproxy.cache.asked import ask
from lbproxy.cache.codec import DamagedError
from lbproxy.cache.conditions import is_not_modified
from lbproxy.cache.memory import Entry
from lbproxy.cache.stored import Stored
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.known import ASKS_CACHE, IF_NONE_MATCH
from lbproxy.http.message import END, Reply, RequestHead, ResponseHead
from lbproxy.net.timers import Timer
from lbproxy.proxy.features.caching.answers import not_modified
from lbproxy.proxy.features.caching.bypass import is_forced
from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.features.caching.fetchowner import Serving
from lbproxy.proxy.features.caching.judging import FAILURES, known_response, responses_of
from lbproxy.proxy.features.caching.parts import stale_parts
from lbproxy.proxy.features.caching.sharing import (
    fits,
    fits_stale,
    head_for,
    may_get_error,
    reflect,
)
from lbproxy.proxy.http.bodystream import TURN_BYTES
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["Reader"]

_TURN_BYTES: Final[int] = TURN_BYTES
_CONDITIONAL: Final = 1 << ASKS_CACHE | 1 << IF_NONE_MATCH


class Reader(DeferredStream):
    """The stream of one exchange; see :class:`~lbproxy.proxy.http.streams.SourceStream`.

    ``first``: it caused the fetch, so it gets the head as received. ``position``: number of chunks
    of the fetch that it has taken.
    """

    def __init__(self, serving: Serving, sink: Asking, fetch: Fetch, first: bool) -> None:
        super().__init__(sink)
        self._serving = serving
        self._fetch = fetch
        self._first = first
        self.position = 0
        self._begun = False
        self._turn: Any = None
        self._timer: Timer | None = None  # until the head of another request's fetch arrives
        self._waits = not first and fetch.head is None
        self._since = 0.0
        if not first:
            frontend = self._client().frontend
            self._since = frontend.now()
            self._timer = frontend.wheel.timer(self._expired)
            self._timer.set(serving.wait)

    def _client(self) -> HTTPTraffic:
        found: HTTPTraffic = self._sink.traffic
        return found

    # -- DeferredStream -------------------------------------------------------------------------

    @property
    def queued(self) -> bool:
        """See :class:`~lbproxy.proxy.http.streams.SourceStream`."""
        return not self._begun and (self._inner is None or self._inner.queued)

    def _client_resumed(self) -> None:
        self._soon()

    def _client_left(self) -> None:
        self._fetch.left(self)

    # -- from the fetch -------------------------------------------------------------------------

    @property
    def behind(self) -> int:
        """Number of chunks of the fetch that are not taken yet."""
        received = self._fetch.received
        return len(received.chunks) + received.dropped - self.position

    def interim(self, head: ResponseHead) -> None:
        """Send an interim head to the client that caused the fetch; others may not share the final
        head.
        """
        if self._first and not self._begun and not self._over:
            self._sink.server_events([head])

    def deliver(self) -> None:
        """Send the data received so far to the client, unless it is paused."""
        fetch = self._fetch
        if self._over or self._paused or self._turn is not None or fetch.head is None:
            return
        events: list[Any] = []
        begins = not self._begun
        if begins and not self._begin(events):
            return
        taken = 0
        try:
            while self.behind and taken < _TURN_BYTES:
                chunk: bytes = fetch.received.chunks[self.position - fetch.received.dropped]
                events.append(chunk)
                taken += len(chunk)
                self.position += 1
        except (OSError, DamagedError) as error:
            self._damaged(error, begins)
            return
        if not self._first:
            self._serving.cache.counters.collapsed_bytes += taken
        done = fetch.complete and not self.behind
        if done:
            events.append(fetch.last if self._first else END)
            self._end()
        if events:
            self._sink.server_events(events)
        if done:
            fetch.left(self)
        elif self.behind and not self._over:
            self._soon()

    def _damaged(self, error: OSError | DamagedError, begins: bool) -> None:
        """Handle a damaged file of the body: only a client that has received a part of the response
        is cut off; any other request goes to a server.
        """
        fetch = self._fetch
        fetch.spool_damaged(error)
        if begins and not self._over:
            self._begun = False
            self._end()
            fetch.left(self)
            self._elsewhere()
        else:
            self.failed(ProxyError(Kind.SERVER_GONE, f"a file of the cache: {error}"))
            fetch.left(self)

    def _begin(self, events: list[Any]) -> bool:
        """Add the head; return False if nothing remains to be sent."""
        fetch = self._fetch
        assert fetch.head is not None
        cache, status = self._serving.cache, fetch.head.status
        if status in FAILURES and self._stale_instead(f"status {status}"):
            fetch.left(self)
            return False
        head = head_for(cache, fetch, self._sink, self._first)
        if head is None:
            self._end()
            fetch.left(self)
            self._elsewhere()
            return False
        self._begun = True
        self._stop_timer()
        self._count_wait()
        traffic = self._client()
        reflect(fetch, traffic, self._first)
        if _is_conditional(traffic.request) and is_not_modified(
            head, traffic.request, cache.wall()
        ):
            self._end()
            self._sink.server_events([not_modified(head), END])
            fetch.left(self)
            return False
        events.append(head)
        return True

    def _soon(self) -> None:
        if self._turn is None:
            clock = self._client().frontend.wheel.clock
            self._turn = clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self.deliver()
        self._fetch.took()

    def _elsewhere(self) -> None:
        """Send the request to a server, bypassing the cache."""
        self._answer(self._serving.pass_by)

    def _answer(self, answer: Callable[[Asking], SourceStream]) -> None:
        """Hand the exchange over to another stream."""
        self._hand_over(self._serving, lambda: answer(self._sink))

    def revalidated(self, entry: Entry, stored: Stored, status: int, shared: bool) -> None:
        """Answer with the validated stored response, if it fits this request."""
        if self._over:
            return
        serving = self._serving
        self._end()
        if not self._first and not (shared and fits(serving.cache, stored, self._sink)):
            self._answer(serving.alone)
            return
        reflect(self._fetch, self._sink.traffic, self._first)
        self._answer(lambda sink: serving.serve_validated(sink, entry, stored, status, shared))

    def stale(self, entry: Entry, why: str) -> None:
        """Answer with the stored response after a failure, if it fits this request."""
        if self._over:
            return
        serving = self._serving
        self._end()
        if not self._first and not fits_stale(serving.cache, entry.stored, self._sink):
            self._elsewhere()
            return
        reflect(self._fetch, self._sink.traffic, self._first)
        self._answer(lambda sink: serving.serve_stale(sink, entry, why))

    def _stale_instead(self, why: str) -> bool:
        """Answer with a stored response after a failure, if the fetch did not validate it: it is of
        a POST, or another request required a new response.
        """
        fetch = self._fetch
        cache = self._serving.cache
        if self._begun or fetch.entry is not None or fetch.outdated:
            return False
        entry = known_response(fetch, self._client().request)
        if entry is None:
            return self._parts_instead(why)
        if not fits_stale(cache, entry.stored, self._sink):
            return False
        if is_forced(cache, ask(self._client().request, cache.policy), self._sink):
            return False
        self.stale(entry, why)
        return True

    def _parts_instead(self, why: str) -> bool:
        """Answer with stored parts after a failure, if they have all bytes that are requested."""
        fetch, cache = self._fetch, self._serving.cache
        entries = None if self._over else responses_of(cache, fetch.key)
        parts = stale_parts(cache, entries, self._sink, why) if entries else None
        if parts is None:
            return False
        self._end()
        reflect(fetch, self._sink.traffic, self._first)
        self._hand_over(self._serving, parts.send)
        return True

    def again(self) -> None:
        """Send the request to a server, because the fetch cannot be used."""
        if not self._over:
            self._end()
            self._elsewhere()

    def anew(self) -> None:
        """Join or start another fetch, because the stored response was outdated."""
        if not self._over:
            self._end()
            self._answer(self._serving.anew)

    def failed(self, error: ProxyError) -> None:
        """Handle a failure of the fetch, possibly in the middle of the response."""
        if not self._over and not self._stale_instead(str(error.kind.value)):
            self._end()
            reflect(self._fetch, self._sink.traffic, self._first)
            self._sink.server_failed(error)

    def refused(self, error: ProxyError) -> None:
        """Handle a failure before a server received the request."""
        if not self._over and not self._stale_instead(str(error.kind.value)):
            self._end()
            reflect(self._fetch, self._sink.traffic, self._first)
            if self._begun:
                self._sink.server_failed(error)
            else:
                self._sink.fail(error)

    def replied(self, reply: Reply) -> None:
        """Send the reply of a filter of phase ``server_request``."""
        if self._over:
            return
        if not self._first and not may_get_error(
            reply.status, self._serving.cache, self._fetch, self._sink
        ):
            self.again()
        else:
            self._end()
            copy = Reply(reply.status, reply.body, list(reply.headers), reply.close)
            self._sink.hook_replied(copy)

    # -- the end --------------------------------------------------------------------------------

    def _expired(self) -> None:
        """Fail a reader that has waited too long for a head."""
        if not self._over and not self._begun:
            self._end()
            self._fetch.left(self)
            self._elsewhere()

    def _count_wait(self) -> None:
        if self._waits:
            self._waits = False
            counters = self._serving.cache.counters
            counters.waited += 1
            counters.wait_seconds += self._client().frontend.now() - self._since

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()

    def _end(self) -> None:
        super()._end()
        self._stop_timer()
        self._count_wait()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None


def _is_conditional(request: RequestHead) -> bool:
    """Return whether a request may have conditions that the cache answers."""
    if request.method == b"POST":
        return False
    if request.listed or request.added is not None or request.before is not None:
        return True
    return bool(request.present & _CONDITIONAL)
