"""DATA. One body that passes through transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import End
from lbproxy.http.transform import Transform
from lbproxy.proxy.ratelog import Quiet

__all__ = ["StreamTap", "TransformedBody"]

_quiet = Quiet(Logger(__name__))

Output = tuple[bytes, End | None]


class TransformedBody:
    """The transforms of one body, in order. The body moves on while none of them is paused.

    ``hold(paused)`` pauses and resumes the sender. ``proceed(data, end)`` is called with output
    after a pause, and ``fail(error)`` for a failure then. A pause may take ``timeout`` seconds.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        wheel: Any,
        timeout: float,
        hold: Callable[[bool], None],
        proceed: Callable[[bytes, End | None], None],
        fail: Callable[[ProxyError], None],
    ) -> None:
        self._transforms = transforms
        self._timer = wheel.timer(self._expired)
        self._timeout = timeout
        self._hold = hold
        self._proceed = proceed
        self._fail = fail
        self.paused = False
        self._pauses = 0  # number of paused transforms
        self._closed = False
        self._kept: list[bytes] = []
        self._end: End | None = None
        self._ended = 0  # number of transforms that have received the end

    def start(self, head: Any, data: bytes, end: End | None) -> Output:
        """Start with the head and the body bytes received so far; set ``head.length``.

        Raises ProxyError FILTER_FAILED, like :meth:`feed`.
        """
        for one in self._transforms:
            one.flow = _Flow(self)
            self._guarded(one.start, head)
        out, last = self.feed(data, end)
        if last is not None:
            head.length = len(out)
        elif not all(one.keeps_length for one in self._transforms):
            head.length = None
        return out, last

    def feed(self, data: bytes, end: End | None) -> Output:
        """Return the output for more of the body, and its end if it has passed all transforms."""
        if self.paused:
            if data:
                self._kept.append(data)
            self._end = end if end is not None else self._end
            return b"", None
        for place, one in enumerate(self._transforms):
            if data:
                data = self._guarded(one.data, data)
            if end is not None and place >= self._ended and not self.paused:
                data += self._guarded(one.end)
                self._ended = place if self.paused else place + 1
            if self.paused:
                return self._stopped(place, data, end)
        return data, end

    def _stopped(self, place: int, data: bytes, end: End | None) -> Output:
        """Pass the output of a paused transform through the later transforms."""
        for one in self._transforms[place + 1 :]:
            if data:
                data = self._guarded(one.data, data)
        self._end = end
        return data, None

    def _guarded(self, method: Callable[..., Any], *words: Any) -> Any:
        try:
            result = method(*words)
            if words and isinstance(words[0], bytes) and not isinstance(result, bytes):
                raise TypeError(f"returned {type(result).__name__}, wanted bytes")
        except BaseException as error:
            name = type(getattr(method, "__self__", None)).__name__
            kind = f"{name} {type(error).__name__}"
            _quiet.failure(kind, "transform {name} failed", Failure(), name=name)
            detail = f"{name}: {type(error).__name__}: {error}"
            raise ProxyError(Kind.FILTER_FAILED, detail) from error
        return result

    # -- pauses ---------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Count one more paused transform, for at most ``seconds``; 0: the timeout of filters."""
        if self._closed:
            return
        self._pauses += 1
        self._timer.set(seconds or self._timeout)
        if not self.paused:
            self.paused = True
            self._hold(True)

    def resume(self) -> None:
        """Continue a paused transform."""
        self._pauses -= 1
        if self._pauses or self._closed:
            return
        self.paused = False
        self._timer.clear()
        data, end = b"".join(self._kept), self._end
        self._kept, self._end = [], None
        try:
            out = self.feed(data, end)
        except ProxyError as error:
            self._fail(error)
            return
        self._proceed(*out)
        if not self.paused:
            self._hold(False)  # after the output, because the sender may send more at once

    def _expired(self) -> None:
        self._fail(ProxyError(Kind.FILTER_TIMEOUT, "a transform paused for too long"))

    def close(self) -> None:
        """Discard the body. Calls of its transforms do nothing from now on."""
        self.paused = self._closed = True
        self._timer.close()
        self._kept = []
        self._transforms = ()  # they refer to this object: leave no reference cycle
        self._hold = self._proceed = self._fail = _nothing


class _Flow:
    """The :class:`~lbproxy.http.transform.Flow` of one transform."""

    __slots__ = ("_body", "_paused")

    def __init__(self, body: TransformedBody) -> None:
        self._body = body
        self._paused = False

    def pause(self, seconds: float = 0.0) -> None:
        """See :class:`~lbproxy.http.transform.Flow`."""
        if not self._paused:
            self._paused = True
            self._body.pause(seconds)

    def resume(self) -> None:
        """See :class:`~lbproxy.http.transform.Flow`."""
        if self._paused:
            self._paused = False
            self._body.resume()


def _nothing(*words: Any) -> None:
    """Do nothing. The callbacks of a closed body."""


class StreamTap(Transform):
    """The client stream of ``traffic.tap_response``, which stores the response."""

    keeps_length = True

    def __init__(self, info: Any, tap: Callable[[Any, Any], Any], note: Any) -> None:
        self.info = info
        self._parts: list[bytes] = []
        self._stream = tap(self, note)

    def start(self, head: Any) -> None:
        """See :class:`Transform`."""
        self._stream.send_response(head, b"", None)

    def data(self, data: bytes) -> bytes:
        """See :class:`Transform`."""
        self._stream.send_data(data, None)
        return self._taken()

    def _taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)

    # methods that the tap calls

    def send_response(self, head: Any, data: bytes, end: End | None) -> None:
        """Pass the head on, and store body bytes."""
        self._parts.append(data)

    def send_data(self, data: bytes, end: End | None) -> None:
        """Store body bytes."""
        self._parts.append(data)
