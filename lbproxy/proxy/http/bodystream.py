"""DATA. A response whose body is produced while it is sent, as the stream of a source.

The body is an iterable or an asynchronous iterable of bytes, usually a generator: that of a
:class:`lbproxy.http.message.Reply`, or of another :class:`~lbproxy.proxy.http.source.Source`. The
rules:

1. The next piece is requested only while the client accepts data: at most one piece is buffered.
2. After 256 KiB in one turn of the reactor the rest waits for the next turn.
3. A piece may take the frontend's ``timeout_filter``.
4. A failure before the first piece is answered with 500; a later one aborts the client's
   connection. Both are logged, and the close reason is ``filter_failed`` or ``filter_timeout``.
5. Too many or too few bytes for the length of the head are a failure; none are sent beyond it.
6. When the client leaves, the generator is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, ResponseHead
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING
from lbproxy.proxy.http.streams import SourceStream
from lbproxy.proxy.ratelog import Quiet

__all__ = ["TURN_BYTES", "BodyStream", "respond"]

TURN_BYTES = 256 * 1024
"""Maximum number of bytes of one body produced in one turn of the reactor."""

_quiet = Quiet(Logger(__name__))


def respond(sink: Asking, head: ResponseHead, body: Any) -> SourceStream:
    """Send a response to ``sink``, and return the stream, for :meth:`Source.begin`.

    ``body``: bytes, or an iterable of bytes; ``head.length``: their number, None if unknown.
    """
    if isinstance(body, bytes):
        sink.server_events([head, body, END] if body else [head, END])
        return STARTING
    stream = BodyStream(head, body, sink)
    stream.start()
    return stream


class BodyStream:
    """See the module.  The response begins with :meth:`start`.

    ``head`` None: the sink has it, and ``left`` bytes of the body are still to come.
    """

    queued = False

    def __init__(self, head: ResponseHead | None, body: Any, sink: Asking, left: int = 0) -> None:
        frontend = sink.traffic.frontend
        self._head = head
        self._left = left if head is None else head.length  # None: of any length
        self._body = body
        self._sink = sink
        self._clock = frontend.wheel.clock
        self._timeout = frontend.timeout_filter
        self._timer = frontend.wheel.timer(self._expired)
        self._task: Deferred[None] | None = None
        self._pausing: Deferred[None] | None = None  # fires when the client accepts more
        self._awaiting = False  # an asynchronous piece
        self._paused = False
        self._over = False

    def start(self) -> None:
        """Produce the first piece, and send the head with it."""
        task = Deferred.fromCoroutine(self._run())
        task.addErrback(self._failed)
        self._task = task

    # -- SourceStream ---------------------------------------------------------------------------

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`: ignored."""

    def pause_response(self) -> None:
        """See :class:`SourceStream`."""
        self._paused = True

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        self._paused = False
        waits, self._pausing = self._pausing, None
        if waits is not None:
            waits.callback(None)

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`: not supported."""
        raise RuntimeError("a produced body cannot become a tunnel")

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        if self._over:
            return
        self._over = True
        self._timer.close()
        self.resume_response()  # _send_all() returns, now or at its next check
        if self._awaiting and self._task is not None:
            self._task.cancel()

    # -- the body -------------------------------------------------------------------------------

    async def _run(self) -> None:
        pieces: Any = None
        try:
            pieces = _pieces(self._body)
            await self._send_all(pieces)
        finally:
            await _release(pieces)

    async def _send_all(self, pieces: Any) -> None:
        # the first piece ends the first turn, because begin() has not returned yet
        sent = TURN_BYTES
        while True:
            piece = await self._next(pieces)
            if self._over:
                return
            if piece is None:
                break
            if piece:
                self._give(piece)
                sent += len(piece)
            if self._paused and not self._over:
                self._pausing = Deferred()
                await self._pausing
                sent = TURN_BYTES
            if sent >= TURN_BYTES:
                await self._turn()
                sent = 0
            if self._over:
                return
        if self._left:
            raise ValueError(f"{self._left} bytes of the body are missing")
        self._over = True
        self._timer.close()
        self._sink.server_events([*self._first(), END])

    async def _next(self, pieces: Any) -> bytes | None:
        """Return the next piece, None at the end."""
        self._timer.set(self._timeout)
        if isinstance(pieces, AsyncIterator):
            self._awaiting = True
            piece = await anext(pieces, None)
            self._awaiting = False
        else:
            piece = next(pieces, None)
        self._timer.clear()
        if piece is not None and not isinstance(piece, bytes):
            raise TypeError(f"produced {type(piece).__name__}, wanted bytes")
        return piece

    def _give(self, piece: bytes) -> None:
        if self._left is not None:
            if len(piece) > self._left:
                raise ValueError("the body is longer than its length")
            self._left -= len(piece)
        self._sink.server_events([*self._first(), piece])

    def _first(self) -> list[Any]:
        """Return the head, once."""
        head, self._head = self._head, None
        return [] if head is None else [head]

    def _turn(self) -> Deferred[None]:
        """Return a Deferred that fires in the next turn of the reactor."""
        turn: Deferred[None] = Deferred()
        self._clock.callLater(0, turn.callback, None)
        return turn

    # -- failures -------------------------------------------------------------------------------

    def _expired(self) -> None:
        self.fail(ProxyError(Kind.FILTER_TIMEOUT, "the body took too long"))

    def fail(self, error: ProxyError) -> None:
        """End early, with ``error`` as the reason."""
        if not self._over:
            self.close(reuse=False)
            self._tell(error)

    def _failed(self, failure: Failure) -> None:
        if self._over:
            return  # exception of a body when it is closed
        self._over = True
        self._timer.close()
        error = failure.value
        if isinstance(error, ProxyError):
            self._tell(error)
            return
        _quiet.failure(f"{type(error).__name__}", "the body of a response failed", failure)
        detail = f"body: {type(error).__name__}: {error}"
        self._tell(ProxyError(Kind.FILTER_FAILED, detail))

    def _tell(self, error: ProxyError) -> None:
        self._sink.server_failed(error)


def _pieces(body: Any) -> Any:
    """Return the iterator of ``body``. Raises TypeError if it has none."""
    return aiter(body) if hasattr(body, "__aiter__") else iter(body)


async def _release(pieces: Any) -> None:
    """Close a generator, so that its ``finally`` runs now."""
    if hasattr(pieces, "aclose"):
        await pieces.aclose()
    elif hasattr(pieces, "close"):
        pieces.close()
