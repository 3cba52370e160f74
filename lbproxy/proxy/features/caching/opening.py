"""DATA. An exchange that waits until stored responses are read from the folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.cache.memory import Entry
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Opening"]


class Opening(DeferredStream):
    """The stream of one exchange; ``then`` answers it when :meth:`loaded` is called.

    After ``wait`` of the section the exchange is answered as if nothing were stored."""

    def __init__(
        self,
        serving: Any,
        sink: Asking,
        then: Callable[[Asking, list[Entry]], SourceStream],
    ) -> None:
        super().__init__(sink)
        self._serving = serving
        self._then = then
        self._now: Callable[[], float] = sink.traffic.frontend.now
        self._since = self._now()
        self._timer = sink.traffic.frontend.wheel.timer(lambda: self.loaded([]))
        self._timer.set(serving.wait)

    def loaded(self, entries: list[Entry]) -> None:
        """Answer, unless the client has left or has waited too long."""
        if not self._over:
            self._serving.load_took(self._now() - self._since)
            self._hand_over(self._serving, lambda: self._then(self._sink, entries))

    def _end(self) -> None:
        super()._end()
        self._timer.close()
