"""DATA. The stream of an exchange whose answer another source or stream provides later.

A feature that must wait before it can answer (for a body, a file or a fetch of other clients)
returns a :class:`DeferredStream` from :meth:`~lbproxy.proxy.http.source.Source.begin`. Its states:

========= ========================================================== =====================
state     meaning                                                    next
========= ========================================================== =====================
WAITING   the subclass answers, fails or hands over                  ENDED, LEFT
ENDED     the subclass has answered or failed, or the stream that    LEFT
          ``_hand_over`` got serves the exchange
LEFT      the exchange has closed the stream                         -
========= ========================================================== =====================

Rules:

1. A pause of the client is kept, and applied after the hand-over. 2. An exception of the source
that takes over ends the exchange with ``filter_failed``. 3. If the client leaves while that source
starts, its stream is closed as soon as it exists. 4. The subclass has a deadline for its wait, and
drops it in ``_end``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.compiled import native
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import End
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING
from lbproxy.proxy.http.streams import SourceStream
from lbproxy.proxy.ratelog import Quiet

__all__ = ["DeferredStream", "begin_failed"]

_quiet: Final = Quiet(Logger(__name__))


def begin_failed(source: object, error: BaseException) -> ProxyError:
    """Return the failure of the exchange for an exception of ``source``, and log it. A
    :class:`ProxyError`, such as one for an ambiguous path, is the failure itself.
    """
    if isinstance(error, ProxyError):
        return error
    name = type(source).__name__
    _quiet.failure(f"{name} {type(error).__name__}", "{name} failed", Failure(), name=name)
    return ProxyError(Kind.FILTER_FAILED, f"{name}: {type(error).__name__}: {error}")


class _Wait(Enum):
    """See the module."""

    WAITING = 0
    ENDED = 1
    LEFT = 2


_WAITING: Final = _Wait.WAITING  # cached lookup
_ENDED: Final = _Wait.ENDED
_LEFT: Final = _Wait.LEFT


@native(allow_interpreted_subclasses=True)
class DeferredStream:
    """Base class of such streams; see the module. ``sink``: the exchange."""

    def __init__(self, sink: Asking) -> None:
        self._sink = sink
        self._inner: SourceStream | None = None  # the stream after the hand-over
        self._paused = False  # the client does not accept more
        self._wait = _WAITING

    # -- for subclasses -------------------------------------------------------------------------

    def _hand_over(self, source: object, begin: Callable[[], SourceStream]) -> None:
        """Hand the exchange to the stream that ``begin`` returns. ``source``: its name in logs."""
        self._end()
        self._inner = STARTING
        try:
            stream = begin()
        except BaseException as error:  # like an exchange: the client must not wait forever
            self._sink.fail(begin_failed(source, error))
            return
        if self._wait is _LEFT:
            stream.close(reuse=False)
            return
        self._inner = stream
        if self._paused:
            stream.pause_response()

    @property
    def _over(self) -> bool:
        """True if the stream no longer waits."""
        return self._wait is not _WAITING

    @property
    def _served(self) -> bool:
        """True if another stream serves the exchange and the client has not left."""
        return self._inner is not None and self._inner is not STARTING and self._wait is not _LEFT

    def _end(self) -> None:
        """Stop waiting. Subclasses extend this to drop timers and buffers."""
        if self._wait is _WAITING:
            self._wait = _ENDED

    def _take_body(self, data: bytes, end: End | None) -> None:
        """Take request body that arrives during the wait. The default drops it."""

    def _client_resumed(self) -> None:
        """Continue after a pause during the wait. The default does nothing."""

    def _client_left(self) -> None:
        """Release the resources of the wait, because the client left during it."""

    # -- SourceStream ---------------------------------------------------------------------------

    @property
    def queued(self) -> bool:
        """See :class:`SourceStream`."""
        return self._inner is None or self._inner.queued

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        if self._inner is not None:
            self._inner.send_body(data, end)
        elif not self._over:
            self._take_body(data, end)

    def pause_response(self) -> None:
        """See :class:`SourceStream`."""
        self._paused = True
        if self._inner is not None:
            self._inner.pause_response()

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        self._paused = False
        if self._inner is not None:
            self._inner.resume_response()
        elif not self._over:
            self._client_resumed()

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`. RuntimeError during the wait."""
        if self._inner is None:
            raise RuntimeError("a response that has not begun cannot become a tunnel")
        return self._inner.start_tunnel()

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        before = self._wait
        if before is _LEFT:
            return
        self._wait = _LEFT
        if self._inner is not None:
            self._inner.close(reuse=reuse)
        elif before is _WAITING:
            self._end()
            self._client_left()
