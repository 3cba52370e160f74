"""DATA. Large stored bodies on their way to clients, for the short path of hits.

:class:`SentBody` is a body in memory. The transport gets all of it at once and sends it from where
it is. :class:`SentFile` is a body in an open file. It is read into a buffer that all bodies share,
as much as the client takes at the moment, so a slow client costs no memory. What is read has been
compared with the stamp of the file when the client gets it. The kernel could send the file itself
(``sendfile``), but would wait for the disk if it has to, and would send what is written to the file
meanwhile.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.codec import DamagedError
from lbproxy.cache.ranges import Span
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, ResponseHead
from lbproxy.proxy.features.caching.disk.openbody import LARGEST_READ, OpenBody
from lbproxy.proxy.features.caching.holds import TOO_SLOW, Hold
from lbproxy.proxy.features.caching.reading import FileReading
from lbproxy.proxy.http.bodystream import BodyStream
from lbproxy.proxy.http.source import STARTING
from lbproxy.proxy.http.sourcing import Sourcing

__all__ = ["LARGEST_WHOLE", "SentBody", "SentFile"]

LARGEST_WHOLE: Final = 1024 * 1024
"""Bytes of the largest body that a transport gets at once."""

_FIRST: Final = 64 * 1024
"""Bytes that are sent together with the head of a body in a file."""

_LEAST: Final = 64 * 1024
_MOST: Final = LARGEST_READ
"""Bytes that are read at once: twice what the client took before, within these."""

_TURN: Final = 1024 * 1024
"""Bytes of one body that are sent in a turn of the reactor; as bytes, a quarter of it."""


class SentBody:
    """The stream of an exchange whose response is ``entry``, in the memory of ``cache``.

    It counts as read until the client has taken nearly all of it, so that ``memory`` bounds it.
    """

    queued = False

    def __init__(self, cache: Any, entry: Any, sink: Sourcing) -> None:
        self._cache = cache
        self._sink = sink
        self._over = False
        self._hold: Any = None
        self._reading = cache.memory.begin_reading(entry)

    def start(self, head: ResponseHead, body: bytes) -> Any:
        """Send the response; return the stream for :meth:`Source.begin`."""
        sink = self._sink
        sink.server_events([head, body])
        if sink.starting:
            if not sink.response_paused:
                self._finish()
                return STARTING
            self._hold = Hold(sink.traffic, self._cut)
            self._cache.holds.add(self._hold)
        return self

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`: ignored."""

    def pause_response(self) -> None:
        """See :class:`SourceStream`: all is given."""

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        self._finish()

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`: not supported."""
        raise RuntimeError("a stored body cannot become a tunnel")

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        if self._over:
            return
        self._over = True
        self._cache.memory.end_reading(self._reading)
        hold, self._hold = self._hold, None
        if hold is not None:
            self._cache.holds.remove(hold)
            hold.cut = _nothing  # no cycle

    def _finish(self) -> None:
        if not self._over:
            self.close(reuse=False)
            self._sink.server_events([END])

    def _cut(self) -> None:
        if not self._over:
            self.close(reuse=False)
            self._sink.server_failed(ProxyError(Kind.CLIENT_STALLED, TOO_SLOW))


def _nothing() -> None:
    """The hold is over."""


class SentFile:
    """The stream of an exchange whose response has its body in the open file ``body``, which this
    closes.  ``jobs``: threads, for what the kernel does not have in memory.

    A body that cannot be read at once, or that was changed, is left to a ``BodyStream``, which
    waits, or fails and logs.
    """

    queued = False

    def __init__(self, body: OpenBody, jobs: Any, sink: Sourcing) -> None:
        self._body = body
        self._jobs = jobs
        self._sink = sink
        self._at = 0
        self._piece = 4 * _LEAST
        self._begun = False  # the exchange has the stream, and closes it
        self._over = False
        self._running = False
        self._turn: Any = None
        self._inner: Any = None  # once it is left to another stream

    def first(self) -> bytes | None:
        """Return what is sent with the head; None if it cannot be had at once."""
        try:
            return self._body.read_cached(0, min(_FIRST, self._body.size))
        except DamagedError:
            return None

    def start(self, head: ResponseHead, first: bytes) -> Any:
        """Send the response as far as the client takes it; return the stream for
        :meth:`Source.begin`.
        """
        self._at = len(first)
        self._sink.server_events([head, first])
        self._go()
        self._begun = True
        return STARTING if self._over else self

    # -- SourceStream ---------------------------------------------------------------------------

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`: ignored."""

    def pause_response(self) -> None:
        """See :class:`SourceStream`: before each piece the exchange is asked."""
        if self._inner is not None:
            self._inner.pause_response()

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        if self._inner is not None:
            self._inner.resume_response()
        elif self._turn is None:
            self._go()

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`: not supported."""
        raise RuntimeError("a stored body cannot become a tunnel")

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        if self._over:
            return
        self._over = True
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close(reuse=reuse)
            return
        self._body.close()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    # -- the body -------------------------------------------------------------------------------

    def _may_send(self) -> bool:
        """Return whether the client takes more from this; asked anew after each call of the sink.

        A filter may have replaced the source meanwhile."""
        if self._over or self._inner is not None or self._sink.response_paused:
            return False
        return self._begun or self._sink.starting

    def _go(self) -> None:
        """Send what the client takes now, up to the end of the turn."""
        if self._running:
            return
        self._running = True
        try:
            self._send_turn()
        finally:
            self._running = False

    def _send_turn(self) -> None:
        sink, size = self._sink, self._body.size
        left = _TURN
        while self._may_send():
            if self._at == size:
                self.close(reuse=False)
                sink.server_events([END])
            elif left <= 0:
                self._turn = sink.frontend.wheel.clock.callLater(0, self._next_turn)
                return
            else:
                left -= self._send_piece(min(self._piece, size - self._at))

    def _send_piece(self, size: int) -> int:
        """Send a piece; return what it counts of the turn."""
        try:
            view = self._body.view(self._at, size)
        except DamagedError:
            view = None
        if view is None:
            self._leave()
            return size
        sent = self._sink.offer(view)
        if sent < 0:
            return self._give(view[:_LEAST])
        self._at += sent
        self._piece = max(_LEAST, min(_MOST, 2 * sent))
        return size

    def _give(self, view: memoryview) -> int:
        """Send a piece as bytes: it may be buffered, so it is small."""
        self._piece = _LEAST
        self._at += len(view)
        self._sink.server_events([bytes(view)])
        return 4 * len(view)

    def _next_turn(self) -> None:
        self._turn = None
        self._go()

    def _leave(self) -> None:
        """Let another stream send the rest, and close the file."""
        body = self._body
        pieces = FileReading(body, self._jobs).pieces([Span(self._at, body.size - 1)], _LEAST)
        self._inner = inner = BodyStream(None, pieces, self._sink, body.size - self._at)
        inner.start()
