"""CONTROL. Responses of the admin side that are created and sent in slices."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.admin.stream import BEHIND

__all__ = ["Chunks"]


@implementer(IPushProducer)
class Chunks:
    """Send a body chunk by chunk: one for each turn of the reactor, as fast as the client reads.

    ``request``: the :class:`lbproxy.admin.request.AdminRequest`. A client that reads nothing for
    :data:`lbproxy.admin.stream.BEHIND` seconds is disconnected. ``spent(seconds)`` receives the
    time that each chunk took to create, measured by ``reactor``.
    """

    def __init__(self, request: Any, chunks: Iterator[bytes], reactor: Any, spent: Any) -> None:
        self._request = request
        self._chunks = chunks
        self._reactor = reactor
        self._spent = spent
        self._call: Any = None
        self._patience: Any = None
        self._paused = False

    def start(self) -> None:
        """Send the first chunk, or only the head in response to HEAD."""
        if self._request.method == b"HEAD":
            self._request.finish()
            return
        self._request.notifyFinish().addBoth(lambda _: self.stopProducing())
        self._request.registerProducer(self, True)
        self._next()

    def _next(self) -> None:
        self._call = None
        now = self._reactor.seconds
        start = now()
        try:
            chunk = next(self._chunks, None)
        except BaseException:
            self._request.unregisterProducer()
            self._request.failed(Failure())
            return
        self._spent(now() - start)
        if chunk is None:
            self._request.unregisterProducer()
            self._request.finish()
            return
        self._request.write(chunk)
        self._soon()

    def _soon(self) -> None:
        if not self._paused and self._call is None:
            self._call = self._reactor.callLater(0, self._next)

    def pauseProducing(self) -> None:
        """Stop until the client has read; disconnect it if it does not."""
        self._paused = True
        if self._patience is None:
            self._patience = self._reactor.callLater(BEHIND, self._cut)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def resumeProducing(self) -> None:
        """Continue: the client has read."""
        self._wait_no_more()
        self._paused = False
        self._soon()

    def stopProducing(self) -> None:
        """Stop: the response is complete, or the client has left."""
        self.pauseProducing()
        self._wait_no_more()

    def _wait_no_more(self) -> None:
        call, self._patience = self._patience, None
        if call is not None and call.active():
            call.cancel()

    def _cut(self) -> None:
        channel: Any = self._request.channel
        if channel is not None:
            channel.forceAbortClient()
