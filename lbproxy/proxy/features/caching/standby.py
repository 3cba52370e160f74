"""DATA. The stream of a request to a server. If the server fails, stored responses answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import Key
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Standby"]


class Standby(DeferredStream):
    """See the module. ``serving``: the source that answers with stored responses."""

    def __init__(self, serving: Any, sink: Asking) -> None:
        super().__init__(sink)
        self._serving = serving
        self._starting = True
        self._found: Callable[[], SourceStream] | None = None

    def begin(self, begin: Callable[[], SourceStream]) -> SourceStream:
        """Send the request by ``begin``; return the stream of the exchange."""
        self._hand_over(self._serving, begin)
        self._starting = False
        if self._found is not None:
            self._replace(self._found, ended=False)
        return self

    def stale(self, key: Key, asked: Asked, why: str, ended: bool) -> bool:
        """Answer with stored responses, because the server failed for the reason ``why``; return
        False if none may be used. ``ended``: the stream of the server is over.
        """
        if not self._starting and not self._served:
            return True  # the client has left
        answer = self._serving.stale_answer(key, asked, self._sink, why)
        if answer is None:
            return False
        if self._starting:  # that stream does not exist yet
            self._found = answer
        else:
            self._replace(answer, ended)
        return True

    def _replace(self, answer: Callable[[], SourceStream], ended: bool) -> None:
        if self._inner is not None and not ended:
            self._inner.close(reuse=False)
        self._hand_over(self._serving, answer)
