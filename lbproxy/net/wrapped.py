"""DATA. Wrappers that make any Twisted transport a :class:`~lbproxy.net.stream.Stream`, and a
throttled stream.
"""

from __future__ import annotations

from typing import Any

from lbproxy.net.closing import half_close
from lbproxy.net.stream import Stream
from lbproxy.net.transport import FastTransport

__all__ = ["ThrottledStream", "WrappedTransport", "stream_of"]


def stream_of(transport: Any) -> Stream:
    """Return ``transport`` itself if it is one of lbproxy's, else a wrapper."""
    return transport if isinstance(transport, FastTransport) else WrappedTransport(transport)


class WrappedTransport(Stream):
    """Passes every call to ``transport``."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: Any) -> None:
        """See :class:`Stream`."""
        self._transport.write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See :class:`Stream`."""
        self._transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See :class:`Stream`."""
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """See :class:`Stream`."""
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """See :class:`Stream`."""
        self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """See :class:`Stream`."""
        self._transport.stopProducing()

    def loseConnection(self) -> None:
        """See :class:`Stream`."""
        self._transport.loseConnection()

    def loseWriteConnection(self) -> None:
        """See :class:`Stream`. Twisted's TLS closes the whole connection."""
        half_close(self._transport)

    def abortConnection(self) -> None:
        """See :class:`Stream`."""
        self._transport.abortConnection()


class ThrottledStream(Stream):
    """One connection of a TCP session with a throttle. It reads while neither its peer nor the
    throttle pauses it.

    Writing charges the throttle, because the session writes at once the data that it has read from
    the other side. The kernel does not relay data between such streams, so that each read is seen.
    ``throttle`` has ``add`` and ``remove`` for :meth:`hold`, and ``passed(size)``.
    """

    __slots__ = ("_held", "_paused", "_stream", "_throttle")

    def __init__(self, stream: Stream, throttle: Any) -> None:
        self._stream = stream
        self._throttle = throttle
        self._paused = False  # paused by the other side
        self._held = False  # paused by the throttle
        throttle.add(self.hold)

    def hold(self, held: bool) -> None:
        """Pause for the throttle, or resume unless the other side has paused reading."""
        self._held = held
        if held:
            self._stream.pauseProducing()
        elif not self._paused:
            self._stream.resumeProducing()

    def write(self, data: Any) -> None:
        """See :class:`Stream`."""
        self._stream.write(data)
        self._throttle.passed(len(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See :class:`Stream`."""
        self._stream.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See :class:`Stream`. The session is over, so the throttle no longer pauses the stream."""
        self._throttle.remove(self.hold)
        self._held = False
        self._stream.unregisterProducer()

    def pauseProducing(self) -> None:
        """See :class:`Stream`."""
        self._paused = True
        self._stream.pauseProducing()

    def resumeProducing(self) -> None:
        """See :class:`Stream`."""
        self._paused = False
        if not self._held:
            self._stream.resumeProducing()

    def stopProducing(self) -> None:
        """See :class:`Stream`."""
        self._stream.stopProducing()

    def loseConnection(self) -> None:
        """See :class:`Stream`."""
        self._stream.loseConnection()

    def loseWriteConnection(self) -> None:
        """See :class:`Stream`."""
        self._stream.loseWriteConnection()

    def abortConnection(self) -> None:
        """See :class:`Stream`."""
        self._stream.abortConnection()
