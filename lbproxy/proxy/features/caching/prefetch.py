"""DATA. ``prefetch``: requests of the cache itself for the links of a stored page.

Each is an exchange of the frontend, as if the client of the page had sent it: access rules, limits,
routes and the log apply. It has no cookies and no credentials, and its response is dropped.
Responses that are stored because of a prefetch cause no further prefetches.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import frozen

from lbproxy.cache.asked import Asked
from lbproxy.cache.prefetching import prefetch_targets
from lbproxy.cache.stored import Stored
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, Headers, RequestHead, ResponseHead
from lbproxy.proxy.features.caching.counters import CacheCounters
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.http.exchange import Exchange
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.info import ConnectionInfo

__all__ = ["AT_ONCE", "EVERY", "MOST_QUEUED", "PAUSE", "Prefetcher"]

AT_ONCE: Final = 4
"""Maximum number of concurrent requests."""

EVERY: Final = 0.05
"""Seconds between two requests."""

MOST_QUEUED: Final = 200
"""Maximum number of waiting requests; further ones are dropped."""

PAUSE: Final = 60.0
"""Seconds until the same URL is requested again."""

MOST_KNOWN: Final = 5_000
"""Number of URLs remembered for :data:`PAUSE`."""

LONGEST: Final = 60.0
"""Maximum duration of one request, in seconds."""

_COPIED: Final = frozenset({b"accept-encoding", b"accept-language", b"user-agent"})


class Learned(Protocol):
    """The fetch of a page."""

    asked: Asked
    traffic: HTTPTraffic


@frozen
class _Wanted:
    """A prefetch: its frontend, and the data copied from the request for the page."""

    frontend: Frontend
    info: ConnectionInfo
    head: RequestHead
    scheme: str
    client: tuple[str, int]


class Prefetcher:
    """The prefetches of one cache. ``clock``: the reactor's. ``largest()``: size in bytes of the
    largest body that is stored.
    """

    def __init__(self, counters: CacheCounters, clock: Any, largest: Callable[[], int]) -> None:
        self._largest = largest
        self._counters = counters
        self._clock = clock
        self._queue: deque[_Wanted] = deque()
        self._known: OrderedDict[tuple[str, bytes, bytes], float] = OrderedDict()
        self._running: set[_Drain] = set()
        self._call: Any = None

    def learn(self, fetch: Learned, stored: Stored) -> None:
        """Request the links of a page that has just been stored."""
        asked, traffic = fetch.asked, fetch.traffic
        if asked.authorized or asked.cookies or traffic.info.own:
            return
        for target in prefetch_targets(stored):
            self._want(traffic, target)
        self._go_on()

    def stop(self) -> None:
        """End all prefetches."""
        self._queue.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for one in list(self._running):
            one.leave()

    def _want(self, traffic: HTTPTraffic, target: bytes) -> None:
        page, frontend = traffic.request, traffic.frontend
        now = self._clock.seconds()
        name = (frontend.name, page.host, target)
        if self._known.get(name, -PAUSE) + PAUSE > now:
            return
        if len(self._queue) >= MOST_QUEUED:
            self._counters.prefetch_dropped += 1
            return
        self._known[name] = now
        self._known.move_to_end(name)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        self._queue.append(_wanted(traffic, target))

    def _go_on(self) -> None:
        if self._call is None and self._queue and len(self._running) < AT_ONCE:
            self._call = self._clock.callLater(EVERY, self._next)

    def _next(self) -> None:
        self._call = None
        if not self._queue or len(self._running) >= AT_ONCE:
            return
        self._counters.prefetched += 1
        drain = _Drain(self._queue.popleft(), self._clock, self._largest(), self._ended)
        self._running.add(drain)
        drain.start()
        self._go_on()

    def _ended(self, drain: _Drain) -> None:
        self._running.discard(drain)
        self._go_on()


def _wanted(traffic: HTTPTraffic, target: bytes) -> _Wanted:
    page, info = traffic.request, traffic.info
    headers: Headers = [(b"Host", page.host), (b"Accept", b"*/*"), (b"Sec-Purpose", b"prefetch")]
    headers += [pair for pair in page.pairs() if pair[0].lower() in _COPIED]
    head = RequestHead(b"GET", target, headers, 11, page.host, page.scheme, 0)
    own = ConnectionInfo(
        traffic.client_ip, traffic.client_port, traffic.client_ip, traffic.client_port,
        info.local_ip, info.local_port, info.tls, info.sni, info.alpn, (), info.listener,
        info.connected,
    )  # fmt: skip
    own.own = True
    return _Wanted(
        traffic.frontend, own, head, traffic.scheme, (traffic.client_ip, traffic.client_port)
    )


class _Drain:
    """The client of one prefetch. It drops the response, and leaves after ``most`` bytes, because
    larger bodies are not stored. ``ended(self)`` is called at the end.
    """

    def __init__(
        self, wanted: _Wanted, clock: Any, most: int, ended: Callable[[_Drain], None]
    ) -> None:
        self._left = most
        frontend = wanted.frontend.lineage.current or wanted.frontend
        self.info = wanted.info
        self._ended = ended
        self._clock = clock
        self._timer = frontend.wheel.timer(self.leave)
        self._exchange: Exchange | None = Exchange(
            frontend, self, wanted.head, frontend.now(), -1.0
        )
        self._exchange.traffic.scheme = wanted.scheme

    def start(self) -> None:
        """Send the request."""
        self._timer.set(LONGEST)
        if self._exchange is not None:
            self._exchange.start(b"", END)

    def leave(self) -> None:
        """End early, like a client that disconnects."""
        if self._exchange is not None:
            self._exchange.client_gone(ProxyError(Kind.CLIENT_GONE, "the prefetch ends"))

    # -- ClientStream ---------------------------------------------------------------------------

    def send_response(self, head: ResponseHead, data: bytes, end: End | None) -> None:
        """See :class:`~lbproxy.proxy.http.streams.ClientStream`: a body that is already stored is
        not read.
        """
        exchange = self._exchange
        if end is not None or head.status < 200 or exchange is None:
            return
        cached = exchange.traffic.cached
        if (cached is not None and cached.status == "hit") or (head.length or 0) > self._left:
            self._clock.callLater(0, self.leave)
        else:
            self.send_data(data, None)

    def send_data(self, data: bytes, end: End | None) -> None:
        """See ClientStream: a body that is too large to be stored is not read to its end."""
        before, self._left = self._left, self._left - len(data)
        if before >= 0 > self._left:
            self._clock.callLater(0, self.leave)

    def abort(self, error: ProxyError) -> None:
        """See ClientStream."""

    def pause_request(self) -> None:
        """See ClientStream: the request has no body."""

    def resume_request(self) -> None:
        """See ClientStream."""

    def start_tunnel(self) -> tuple[bytes, bool]:
        """See ClientStream: a prefetch requests no tunnel."""
        return b"", True

    def exchange_done(self, *, reuse: bool) -> None:
        """See ClientStream."""
        self._exchange = None
        self._timer.close()
        self._ended(self)
