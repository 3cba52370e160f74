"""DATA. A guard around a foreign source, which limits the effect of an exception to one exchange.

:func:`source_of` puts a :class:`GuardedSource` around each source of a feature that is not part of
lbproxy. Rules:

1. An exception of any class in a method of the stream is logged, once a second for each kind.
2. The exchange then fails with ``filter_failed``: a 500, or a truncated response if that has
   begun. This happens in the next turn of the reactor, because the exchange may be in the middle
   of a call.
3. The stream is closed, and its later events do not reach the exchange.
4. An exception in ``close`` is only logged, because the exchange is over.
5. If a feature raises instead of returning its source, its exchanges fail with a 500 and do not
   bypass it, because the feature may protect something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import End, Reply, RequestHead, ResponseHead
from lbproxy.proxy.feature import FeatureSet
from lbproxy.proxy.guarding import report
from lbproxy.proxy.http.sink import Asking, ForwardingSink
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.streams import SourceStream
from lbproxy.proxy.ratelog import Quiet

__all__ = ["GuardedSource", "guarded", "source_of"]

_quiet: Final = Quiet(Logger(__name__))


def source_of(features: FeatureSet, inner: Source) -> Source:
    """Return ``inner`` wrapped by ``features``, the last one outermost."""
    for one in features.values():
        try:
            found: Any = one.source(inner)
            if not isinstance(found, Source):
                raise TypeError(f"returned {type(found).__name__}, wanted Source")
            inner = guarded(found)
        except BaseException as error:
            report(one.source, error)
            inner = _MissingSource(one.name)
    return inner


def guarded(source: Source) -> Source:
    """Return ``source`` if it is part of lbproxy, else a guard around it."""
    if type(source).__module__.startswith("lbproxy."):
        return source
    return GuardedSource(source)


class _MissingSource(Source):
    """Fails every exchange, in place of a source that could not be created."""

    def __init__(self, feature: str) -> None:
        self._feature = feature

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        raise RuntimeError(f"{self._feature} has no source")


class GuardedSource(Source):
    """See the module."""

    def __init__(self, inner: Source) -> None:
        self.inner = inner
        self.name = inner.name  # type: ignore[misc]  # the exchange asks the object
        self.origin = inner.origin  # type: ignore[misc]

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`.  Exceptions of the source's ``begin`` pass through."""
        guard = _Guard(type(self.inner).__name__, sink)
        try:
            stream = self.inner.begin(head, data, end, guard)
        except BaseException:
            guard.over = True
            raise
        return guard.begun(stream)


class _Guard(ForwardingSink):
    """The sink of one stream, and the stream for the exchange in its place.

    ``over``: nothing passes any more, in either direction.
    """

    def __init__(self, name: str, sink: Asking) -> None:
        super().__init__(sink)
        self._name = name
        self._stream: SourceStream = STARTING
        self._failing: Any = None
        self._begun = False  # the final head has arrived

    def begun(self, stream: SourceStream) -> SourceStream:
        """Return the stream for the exchange."""
        if not self.over:
            self._stream = stream
        return self

    def _call(self, method: Callable[..., Any], *words: Any) -> Any:
        """Call a method of the stream. Return None if it fails."""
        try:
            return method(*words)
        except BaseException as error:
            self._broken(method.__name__, error)
            return None

    def _log(self, method: str, error: BaseException) -> str:
        kind = f"{self._name}.{method} {type(error).__name__}"
        where = f"{self._name}.{method}"
        _quiet.failure(kind, "source {where} failed", Failure(), where=where)
        return f"{where}: {type(error).__name__}: {error}"

    def _broken(self, method: str, error: BaseException) -> None:
        detail = self._log(method, error)
        if self.over:
            return
        self.over = True
        self._shut()
        clock = self.traffic.frontend.wheel.clock
        self._failing = clock.callLater(0, self._fail, ProxyError(Kind.FILTER_FAILED, detail))

    def _fail(self, error: ProxyError) -> None:
        self._failing = None
        self.sink.server_failed(error)

    def _shut(self) -> None:
        stream, self._stream = self._stream, STARTING
        try:
            stream.close(reuse=False)
        except BaseException as error:
            self._log("close", error)

    # -- the stream -----------------------------------------------------------------------------

    @property
    def queued(self) -> bool:
        """See :class:`SourceStream`."""
        try:
            return bool(self._stream.queued)
        except BaseException as error:
            self._broken("queued", error)
            return False

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        self._call(self._stream.send_body, data, end)

    def pause_response(self) -> None:
        """See :class:`SourceStream`."""
        self._call(self._stream.pause_response)

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""
        self._call(self._stream.resume_response)

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`."""
        first = self._call(self._stream.start_tunnel)
        return first if isinstance(first, bytes) else b""

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        self.over = True
        failing, self._failing = self._failing, None
        if failing is not None:
            failing.cancel()
        self._shut()

    # -- the sink -------------------------------------------------------------------------------

    def server_events(self, events: list[Any]) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if self.over:
            return
        try:
            self._check(events)
            self.over = type(events[-1]) is End
            self.sink.server_events(events)
        except BaseException as error:
            self.over = False
            self._broken("server_events", error)

    def _check(self, events: list[Any]) -> None:
        """Raise TypeError or ValueError for events that are invalid or out of order."""
        for event in events:
            kind = type(event)
            if kind not in (bytes, End, ResponseHead):
                raise TypeError(f"{kind.__name__} is no event")
            if (kind is ResponseHead) is self._begun:
                raise ValueError(f"{kind.__name__} is not due")
            if kind is ResponseHead:
                switches = event.status == 101
                if switches and self.traffic.request.upgrade is None:
                    raise ValueError("101 to a request without Upgrade")
                self._begun = switches or event.status >= 200

    def server_failed(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if self._ends():
            self.sink.server_failed(error)

    def server_paused(self) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if not self.over:
            self.sink.server_paused()

    def server_resumed(self) -> None:
        """See :class:`~lbproxy.proxy.http.sink.ResponseSink`."""
        if not self.over:
            self.sink.server_resumed()

    def hook_replied(self, reply: Reply) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`."""
        if self._ends():
            self.sink.hook_replied(reply)

    def fail(self, error: ProxyError) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`."""
        if self._ends():
            self.sink.fail(error)

    def part(self, to_client: bytes, to_server: bytes) -> None:
        """See :class:`~lbproxy.proxy.http.sink.Asking`."""
        if not self.over:
            self.sink.part(to_client, to_server)

    def _ends(self) -> bool:
        """Note that the stream is over. Return False if it was over before."""
        was_over, self.over = self.over, True
        return not was_over
