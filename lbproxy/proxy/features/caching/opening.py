"""DATA. A client's exchange that waits until stored responses are read from the folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.cache.memory import Entry
from lbproxy.http.message import End
from lbproxy.proxy.features.caching.fetch import begin_failed
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Opening"]


class Opening:
    """The stream of one exchange; ``then`` answers it when :meth:`loaded` is called.

    After ``wait`` of the section it is answered as if nothing were stored."""

    def __init__(
        self,
        serving: Any,
        sink: Asking,
        then: Callable[[Asking, list[Entry]], SourceStream],
    ) -> None:
        self._serving = serving
        self._sink = sink
        self._then = then
        self._inner: SourceStream | None = None
        self._paused = self._over = False
        self._timer = sink.traffic.frontend.wheel.timer(lambda: self.loaded([]))
        self._timer.set(serving.wait)

    @property
    def queued(self) -> bool:
        """See :class:`~lbproxy.proxy.http.streams.SourceStream`."""
        return self._inner is None or self._inner.queued

    def send_body(self, data: bytes, end: End | None) -> None:
        """See SourceStream: the request has none."""

    def pause_response(self) -> None:
        """See SourceStream."""
        self._paused = True
        if self._inner is not None:
            self._inner.pause_response()

    def resume_response(self) -> None:
        """See SourceStream."""
        self._paused = False
        if self._inner is not None:
            self._inner.resume_response()

    def start_tunnel(self) -> bytes:
        """See SourceStream: a cache has none."""
        raise RuntimeError("a response of the cache cannot become a tunnel")

    def close(self, *, reuse: bool) -> None:
        """See SourceStream."""
        self._end()
        if self._inner is not None:
            self._inner.close(reuse=reuse)

    def loaded(self, entries: list[Entry]) -> None:
        """Answer, unless the client has left or has waited too long."""
        if self._over:
            return
        self._end()
        try:
            self._inner = self._then(self._sink, entries)
        except BaseException as error:  # as an exchange does: nobody may wait for it
            self._sink.fail(begin_failed(self._serving, error))
            return
        if self._paused:
            self._inner.pause_response()

    def _end(self) -> None:
        self._over = True
        self._timer.close()
