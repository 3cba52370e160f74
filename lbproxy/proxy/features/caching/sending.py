"""DATA. Large stored bodies on their way to clients, for the short path of hits.

:class:`SentBody` is a body in memory. The transport gets all of it at once and sends it without a
copy. :class:`SentFile` is a body in an open file. It is sent from a mapping
(:mod:`~lbproxy.proxy.features.caching.disk.mapping`), or read into a buffer that all bodies share,
as much as the client accepts at the moment, so a slow client costs no memory. The stamp of the file
is checked before each part is sent from a mapping, and after each read. The last part is read, so
no client gets the end of a body that was changed before. ``sendfile`` is not used: the kernel would
wait for the disk if necessary, and would send data that is written to the file meanwhile.
"""

from __future__ import annotations

from typing import Any, Final

from lbproxy.cache.codec import DamagedError
from lbproxy.cache.ranges import Span
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, ResponseHead
from lbproxy.proxy.features.caching.disk.openfile import LARGEST_READ, OpenFile
from lbproxy.proxy.features.caching.holds import TOO_SLOW, Hold
from lbproxy.proxy.features.caching.reading import FileReading
from lbproxy.proxy.http.bodystream import BodyStream
from lbproxy.proxy.http.source import STARTING
from lbproxy.proxy.http.sourcing import Sourcing

__all__ = ["LARGEST_WHOLE", "SentBody", "SentFile"]

LARGEST_WHOLE: Final = 1024 * 1024
"""Size in bytes of the largest body that a transport gets at once."""

_FIRST: Final = 16 * 1024
"""Bytes that are sent together with the head of a body in a file."""

_LAST: Final = 16 * 1024
"""Bytes at the end of a body in a file that are never sent from a mapping."""

_LEAST: Final = 64 * 1024
_MOST: Final = LARGEST_READ
"""Maximum number of bytes per part, which is twice the amount that the client took before."""

_READ: Final = 256 * 1024
"""Maximum number of bytes per read."""

_TURN: Final = 1024 * 1024
"""Maximum number of bytes of one body sent in a turn of the reactor; a quarter of it as bytes
objects.
"""


class SentBody:
    """The stream of an exchange whose response is ``entry``, in the memory of ``cache``.

    The body is held until the client has taken nearly all of it, so that ``memory`` bounds it.
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
        """See :class:`SourceStream`: the whole body is already sent."""

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
            hold.cut = _nothing  # avoid a cycle

    def _finish(self) -> None:
        if not self._over:
            self.close(reuse=False)
            self._sink.server_events([END])

    def _cut(self) -> None:
        if not self._over:
            self.close(reuse=False)
            self._sink.server_failed(ProxyError(Kind.CLIENT_STALLED, TOO_SLOW))


def _nothing() -> None:
    """Do nothing, because the hold is over."""


class SentFile:
    """The stream of an exchange whose response body is in the open file ``body``, which it closes.

    ``jobs``: threads for data that is not in the page cache. A body that cannot be read at once, or
    that was changed, is left to a ``BodyStream``, which waits, or fails and logs.
    """

    queued = False

    def __init__(self, body: OpenFile, jobs: Any, sink: Sourcing) -> None:
        self._body = body
        self._jobs = jobs
        self._sink = sink
        self._at = 0
        self._piece = _MOST
        self._mapped: Any = body  # None if the client gets bytes only
        self._begun = False  # the exchange has the stream, and will close it
        self._over = False
        self._running = False
        self._turn: Any = None
        self._inner: Any = None  # the stream that sends the rest, if any

    def first(self) -> bytes | None:
        """Return the data to send with the head; None if it is not available at once."""
        try:
            return self._body.read_cached(0, min(_FIRST, self._body.size))
        except DamagedError:
            return None

    def start(self, head: ResponseHead, first: bytes) -> Any:
        """Send as much of the response as the client accepts; return the stream for
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
        """See :class:`SourceStream`: the state of the exchange is checked before each piece."""
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
        """Return whether the client accepts more data from this stream.

        It is called after each call of the sink, because a filter may have replaced the source.
        """
        if self._over or self._inner is not None or self._sink.response_paused:
            return False
        return self._begun or self._sink.starting

    def _go(self) -> None:
        """Send as much as the client accepts now, up to the limit of the turn."""
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
        """Send a piece; return the number of bytes that it counts for the turn."""
        try:
            view = self._view(size)
        except DamagedError:
            view = None
        if view is None:
            self._leave()
            return size
        sent = self._sink.offer(view)
        if sent < 0 and self._mapped is not None:
            self._mapped = None
            return 0
        if sent < 0:
            return self._give(view[:_LEAST])
        self._at += sent
        self._piece = max(_LEAST, min(_MOST, 2 * sent))
        return size

    def _view(self, size: int) -> memoryview | None:
        """Return at most ``size`` more bytes of the body."""
        left = self._body.size - self._at - _LAST
        if left > 0 and self._mapped is not None:
            body: OpenFile = self._mapped
            view = body.mapped(self._at, min(size, left))
            if view is not None:
                return view
        return self._body.view(self._at, min(size, _READ))

    def _give(self, view: memoryview) -> int:
        """Send a small piece as bytes, because it may be buffered."""
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
