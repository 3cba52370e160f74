"""DATA. One stream of a source for several readers, each at its own pace.

A body that will be stored waits only for the disk. For a body that is only passed on, the slowest
reader sets the pace for ``timeout_server`` in all, and is then cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lbproxy.errors import Kind, ProxyError
from lbproxy.proxy.features.caching.disk.spool import AHEAD
from lbproxy.proxy.features.caching.fetchbody import FetchBody
from lbproxy.proxy.features.caching.fetchstate import FetchState, Waiting
from lbproxy.proxy.features.caching.holds import TOO_SLOW, patience_of
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING
from lbproxy.proxy.http.traffic import HTTPTraffic

if TYPE_CHECKING:
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Fanout"]

_ASKING: Final = FetchState.ASKING  # looked up once
_KEEPING: Final = FetchState.KEEPING
_PASSING: Final = FetchState.PASSING
_OVER: Final = FetchState.OVER

WINDOW: Final = 256 * 1024
"""Bytes of an unstored response that may wait for its slowest reader; then the server is paused."""


class Fanout(Asking):
    """Base class. ``readers``: the clients that get the response. ``received``: its body so far.
    ``complete``: the body is complete. ``outdated``: a purge has named the response.
    """

    def __init__(self, traffic: HTTPTraffic, received: FetchBody) -> None:
        super().__init__(traffic)
        self.state = _ASKING
        self.readers: list[Waiting] = []
        self.received = received
        self.complete = False
        self.outdated = False
        self._stream: SourceStream = STARTING
        self._paused = False
        self._patience: Any = None  # a timer, started when the server first waits
        self._patient = True  # the slowest of several readers still sets the pace

    def _ended(self) -> None:
        """Called when the stream has ended; subclasses extend it."""
        raise NotImplementedError

    @property
    def _wanted(self) -> bool:
        """True if the response is wanted without any readers; subclasses extend it."""
        raise NotImplementedError

    def _is_over(self) -> bool:
        return self.state is _OVER

    @property
    def joinable(self) -> bool:
        """True if another client may get this response."""
        state = self.state
        return (state is _ASKING or state is _KEEPING) and not self.outdated

    @property
    def waiters(self) -> int:
        """Number of clients that wait for the head, without the first."""
        return max(0, len(self.readers) - 1) if self.state is _ASKING else 0

    # -- the request ----------------------------------------------------------------------------

    def server_paused(self) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`: the request was sent whole."""

    def server_resumed(self) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`: only tunnels are parted."""

    # -- readers --------------------------------------------------------------------------------

    def join(self, reader: Waiting) -> None:
        """Add ``reader``, which gets the response from its beginning."""
        self.readers.append(reader)

    def left(self, reader: Waiting) -> None:
        """Remove ``reader``. A response that will be stored is still fetched completely."""
        if reader in self.readers:
            self.readers.remove(reader)
        if self.readers:
            self._balance()
        elif self.state is _OVER:
            self.received.free()
        elif self.state is _PASSING or not self._wanted:
            self.stop(Kind.CLIENT_GONE)

    def stop(self, kind: Kind) -> None:
        """End early, for the reason ``kind``."""
        if self.state is _OVER:
            return
        self.traffic.close = kind
        self._over().close(reuse=False)
        self._ended()

    def abandon(self) -> None:
        """End if no client waits for the response."""
        if not self.readers:
            self.stop(Kind.SHUTDOWN)

    def took(self) -> None:
        """Note that a reader has taken more, or has stopped."""
        self._balance()

    def _deliver(self) -> None:
        for reader in list(self.readers):
            reader.deliver()
        self._balance()

    def _balance(self) -> None:
        """Drop chunks that all readers have, and pause the server if the slowest is far behind."""
        state = self.state
        if state is _KEEPING and self.received.spool is not None:
            self._pause(self.received.spool.waiting > AHEAD)
        if state is _ASKING or state is _KEEPING:
            return
        self.received.drop_taken(self.readers)
        if self._is_over():
            return
        full = self.received.waiting > WINDOW and any(reader.behind > 0 for reader in self.readers)
        self._pause(full)
        if full and len(self.readers) > 1:
            self._lose_patience()

    def _pause(self, full: bool) -> None:
        if full is not self._paused:
            self._paused = full
            if full:
                self._stream.pause_response()
            else:
                self._stream.resume_response()

    def _lose_patience(self) -> None:
        """Let the slowest reader set the pace for ``timeout_server`` in all, then cut it off."""
        if self._patience is None:
            self._patience = self.traffic.frontend.wheel.timer(self._hurry)
            self._patience.set(patience_of(self.traffic))
        if self._patient or all(reader.behind for reader in self.readers):
            return
        slow = [reader for reader in self.readers if reader.position == self.received.dropped]
        for reader in slow:
            self.readers.remove(reader)
        for reader in slow:
            reader.failed(ProxyError(Kind.CLIENT_STALLED, "slower than others of the same body"))
        self._balance()

    def _hurry(self) -> None:
        self._patient = False
        self._balance()

    def _leave(self) -> list[Waiting]:
        readers, self.readers = self.readers, []
        return readers

    def _over(self) -> SourceStream:
        """Release everything, and return the stream, which the caller may have to close."""
        stream, self._stream = self._stream, STARTING  # it refers to this object: avoid a cycle
        self.state = _OVER
        self.over = True
        self._end_patience()
        self.received.free()
        return stream

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.close()

    def _hold_chunks(self) -> None:
        """From now on, keep the chunks until the readers have them."""
        self.received.hold(self.readers, self.traffic, self._cut)

    def _cut(self) -> None:
        """Fail all readers, because other requests need the memory."""
        self.stop(Kind.CLIENT_STALLED)
        for reader in self._leave():
            reader.failed(ProxyError(Kind.CLIENT_STALLED, TOO_SLOW))
        self.received.free()
