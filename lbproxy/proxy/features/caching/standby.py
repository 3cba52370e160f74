"""DATA. The stream of a request to a server, for which a stored response answers if it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.cache.memory import Entry
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Standby"]


class Standby(DeferredStream):
    """See the module. ``serving``: the source that answers with the stored response."""

    def __init__(self, serving: Any, sink: Asking) -> None:
        super().__init__(sink)
        self._serving = serving
        self._starting = True
        self._found: tuple[Entry, str] | None = None

    def begin(self, begin: Callable[[], SourceStream]) -> SourceStream:
        """Send the request by ``begin``; return the stream of the exchange."""
        self._hand_over(self._serving, begin)
        self._starting = False
        if self._found is not None:
            self._replace(*self._found, ended=False)
        return self

    def stale(self, entry: Entry, why: str, ended: bool) -> None:
        """Answer with a stored response, because the server failed. ``ended``: the stream of the
        server is over.
        """
        if self._starting:  # that stream does not exist yet
            self._found = entry, why
        elif self._served:
            self._replace(entry, why, ended)

    def _replace(self, entry: Entry, why: str, ended: bool) -> None:
        if self._inner is not None and not ended:
            self._inner.close(reuse=False)
        serving = self._serving
        self._hand_over(serving, lambda: serving.serve_stale(self._sink, entry, why))
